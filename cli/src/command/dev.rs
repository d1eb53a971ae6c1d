//! `rrctl dev`: the control plane, an edge node, a sample upstream and a sample proxy in this process.
//!
//! The composition root of the command line, and the only part of it that names the planes. Everything is the
//! real thing: the node joins with a token over TLS, the secret is sealed, the sample goes through the API.
//! It differs in two things: the region key has no passphrase, and an upstream on loopback is allowed.

mod context;
mod echo;
mod folder;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::runtime::observe::{self, Observability, ObserveArgs};
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use tokio::net::TcpListener;

use crate::connect::Endpoint;
use crate::print::{line_out, note};
use folder::{PortArgs, StateFolder};
use sample::Sample;

/// The time that a stop waits for open requests.
const DRAIN: Duration = Duration::from_secs(5);
/// The identity of the edge node, once it has joined.
const EDGE_IDENTITY: &str = "edge/identity";

#[derive(Args)]
pub(crate) struct DevArgs {
    /// Folder of the state; made if it does not exist.
    #[arg(long, default_value = ".requestrocket-dev", value_name = "FOLDER", conflicts_with = "ephemeral")]
    dir: PathBuf,
    /// Takes a folder over that was moved, or that another user or configuration folder knows. Whoever made it knows its
    /// keys: only for one of your own.
    #[arg(long, conflicts_with = "ephemeral")]
    adopt: bool,
    /// Keeps the state in a temporary folder, which is removed at the end.
    #[arg(long)]
    ephemeral: bool,
    #[command(flatten)]
    ports: PortArgs,
    /// Directives for the log, which is written to standard error.
    #[arg(long, default_value = "warn", value_name = "DIRECTIVES")]
    log_level: String,
}

pub(crate) async fn run(args: DevArgs) -> Result<()> {
    let folder = if args.ephemeral {
        StateFolder::ephemeral(args.ports)?
    } else {
        StateFolder::open(&args.dir, args.adopt, args.ports)?
    };
    let observe = ObserveArgs { log_level: Some(args.log_level), ..ObserveArgs::default() };
    let logs = observe::start("rrctl-dev", &observe).context("start logging")?;
    let shutdown = Shutdown::on_signals().context("listen for Ctrl-C")?;
    let tasks = Tasks::new();

    let stop = shutdown.stop();
    let started = stop.cut(Box::pin(start(&folder, &shutdown, &tasks))).await;
    let outcome = match started {
        None => Ok(()),
        Some(Err(error)) => Err(error),
        Some(Ok(running)) => {
            let context = context::write(&folder).unwrap_or_else(|error| {
                note(&format!("commands need --endpoint, --token-file and --org here: {error:#}"));
                None
            });
            announce(&folder, &running, context.as_deref())?;
            stop.requested().await;
            line_out("stopping")?;
            running.edge.stop().await;
            running.control.stop().await;
            Ok(())
        }
    };
    shutdown.begin();
    tasks.wait(DRAIN).await;
    logs.shutdown();
    outcome
}

struct Running {
    control: rr_control_plane::Running,
    edge: rr_data_plane::Running,
    token: Secret,
    caller_key: Secret,
}

async fn start(folder: &StateFolder, shutdown: &Shutdown, tasks: &Tasks) -> Result<Running> {
    let upstream = TcpListener::bind(folder.ports.upstream).await.with_context(|| {
        format!("listen on {} (sample upstream); move it with --upstream-port", folder.ports.upstream)
    })?;
    tasks.spawn("sample upstream", echo::serve(upstream, tasks.clone(), shutdown.stop()));

    let control =
        rr_control_plane::start(control_config(folder)?, Seams::real(), Observability::quiet("rr-control"))
            .await
            .context("start the control plane")?;
    let url = format!("http://{}", folder.ports.management);
    let token = sample::admin_token(folder, &url, control.bootstrap_token_path()).await?;
    let endpoint = Endpoint::new(&url, Some(Secret::new(token.expose().to_vec())), None)?;
    let connection = endpoint.connect().await?;
    let sample = Sample::make(folder, &connection).await?;

    let mut config = edge_config(folder)?;
    if !folder.path(EDGE_IDENTITY).exists() {
        config.node_token = Some(sample.node_token(&connection).await?);
    }
    let edge = rr_data_plane::start(config, Seams::real(), Observability::quiet("rr-edge"))
        .await
        .context("start the edge node")?;
    edge.readiness().wait().await;
    Ok(Running { control, edge, token, caller_key: sample.caller_key })
}

