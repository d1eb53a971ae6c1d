//! `fixtures`: an installation for tests that speak the REST API from outside and cannot seal or sign.
//!
//! Real processes: a control plane without a limit of calls, a node that has served one request, and an
//! organization with one of each thing that REST alone could not make. Prints one JSON object, and holds
//! everything until its standard input ends. Measures nothing.

#![expect(clippy::print_stdout, reason = "whoever starts it reads what it prints")]

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rr_contract::model::id::{CredentialId, RegionId};
use rr_contract::model::time;
use rr_contract::seal::node_token::NodeTokenDraft;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::process::{Control, Edge};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::{Value, json};

const ORG: &str = "fixture";
const REGION: &str = "fixture";
const DAY: Duration = Duration::from_secs(86_400);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the processes keep their state and logs.
    #[arg(long)]
    folder: PathBuf,
    /// How many key statements, node token statements, seals and replacements are made ahead.
    #[arg(long, default_value_t = 50)]
    pool: u64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let unlimited = [("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
    let control = Control::start_with(&args.folder.join("control"), &unlimited).await;
    let api = control.bootstrap().await;
    api.org(ORG).await?;
    let keys = api.region(REGION, "https://edge.example.com").await?;
    let upstream = Upstream::start().await;
    let origin = upstream.url();
    api.target(ORG, "target", &origin).await?;
    let secret = api.upstream(ORG, "secret", &keys, &origin, "first").await?;
    let replaced = api.upstream(ORG, "replaced", &keys, &origin, "first").await?;
    let key = api.caller(ORG, "caller").await?;
    api.proxy(ORG, "proxy", "caller", "target", "secret", REGION).await?;
    ending(&api).await?;
    let pools = pools(&api, &keys, &origin, &replaced, args.pool).await?;

    let token = api.node_token(REGION, &keys, 1).await?;
    let edge = Edge::start(&args.folder.join("edge"), control.fleet, token.to_secret().expose());
    edge.ready().await;
    let caller = Caller::new(edge.listen, &format!("{ORG}.proxy"), &key);
    eventually("the node answers for the proxy", || async {
        (caller.try_get("/").await.ok()?.status == 200).then_some(())
    })
    .await;
    let record = eventually("the request is recorded", || async {
        Some(api.requests(ORG).await.ok()?.first()?.record.as_ref()?.id.clone())
    })
    .await;
    // Writes are not to be held up by what a node of this version cannot run.
    drop(edge);
    // What a start looks for at once is otherwise looked for by the hour.
    let control = control.restart().await;

    let fixtures = json!({
        "url": format!("http://{}", control.management),
        "token": api.token(),
        "org": ORG,
        "region": REGION,
        "node_token": token.id().to_string(),
        "secret": secret.id,
        "request": record,
        "pools": pools,
    });
    println!("{fixtures}");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    drop(control);
    Ok(())
}

/// A credential that somebody is told about.
async fn ending(api: &Api) -> anyhow::Result<()> {
    let caller = mg::Caller { kind: mg::CallerKind::ApiKey.into(), ..mg::Caller::default() };
    let credential = mg::Credential {
        name: "ending".to_owned(),
        not_after: Some(time::timestamp(SystemTime::now() + 3 * DAY)),
        usage: Some(mg::credential::Usage::Caller(caller)),
        ..mg::Credential::default()
    };
    let ask = mg::CreateCredentialRequest {
        org: ORG.to_owned(),
        credential: Some(credential),
        ..Default::default()
    };
    CredentialServiceClient::new(api.connection()).create_credential(ask).await?;
    Ok(())
}

/// What only who has the keys can make.
async fn pools(
    api: &Api,
    keys: &RegionKeys,
    origin: &str,
    replaced: &mg::Credential,
    count: u64,
) -> anyhow::Result<Value> {
    let installation = api.installation().await?;
    let now = SystemTime::now();
    let (mut regions, mut tokens, mut seals, mut versions) = (vec![], vec![], vec![], vec![]);
    for n in 0..count {
        let region = RegionKeys::generate(RegionId::from_random(draw(&SystemEntropy)), &SystemEntropy);
        let statement = region.statement(now, now + 90 * DAY).to_wire();
        regions.push(json!({"id": region.region().to_string(), "key": serde_json::to_value(statement)?}));
        let statement = NodeTokenDraft::draw(&SystemEntropy).statement(keys, installation, 1, now + DAY);
        tokens.push(serde_json::to_value(statement)?);
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let sealed = api.seal(ORG, id, 1, keys, origin, "value").await?;
        seals.push(json!({"id": id.to_string(), "sealed": serde_json::to_value(sealed)?}));
        let version = replaced.version + 1 + n;
        let sealed = api.seal(ORG, replaced.id.parse()?, version, keys, origin, "value").await?;
        versions.push(json!({"version": version.to_string(), "sealed": serde_json::to_value(sealed)?}));
    }
    Ok(json!({"regions": regions, "node_tokens": tokens, "seals": seals, "versions": versions}))
}
