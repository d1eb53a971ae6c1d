//! The next key of a region, by `rrctl` and with real nodes: nobody notices, and whoever is left out opens nothing any more.

use std::sync::Arc;

use prost::Message as _;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::seal::grant::{self, Recipient};
use rr_contract::seal::key_file;
use rr_contract::seal::node_token::{NodeToken, csr_hash};
use rr_contract::seal::region_key::{RegionKeys, RegionOpeningKey, RegionStatement};
use rr_contract::seal::{OpeningKey, SealContext, SealedSecret};
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::region_key_service_client::RegionKeyServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_integration::callers::{Callers, Tally};
use rr_integration::desk::{Desk, PASSPHRASE, private_file};
use rr_integration::fleet::{Place, join_with};
use rr_integration::wait::eventually;
use rr_integration::world::{Node, ORG, REGION, UPSTREAM_SECRET, World};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

async fn region(world: &World) -> mg::Region {
    let ask = mg::GetRegionRequest { region: REGION.to_owned() };
    let reply = RegionServiceClient::new(world.api.connection()).get_region(ask).await.expect("is there");
    reply.into_inner().region.expect("is there")
}

async fn holders(world: &World) -> Vec<mg::KeyHolder> {
    let ask = mg::ListKeyHoldersRequest { region: REGION.to_owned(), ..Default::default() };
    let mut stub = RegionKeyServiceClient::new(world.api.connection());
    stub.list_key_holders(ask).await.expect("lists").into_inner().holders
}

/// Waits until the key before is retired, as it is by itself.
async fn retired(world: &World) {
    eventually("the key before is retired", || async {
        region(world).await.former_keys.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_region_gets_its_next_key_and_no_request_fails() {
    let mut world = World::start().await;
    let desk = Desk::of(&world);
    let tally = Arc::new(Tally::default());
    let callers = Callers::start(
        world.node.listen,
        &format!("/api/{ORG}.echo/"),
        &world.caller_key,
        2,
        &tally,
        u64::MAX,
    );
    tally.reach(20).await.expect("callers are served");

    // Nobody is there to be asked.
    let asked = ["region", "rotate-key", REGION, "--region-key", "eu.key"];
    let output = desk.rrctl(&world, &asked).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("--yes") && desk.keys("eu.key").epoch() == 1, "{text}");
    let said = desk.rotate(&world, &["--recovery-copy", "copy.key", "--now"]).await;
    assert!(said.contains("to epoch 2: 1 secret sealed again"), "{said}");
    assert_eq!(desk.keys("eu.key").epoch(), 2);
    assert_eq!(desk.keys("copy.key").epoch(), 2);
    world.in_step().await;
    tally.reach(tally.answered() + 20).await.expect("callers are served with the key of epoch 2");

    // A secret of the next version is sealed to the new key alone.
    let world_keys = desk.keys("eu.key");
    let credential = world.api.credential(ORG, "echo-secret").await.expect("is there");
    let origin = world.upstream.url();
    world.api.replace_secret(ORG, &credential, &world_keys, &origin, "second").await.expect("is replaced");
    world.in_step().await;
    eventually("the second secret is shown to the upstream", || async {
        let seen = world.upstream.seen();
        let shown = seen.last()?.headers.get("authorization")?;
        (shown == "Bearer second").then_some(())
    })
    .await;
    tally.enough();
    callers.end().await.expect("callers end");
    assert_eq!((tally.broken(), tally.refused.load(std::sync::atomic::Ordering::Relaxed)), (0, 0));

    retired(&world).await;
    // From disk alone, the node has the new key.
    world.node.restart().await;
    world.in_step().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);
    // One who has an old copy is told, and takes the new one in.
    let folder = desk.folder();
    std::fs::remove_file(folder.join("copy.key")).expect("is there");
    let old = key_file::write(&world.keys, &Secret::from(PASSPHRASE.to_owned()), &SystemEntropy);
    private_file(&folder.join("copy.key"), old.expose());
    let args = ["region", "rotate-key", REGION, "--region-key", "copy.key", "--yes"];
    let output = desk.rrctl(&world, &args).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("import-key"), "{text}");
    std::fs::write(folder.join("phrase"), PASSPHRASE).expect("a file");
    let import = ["region", "import-key", "eu.key", "--region-key", "copy.key"];
    desk.done(&world, &[&import[..], &["--from-passphrase-file", "phrase"]].concat()).await;
    assert_eq!(desk.keys("copy.key").epoch(), 2);
    let renewed = desk.done(&world, &["region", "renew-key", REGION, "--region-key", "copy.key"]).await;
    assert!(renewed.contains("90 days"), "{renewed}");
    world.end().await;
}

