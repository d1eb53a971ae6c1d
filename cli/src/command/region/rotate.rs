//! `rrctl region rotate-key`: the next key of a region, and every secret sealed to it.
//!
//! Each step can be cut off and done again: the key file has the key before anybody else has heard of it, and a second run
//! goes on where the first one ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::seal::key_file::KeyFile;
use rr_contract::seal::region_key::{RegionOpeningKey, RegionStatement};
use rr_contract::seal::{SealContext, SealedSecret};
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::region_key_service_client::RegionKeyServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use tokio::time::Instant;
use tonic::Code;

use super::STATEMENT_LIFE;
use super::holders::{self, Holders, Wishes};
use crate::command::names;
use crate::connect::Connection;
use crate::fault;
use crate::flags::key_file::{KeyFileArgs, copies, write_again};
use crate::flags::plan::Yes;
use crate::flags::trust::TrustFile;
use crate::print::{Progress, count, few, note};
use crate::session::Session;

/// How often whoever joins meanwhile is waited out.
const TRIES: u32 = 5;
/// How long connected nodes are waited for, and how often they are looked at.
const NODES_TAKE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// How many secrets are sealed again by one call.
const SLICE: i32 = 500;

#[derive(Args)]
pub(crate) struct RotateArgs {
    /// Name or id.
    region: String,
    #[command(flatten)]
    key: KeyFileArgs,
    /// Id of a node or of a node token that does not get the key; can be repeated. It is kept in the key file and gets no later
    /// key. With a node, the token that it joined with is left out, and whoever else joined with that token. Which node has an id
    /// is what the control plane says; a token's id is signed by the region.
    #[arg(long, value_name = "ID")]
    exclude: Vec<String>,
    /// Id of a node token that stays trusted although a node that joined with it is left out: its text was not on that machine
    /// any more. Can be repeated.
    #[arg(long, value_name = "TOKEN")]
    trust_token: Vec<String>,
    /// Retires the key before at once, and waits for no node: on one that does not have the new key yet, no secret opens until
    /// it connects.
    #[arg(long)]
    now: bool,
    /// Other copy of the key file, which gets the new keys too; can be repeated.
    #[arg(long, value_name = "FILE")]
    recovery_copy: Vec<PathBuf>,
    /// File of fingerprints that the new epoch is noted in, where it has the region. Without it that of the context, or one of
    /// the endpoint in the configuration folder.
    #[arg(long, env = "RRCTL_REGIONS_FILE", value_name = "FILE")]
    regions_file: Option<PathBuf>,
    #[command(flatten)]
    yes: Yes,
}

impl RotateArgs {
    pub(super) async fn run(self, session: Session) -> Result<()> {
        let connection = session.endpoint.connect().await?;
        let mut file = self.key.open_file()?;
        let present = present(&connection, &self.region, &file).await?;
        let copies = copies(&self.recovery_copy, &self.key, &file)?;
        let begun = Begun::of(&file, &present, &self.key)?;
        let (region, revision) = match begun {
            // Whoever has the key that is in place keeps it: to pass the wish over would leave them in unseen.
            Begun::Uploaded if !self.exclude.is_empty() => {
                return Err(fault::usage(
                    &format!(
                        "the key of epoch {} is in place and its rotation has not ended, so that nobody can be left out of it: nothing was changed",
                        file.keys.epoch()
                    ),
                    "run the same without --exclude, with --now where it waits for nodes, and then again with --exclude",
                ));
            }
            // What is left to do is to seal again and to retire.
            Begun::Uploaded => {
                note(&format!(
                    "the key of epoch {} is in place already; this run goes on with the secrets that are not sealed to it",
                    file.keys.epoch()
                ));
                (present.region, 0)
            }
            Begun::Nothing | Begun::Written => {
                let (region, revision) =
                    self.rotate(&connection, &mut file, &present.statement, &copies, begun).await?;
                note(&format!(
                    "epoch {} is the key of region {} at revision {revision}: secrets are sealed to it from now on",
                    file.keys.epoch(),
                    region.name
                ));
                (region, revision)
            }
        };
        let statement = statement_of(&region)?;
        let regions_file = self.regions_file.as_deref().unwrap_or(session.regions_file());
        TrustFile::saw_epoch(regions_file, &region.name, &statement)?;
        let again = seal_again(&connection, &region, &file.keys.opening_keys(), &statement).await?;
        let retired = self.retire(&connection, &region).await?;
        let region = names::of_one(session.print, &connection, "", Some(region)).await?;
        let what = format!(
            "rotated the key of region {} to epoch {}: {} sealed again",
            region.name,
            statement.epoch(),
            count(again, "secret")
        );
        session.print.written(&region, &what, revision)?;
        note(&retired);
        note(
            "What a thief of the key before could open until now has to be replaced at the upstreams: `rrctl credential replace-secret`.",
        );
        if copies.is_empty() {
            note(&format!(
                "a recovery copy of {} does not have the new key: copy the file over it, or give --recovery-copy next time",
                self.key.file().display()
            ));
        }
        Ok(())
    }