fn announce(folder: &StateFolder, running: &Running, context: Option<&str>) -> Result<()> {
    let rrctl = std::env::current_exe().ok().and_then(|path| {
        let here = std::env::current_dir().ok()?;
        Some(path.strip_prefix(&here).unwrap_or(&path).display().to_string())
    });
    let rrctl = rrctl.unwrap_or_else(|| "rrctl".to_owned());
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    let ports = &folder.ports;
    let (token, key) = (text(&running.token), text(&running.caller_key));
    let (flags, counts) = match context {
        Some(name) => {
            (String::new(), format!("  context      {name}   (commands in this folder need no flags)\n"))
        }
        None => {
            let (token, org) = (folder.kept(sample::TOKEN_FILE).display().to_string(), sample::ORG);
            (
                format!(" --endpoint http://{} --token-file {token} --org {org}", ports.management),
                String::new(),
            )
        }
    };
    let regions_file = || format!(" --regions-file {}", folder.kept(sample::REGIONS_FILE).display());
    let regions = context.map_or_else(regions_file, |_| String::new());
    line_out(&format!(
        "\
RequestRocket runs in {folder}

  management   http://{management}   (gRPC and REST)
  edge         http://{edge}
  upstream     http://{upstream}   (shows what it is sent)
  token        {token}
{counts}
Call the sample proxy. The upstream gets its own secret and not your key. It answers with what it got, where the edge
masks the secret:

  curl -H 'Authorization: {key}' http://{edge}/api/{org}.{proxy}/hello

A filter masked customer.email in that answer, and a rule refuses DELETE, with the reason. With -i the answer shows what is
left of the limit of {limit} a minute; a meter counts what POST, PUT and PATCH send:

  curl -X DELETE -H 'Authorization: {key}' http://{edge}/api/{org}.{proxy}/hello
  curl -i -X POST -H 'Authorization: {key}' http://{edge}/api/{org}.{proxy}/hello

See the records of these calls; with -o wide also what limit, meter and filter did:

  {rrctl}{flags} request list

Call an API of your own: its secret is asked for, and sealed here. The last line is a call that works:

  {rrctl}{flags} init https://api.example.com{regions}

Look around; `{rrctl} --help` names everything:

  {rrctl}{flags} proxy list
  curl -H 'Authorization: Bearer {token}' http://{management}/v1/orgs/{org}/proxies
  grpcurl -plaintext -H 'authorization: Bearer {token}' {management} list

Ctrl-C stops it.",
        folder = folder.root().display(),
        management = ports.management,
        edge = ports.edge,
        upstream = ports.upstream,
        org = sample::ORG,
        proxy = sample::PROXY,
        limit = sample::LIMITS.per_minute_per_node,
    ))
}

fn control_config(folder: &StateFolder) -> Result<rr_control_plane::Config> {
    let settings = rr_control_plane::Settings {
        state_dir: Some(folder.path("control")),
        management: Some(folder.ports.management),
        fleet: Some(folder.ports.fleet),
        admin: Some(folder.ports.control_admin),
        drain: Some(DRAIN.as_secs()),
        // A first start that was killed has used its bootstrap token up and kept no token.
        new_bootstrap_token: !folder.kept(sample::TOKEN_FILE).exists(),
        ..rr_control_plane::Settings::default()
    };
    Ok(rr_control_plane::Config::resolve(settings)?)
}

fn edge_config(folder: &StateFolder) -> Result<rr_data_plane::Config> {
    let settings = rr_data_plane::Settings {
        state_dir: Some(folder.path("edge")),
        control_plane: Some(format!("https://{}", folder.ports.fleet)),
        listen: Some(folder.ports.edge),
        admin: Some(folder.ports.edge_admin),
        workers: Some(2),
        // The sample upstream is on loopback, which an edge node refuses by default.
        allow_upstream: Some(vec!["127.0.0.0/8".to_owned()]),
        drain: Some(DRAIN.as_secs()),
        ..rr_data_plane::Settings::default()
    };
    Ok(rr_data_plane::Config::resolve(settings, None)?)
}