#[tokio::test]
async fn a_token_of_before_lets_a_machine_join_that_opens_what_is_sealed_since() {
    let world = World::start().await;
    let desk = Desk::of(&world);
    let token = world.api.node_token(REGION, &world.keys, 1).await.expect("a token");
    let said = desk.rotate(&world, &[]).await;
    assert!(said.contains("token, 1 use left"), "{said}");
    retired(&world).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut late =
        Node::join(folder.path().join("late"), world.control_plane.fleet, token, world.later.clone()).await;
    late.ready().await;
    assert_eq!(world.caller_of("echo").at(late.listen).get("/").await.status, 200);
    // Without the control plane's help, too.
    late.restart().await;
    late.ready().await;
    assert_eq!(world.caller_of("echo").at(late.listen).get("/").await.status, 200);
    late.stop().await;
    world.end().await;
}

#[tokio::test]
async fn a_second_run_goes_on_where_the_first_one_was_cut_off() {
    let world = World::start().await;
    let desk = Desk::of(&world);
    // Cut off after the upload: the key is in place, nothing is sealed to it.
    let path = desk.folder().join("eu.key");
    let text = Secret::new(std::fs::read(&path).expect("a file"));
    let mut file = key_file::KeyFile::open(&text, Some(&Secret::from(PASSPHRASE.to_owned()))).expect("opens");
    file.keys.rotate();
    std::fs::write(&path, file.text(&SystemEntropy).expose()).expect("writes");
    upload(&world, &file.keys).await.expect("is taken");
    assert_eq!(region(&world).await.former_keys.len(), 1);
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);

    // A wish that this run could not fulfil is not passed over.
    let node = holders(&world).await.pop().expect("a node").node;
    let args = ["region", "rotate-key", REGION, "--region-key", "eu.key", "--yes", "--exclude", &node];
    let output = desk.rrctl(&world, &args).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("without --exclude"), "{text}");
    let said = desk.rotate(&world, &[]).await;
    assert!(said.contains("in place already") && said.contains("1 secret sealed again"), "{said}");
    retired(&world).await;
    // Cut off before the upload: the key file alone has it.
    let text = Secret::new(std::fs::read(&path).expect("a file"));
    let mut file = key_file::KeyFile::open(&text, Some(&Secret::from(PASSPHRASE.to_owned()))).expect("opens");
    file.keys.rotate();
    std::fs::write(&path, file.text(&SystemEntropy).expose()).expect("writes");
    let said = desk.rotate(&world, &[]).await;
    assert!(said.contains("to epoch 3"), "{said}");
    retired(&world).await;
    world.in_step().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);
    world.end().await;
}

/// Uploads a key as `rrctl` does, to everybody that the region stands behind.
async fn upload(world: &World, keys: &RegionKeys) -> Result<u64, tonic::Status> {
    let statement: RegionStatement = region(world).await.key.expect("a key").try_into().expect("verifies");
    let grants = holders(world).await.into_iter().map(|holder| {
        let token = holder.token.expect("a token");
        let recipient = match &holder.proof {
            Some(proof) => Recipient::node(token, proof, &statement),
            None => Recipient::token(token, &statement),
        };
        keys.grant(&recipient.expect("is proven"))
    });
    let now = std::time::SystemTime::now();
    let ask = mg::RotateRegionKeyRequest {
        region: REGION.to_owned(),
        key: Some(keys.statement(now, now + std::time::Duration::from_secs(86_400)).to_wire()),
        grants: grants.collect(),
        left_out: Vec::new(),
    };
    let mut stub = RegionKeyServiceClient::new(world.api.connection());
    Ok(stub.rotate_region_key(ask).await?.into_inner().revision)
}

#[tokio::test]
async fn whoever_joins_while_the_key_is_rotated_is_not_forgotten() {
    let world = World::start().await;
    let desk = Desk::of(&world);
    let mut keys = desk.keys("eu.key");
    keys.rotate();
    // Everybody was listed, and then a token was made that the list does not have.
    let statement: RegionStatement = region(&world).await.key.expect("a key").try_into().expect("verifies");
    let listed = holders(&world).await;
    let _late = world.api.node_token(REGION, &world.keys, 1).await.expect("a token");
    let grants = listed.into_iter().map(|holder| {
        let proof = holder.proof.expect("a node");
        keys.grant(&Recipient::node(holder.token.expect("a token"), &proof, &statement).expect("is proven"))
    });
    let now = std::time::SystemTime::now();
    let ask = mg::RotateRegionKeyRequest {
        region: REGION.to_owned(),
        key: Some(keys.statement(now, now + std::time::Duration::from_secs(86_400)).to_wire()),
        grants: grants.collect(),
        left_out: Vec::new(),
    };
    let mut stub = RegionKeyServiceClient::new(world.api.connection());
    let refused = stub.rotate_region_key(ask).await.expect_err("somebody is missing");
    assert_eq!(refused.code(), tonic::Code::Aborted, "{refused:?}");
    assert!(refused.message().contains("nt_"), "{}", refused.message());
    assert!(region(&world).await.former_keys.is_empty());
    world.end().await;
}