    /// Makes the key, writes it down, and uploads its public half with what is sealed to everybody.
    async fn rotate(
        &self,
        connection: &Connection,
        file: &mut KeyFile,
        present: &RegionStatement,
        copies: &[&Path],
        begun: Begun,
    ) -> Result<(mg::Region, u64)> {
        let wishes = Wishes { exclude: &self.exclude, trust_token: &self.trust_token };
        let mut agreed: Option<(usize, usize)> = None;
        if matches!(begun, Begun::Nothing) {
            file.keys.rotate();
        }
        for _ in 0..TRIES {
            let listed = holders::list(connection.clone(), &self.region).await?;
            let everybody = Holders::judge(listed, &mut file.keys, present, &wishes)?;
            if agreed != Some(everybody.counts()) {
                everybody.show();
                let (given, left_out) = everybody.counts();
                self.yes.ask(&format!(
                    "give the key of epoch {} to {given} and leave {left_out} out",
                    file.keys.epoch()
                ))?;
                agreed = Some((given, left_out));
            }
            write_again(self.key.file(), copies, &file.text(&SystemEntropy))?;
            let now = SystemTime::now();
            let statement = file.keys.statement(now, now + STATEMENT_LIFE);
            let ask = mg::RotateRegionKeyRequest {
                region: self.region.clone(),
                key: Some(statement.to_wire()),
                grants: everybody.grants(&file.keys),
                left_out: everybody.left_out(),
            };
            match RegionKeyServiceClient::new(connection.clone()).rotate_region_key(ask).await {
                Ok(reply) => {
                    let reply = reply.into_inner();
                    return Ok((reply.region.context("region in the answer")?, reply.revision));
                }
                // Somebody joined since the list was read.
                Err(status)
                    if status.code() == Code::Aborted && status.message().contains("list them again") => {}
                Err(status) => return Err(status.into()),
            }
        }
        Err(fault::ended(
            "machines joined the region while its key was rotated, again and again",
            "revoke the tokens that they join with (`rrctl node token revoke`), and rotate again",
        ))
    }

    /// Takes the keys before out of use, and says how far that came.
    async fn retire(&self, connection: &Connection, region: &mg::Region) -> Result<String> {
        let mut stub = RegionKeyServiceClient::new(connection.clone());
        let until = Instant::now() + NODES_TAKE;
        loop {
            let ask = mg::RetireRegionKeysRequest { region: region.id.clone(), now: self.now };
            match stub.retire_region_keys(ask).await {
                Ok(reply) if reply.get_ref().left > 0 => {}
                Ok(_) => {
                    return Ok(
                        "the keys before it are retired: nothing is sealed to them any more".to_owned()
                    );
                }
                // Nodes that are connected have it within moments.
                Err(status) if status.code() == Code::FailedPrecondition && Instant::now() < until => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(status) if status.code() == Code::FailedPrecondition && !self.now => {
                    return Ok(format!(
                        "the key before it is retired by itself once every node has the new one: {}",
                        status.message()
                    ));
                }
                Err(status) => return Err(status.into()),
            }
        }
    }
}

/// What the control plane has of the region.
pub(super) struct Present {
    pub(super) region: mg::Region,
    pub(super) statement: RegionStatement,
}

/// How far a rotation has come.
#[derive(Clone, Copy)]
enum Begun {
    /// There is none.
    Nothing,
    /// The key file has the next key, and the control plane does not.
    Written,
    /// The control plane has it, and secrets may still be sealed to the key before.
    Uploaded,
}

impl Begun {
    fn of(file: &KeyFile, present: &Present, args: &KeyFileArgs) -> Result<Self> {
        let (here, there) = (file.keys.epoch(), present.statement.epoch());
        if here < there {
            return Err(fault::usage(
                &format!(
                    "{} has the key of epoch {here}, and the region is at epoch {there}: somebody rotated it with another copy",
                    args.file().display()
                ),
                "take that copy, or import it into this one with `rrctl region import-key`",
            ));
        }
        let same =
            here == there && file.keys.opening_key().key().sealing_key() == *present.statement.sealing_key();
        match (here == there, same) {
            (true, false) => Err(fault::usage(
                &format!("the region has another key of epoch {there} than {}", args.file().display()),
                "somebody rotated it with another copy of the key file: take that one",
            )),
            (true, true) if present.region.former_keys.is_empty() => Ok(Self::Nothing),
            (true, true) => Ok(Self::Uploaded),
            (false, _) => Ok(Self::Written),
        }
    }
}