/// Everything that a thief of a node has: the token that was on the machine, the node's own key, and the region's key.
struct Thief {
    token: NodeToken,
    own_key: OpeningKey,
    region_key: RegionOpeningKey,
    installation: InstallationId,
    node: String,
}

impl Thief {
    /// Joins with a token, and keeps everything.
    async fn join(world: &World, token: NodeToken) -> Self {
        let own_key = OpeningKey::generate();
        let place = Place::new(world.control_plane.fleet, world.control_plane.state()).expect("an authority");
        let joined = join_with(&place, &token, &own_key).await.expect("joins");
        let opened = token.keys().open(&joined.statement.expect("is there")).expect("opens");
        Self { token, own_key, region_key: opened.key, installation: opened.installation, node: joined.node }
    }

    /// Every key that it can get out of a dump of the control plane.
    fn keys(&self, dump: &Dump) -> Vec<RegionOpeningKey> {
        let mut keys = vec![self.region_key.clone()];
        let token = self.token.keys();
        for statement in &dump.statements {
            for grant in &dump.grants {
                for with in [&self.own_key, token.open_key(), self.region_key.key()] {
                    keys.extend(grant::open(grant, statement, with, 0));
                }
            }
        }
        keys
    }

    /// Which values it reads out of a dump.
    fn reads(&self, dump: &Dump, keys: &[RegionOpeningKey]) -> Vec<Vec<u8>> {
        let mut read = Vec::new();
        for (org, credential, version, sealed) in &dump.secrets {
            let context = SealContext {
                installation: self.installation,
                org: *org,
                credential: *credential,
                version: *version,
            };
            if let Ok(opened) = sealed.open(&context, keys) {
                read.push(opened.value().expose().to_vec());
            }
        }
        read
    }
}

/// Credential, version, secret, the secret before, organization.
type SecretRow = (String, i64, Option<Vec<u8>>, Option<Vec<u8>>, String);

/// What lies in the database of the control plane: current secrets, every payload of history, grants and statements.
struct Dump {
    secrets: Vec<(OrgId, CredentialId, u64, SealedSecret)>,
    grants: Vec<fleet::RegionKeyGrant>,
    statements: Vec<RegionStatement>,
}

impl Dump {
    async fn of(world: &World) -> Self {
        let file = world.control_plane.state().join("control.db");
        let options = SqliteConnectOptions::new().filename(file).read_only(true);
        let mut database = SqliteConnection::connect_with(&options).await.expect("opens");
        let rows: Vec<SecretRow> = sqlx::query_as(
            "SELECT s.credential, s.version, s.sealed, s.previous_sealed, r.org FROM secret s JOIN resource r ON r.id = s.credential",
        )
        .fetch_all(&mut database)
        .await
        .expect("reads");
        let mut secrets = Vec::new();
        for (credential, version, sealed, previous, org) in rows {
            let (org, credential) = (org.parse().expect("an id"), credential.parse().expect("an id"));
            let version = version.unsigned_abs();
            for (sealed, version) in [(sealed, version), (previous, version.saturating_sub(1))] {
                let Some(bytes) = sealed else { continue };
                let wire = fleet::SealedSecret::decode(bytes.as_slice()).expect("decodes");
                secrets.push((org, credential, version, wire.try_into().expect("well formed")));
            }
        }
        let ids: Vec<_> = secrets.iter().map(|(org, credential, ..)| (*org, *credential)).collect();
        let blobs: Vec<(Vec<u8>,)> =
            sqlx::query_as("SELECT payload FROM blob").fetch_all(&mut database).await.expect("reads");
        for (bytes,) in blobs {
            let Ok(payload) = fleet::CredentialResource::decode(bytes.as_slice()) else { continue };
            let Some(fleet::credential_resource::Usage::Upstream(upstream)) = payload.usage else { continue };
            let newest = match upstream.kind {
                Some(fleet::upstream_credential::Kind::Sealed(sealed)) => Some(sealed),
                _ => None,
            };
            let sealed = [newest, upstream.previous_sealed].into_iter().flatten();
            for sealed in sealed.filter_map(|wire| SealedSecret::try_from(wire).ok()) {
                for (org, credential) in &ids {
                    for version in 1..=payload.version {
                        secrets.push((*org, *credential, version, sealed.clone()));
                    }
                }
            }
        }
        let grants: Vec<(Vec<u8>,)> = sqlx::query_as("SELECT \"grant\" FROM region_grant")
            .fetch_all(&mut database)
            .await
            .expect("reads");
        let grants =
            grants.iter().map(|(bytes,)| fleet::RegionKeyGrant::decode(bytes.as_slice()).expect("decodes"));
        let grants = grants.collect();
        let region = region(world).await;
        let statements = region.former_keys.into_iter().chain(region.key);
        let statements = statements.map(|wire| wire.try_into().expect("verifies")).collect();
        database.close().await.expect("closes");
        Self { secrets, grants, statements }
    }
}

/// The node that is revoked, the key that is rotated, the secret that is replaced.
async fn revoke_rotate_replace(world: &World, desk: &Desk, thief: &Thief) -> (Dump, Dump) {
    let before = Dump::of(world).await;
    desk.rotate(world, &["--exclude", &thief.node, "--now"]).await;
    let keys = desk.keys("eu.key");
    assert_eq!(keys.excluded(), (1, 1), "the node and its token");
    let credential = world.api.credential(ORG, "echo-secret").await.expect("is there");
    world
        .api
        .replace_secret(ORG, &credential, &keys, &world.upstream.url(), "written after the rotation")
        .await
        .expect("is replaced");
    world.in_step().await;
    (before, Dump::of(world).await)
}

#[tokio::test]
async fn a_node_that_is_left_out_opens_nothing_that_is_written_after_the_rotation() {
    let world = World::start().await;
    let desk = Desk::of(&world);
    // It has uses left: whoever has its text could join again.
    let token = world.api.node_token(REGION, &world.keys, 5).await.expect("a token");
    let thief = Thief::join(&world, token).await;
    let (before, after) = revoke_rotate_replace(&world, &desk, &thief).await;
    let keys = thief.keys(&before);
    assert!(thief.reads(&before, &keys).contains(&UPSTREAM_SECRET.as_bytes().to_vec()), "it was a node");
    let keys = [keys, thief.keys(&after)].concat();
    assert!(keys.iter().all(|key| key.epoch() == 1), "it got no later key");
    assert!(thief.reads(&after, &keys).is_empty(), "what it had as a node opens nothing that is there now");

    // The check would see it: with the region's new key the same dump opens.
    let insider = desk.keys("eu.key").opening_keys();
    assert!(thief.reads(&after, &insider).contains(&b"written after the rotation".to_vec()));

    // No later rotation takes it back in, whatever name the control plane gives it, and none waits for it.
    let said = desk.rotate(&world, &[]).await;
    assert!(said.contains("left out before") && said.contains("are retired"), "{said}");
    let dump = Dump::of(&world).await;
    assert!(thief.keys(&dump).iter().all(|key| key.epoch() == 1));
    // Nodes that stay have noticed nothing.
    world.in_step().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn a_rotation_that_seals_the_new_key_to_the_old_one_would_be_found() {
    let world = World::start().await;
    let desk = Desk::of(&world);
    let token = world.api.node_token(REGION, &world.keys, 5).await.expect("a token");
    let thief = Thief::join(&world, token).await;
    let (_, mut after) = revoke_rotate_replace(&world, &desk, &thief).await;
    // As a careless program would do it: the new private key, sealed to the key of the epoch before.
    let keys = desk.keys("eu.key");
    after.grants.push(sealed_to(&keys, &world.keys));
    let found = thief.keys(&after);
    assert!(thief.reads(&after, &found).contains(&b"written after the rotation".to_vec()));
    world.end().await;
}

/// A grant of the newest key to whoever has the region's key of the epoch before.
fn sealed_to(keys: &RegionKeys, before: &RegionKeys) -> fleet::RegionKeyGrant {
    use rr_contract::seal::node_token::NodeTokenDraft;
    let draft = NodeTokenDraft::draw(&SystemEntropy);
    let installation = InstallationId::from_random([1; 16]);
    let far = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    let token = draft.statement(keys, installation, 1, far);
    let old = before.opening_key().key().sealing_key();
    let proof = fleet::NodeProof {
        node_key: old.to_bytes().to_vec(),
        csr_hash: csr_hash(b"csr").to_vec(),
        vouch: draft.finish([0; 32]).keys().vouch(&old, b"csr"),
    };
    let statement = keys.statement(std::time::SystemTime::now(), far);
    keys.grant(&Recipient::node(token, &proof, &statement).expect("is proven"))
}