/// The region that is named, if the key file is its own.
pub(super) async fn present(connection: &Connection, region: &str, file: &KeyFile) -> Result<Present> {
    let mut stub = RegionServiceClient::new(connection.clone());
    let reply = stub.get_region(mg::GetRegionRequest { region: region.to_owned() }).await?.into_inner();
    let region = reply.region.unwrap_or_default();
    let statement = statement_of(&region)?;
    if statement.fingerprint() != file.keys.fingerprint() {
        return Err(fault::usage(
            &format!(
                "the control plane shows fingerprint {} for region {}, and the key file has {}",
                statement.fingerprint(),
                region.name,
                file.keys.fingerprint()
            ),
            "name the key file of this region; where it is the one, the control plane is not to be trusted",
        ));
    }
    Ok(Present { region, statement })
}

pub(super) fn statement_of(region: &mg::Region) -> Result<RegionStatement> {
    let wire = region.key.clone().with_context(|| format!("region {} has no key", region.name))?;
    wire.try_into().with_context(|| format!("key statement of region {}", region.name))
}

/// Seals every secret of the region to its newest key, without its value. How many.
async fn seal_again(
    connection: &Connection,
    region: &mg::Region,
    keys: &[RegionOpeningKey],
    statement: &RegionStatement,
) -> Result<u64> {
    let mut installations = InstallationServiceClient::new(connection.clone());
    let installation = installations.get_installation(mg::GetInstallationRequest {}).await?.into_inner();
    let installation: InstallationId = installation.id.parse().context("installation id in the answer")?;
    let mut stub = RegionKeyServiceClient::new(connection.clone());
    let (mut done, mut page_token, mut progress) = (0, String::new(), None);
    let mut unopened = Vec::new();
    loop {
        let ask = mg::ListSealedSecretsRequest {
            region: region.id.clone(),
            page_size: SLICE,
            page_token: std::mem::take(&mut page_token),
        };
        let reply = stub.list_sealed_secrets(ask).await?.into_inner();
        let progress = progress.get_or_insert_with(|| Progress::of("secrets sealed again", reply.total));
        let mut secrets = Vec::with_capacity(reply.secrets.len());
        for secret in &reply.secrets {
            match rewrapped(installation, secret, keys, statement) {
                Ok(rewrapped) => secrets.push(rewrapped),
                Err(error) => unopened.push(format!("{} ({error:#})", secret.credential)),
            }
        }
        let listed = reply.secrets.len() as u64;
        if !secrets.is_empty() {
            let ask = mg::RewrapSecretsRequest { region: region.id.clone(), secrets };
            let reply = stub.rewrap_secrets(ask).await?.into_inner();
            done += u64::from(reply.taken);
        }
        progress.more(listed);
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if unopened.is_empty() {
        return Ok(done);
    }
    Err(fault::ended(
        &format!("{} could not be sealed again: {}", count(unopened.len() as u64, "secret"), few(&unopened)),
        "enter their values again with `rrctl credential replace-secret`, or delete them, and rotate again: it goes on where it ended",
    ))
}

fn rewrapped(
    installation: InstallationId,
    secret: &mg::SealedCredential,
    keys: &[RegionOpeningKey],
    statement: &RegionStatement,
) -> Result<mg::RewrappedSecret> {
    let org: OrgId = secret.org.parse().context("organization in the answer")?;
    let credential: CredentialId = secret.credential.parse().context("credential in the answer")?;
    let wrap = |sealed: &fleet::SealedSecret, version: u64| -> Result<Option<fleet::Wrap>> {
        let is_done = |wrap: &fleet::Wrap| {
            wrap.region == statement.region().to_string() && wrap.epoch == statement.epoch()
        };
        let is_ours = sealed.wraps.iter().any(|wrap| wrap.region == statement.region().to_string());
        if !is_ours || sealed.wraps.iter().any(is_done) {
            return Ok(None);
        }
        let context = SealContext { installation, org, credential, version };
        let sealed = SealedSecret::try_from(sealed.clone()).context("sealed secret in the answer")?;
        Ok(sealed.rewrap(&context, keys, &[statement])?.pop())
    };
    Ok(mg::RewrappedSecret {
        credential: secret.credential.clone(),
        version: secret.version,
        wrap: secret.sealed.as_ref().map(|it| wrap(it, secret.version)).transpose()?.flatten(),
        previous_wrap: secret
            .previous
            .as_ref()
            .map(|it| wrap(it, secret.version.saturating_sub(1)))
            .transpose()?
            .flatten(),
    })
}
