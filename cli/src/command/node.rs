//! `rrctl node`: the state of nodes, and tokens with which machines join the fleet.
//!
//! The secret of a token is drawn here and never sent.

mod accounts;
mod revoke;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use rr_contract::model::id::InstallationId;
use rr_contract::seal::node_token::{NodeToken, NodeTokenDraft};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::node_token_service_client::NodeTokenServiceClient;

use super::region;
use crate::command::names;
use crate::connect::Connection;
use crate::fault;
use crate::flags::change::Condition;
use crate::flags::key_file::KeyFileArgs;
use crate::flags::page;
use crate::flags::plan::Yes;
use crate::once::{self, NewFile};
use crate::print::{self, Row, at_revision, note, plain, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists nodes, connected or not.
    List {
        /// Lists only nodes of this region, by name or id.
        #[arg(long, default_value = "", hide_default_value = true)]
        region: String,
        /// Lists only nodes that need attention.
        #[arg(long)]
        unhealthy: bool,
        /// Lists only connected nodes that something for their region has not reached yet.
        #[arg(long)]
        behind: bool,
    },
    /// Prints all nodes, then each change, until Ctrl-C.
    Watch {
        /// Lists only nodes of this region, by name or id.
        #[arg(long, default_value = "", hide_default_value = true)]
        region: String,
        /// Lists only nodes that need attention.
        #[arg(long)]
        unhealthy: bool,
    },
    /// Shows a node.
    Show {
        /// Id of the node.
        node: String,
    },
    /// Shows in one sentence what is wrong with a node.
    Why {
        /// Id of the node.
        node: String,
    },
    /// Shows what nodes told of requests, and what became of their records: stored, refused, lost.
    Accounts(accounts::AccountsArgs),
    /// Takes a node out of service: it still answers requests, but is not ready, so that a load balancer sends it no more.
    Drain {
        /// Id of the node.
        node: String,
    },
    /// Puts a node back into service.
    Undrain {
        /// Id of the node.
        node: String,
    },
    /// Revokes a node for good: its stream closes at once, and it removes its keys and stops.
    Revoke {
        /// Id of the node.
        node: String,
        /// Revokes the node token that it joined with, too.
        #[arg(long)]
        with_token: bool,
        #[command(flatten)]
        yes: Yes,
    },
    /// Tokens with which machines join a region.
    #[command(subcommand)]
    Token(TokenVerb),
}

#[derive(Subcommand)]
pub(crate) enum TokenVerb {
    /// Creates a token.
    Create(TokenArgs),
    /// Lists the tokens of a region, without secrets.
    List {
        /// Region, by name or id.
        region: String,
    },
    /// Revokes a token: no node can join with it. Nodes that have joined stay.
    Revoke {
        /// Region, by name or id.
        region: String,
        /// Id of the token, from `rrctl node token list`.
        token: String,
        #[command(flatten)]
        condition: Condition,
    },
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Region of the key file, by name or id.
    region: String,
    #[command(flatten)]
    key: KeyFileArgs,
    /// Number of nodes that can join with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// Hours until it ends.
    #[arg(long, default_value_t = 1, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=8760))]
    expires_in: u32,
    /// New file that the token is written to before it is created. Without it, the token is the only line on standard
    /// output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        match self {
            Self::List { region, unhealthy, behind } => {
                let connection = session.endpoint.connect().await?;
                session.print.list(&list(connection, &region, unhealthy, behind).await?)
            }
            Self::Watch { region, unhealthy } => watch(&session, region, unhealthy).await,
            Self::Show { node } => session.print.one(&show(&session, node).await?),
            Self::Why { node } => {
                let node = show(&session, node).await?;
                let why = if node.why.is_empty() { "it runs what is published for it" } else { &node.why };
                session.print.done(&format!("{}: {why}", node.id), &node)
            }
            Self::Accounts(args) => args.run(session).await,
            Self::Drain { node } => drain(&session, node, false).await,
            Self::Undrain { node } => drain(&session, node, true).await,
            Self::Revoke { node, with_token, yes } => revoke::run(&session, node, with_token, yes).await,
            Self::Token(verb) => verb.run(session).await,
        }
    }
}

impl TokenVerb {
    async fn run(self, session: Session) -> Result<()> {
        match self {
            Self::List { region } => {
                let connection = session.endpoint.connect().await?;
                let mut stub = NodeTokenServiceClient::new(connection.clone());
                let all = page::all(async |page_size, page_token| {
                    let ask = mg::ListNodeTokensRequest { region: region.clone(), page_size, page_token };
                    let reply = stub.list_node_tokens(ask).await?.into_inner();
                    Ok((reply.node_tokens, reply.next_page_token))
                });
                session.print.list(&names::of(session.print, &connection, "", all.await?).await?)
            }
            Self::Revoke { region, token, condition } => {
                let mut stub = NodeTokenServiceClient::new(session.endpoint.connect().await?);
                let what = format!("revoked node token {token}");
                let ask = mg::DeleteNodeTokenRequest { region, node_token: token, etag: condition.etag };
                let done = stub.delete_node_token(ask).await?.into_inner();
                session.print.done(&at_revision(&what, done.revision), &done)
            }
            Self::Create(args) => {
                let mut keys = args.key.open()?;
                let life = Duration::from_secs(u64::from(args.expires_in) * 3600);
                let connection = session.endpoint.connect().await?;
                of_region(&connection, &args, &mut keys).await?;
                let drawn = Drawn::draw(connection, &keys, args.uses, life).await?;
                let Some(path) = &args.out else {
                    let token = drawn.register(&args.region).await?.0.to_secret();
                    let text = if session.print.is_data() {
                        let token = std::str::from_utf8(token.expose())?;
                        session.print.text(&serde_json::json!({ "nodeToken": token }))?.into_bytes()
                    } else {
                        token.expose().to_vec()
                    };
                    return once::out_or_aside("node token", &text, token.expose());
                };
                let mut file = NewFile::make(path, 0)?;
                file.write(drawn.token.to_secret().expose())?;
                let registered = match drawn.register(&args.region).await {
                    Ok((_, registered)) => registered,
                    Err(error) if fault::is_certainly_undone(&error) => return Err(error),
                    Err(error) => {
                        file.keep();
                        return Err(error.context(format!(
                            "it is not known whether the token was created; {} holds it, and `rrctl node token list {}` lists it if it was",
                            path.display(),
                            args.region
                        )));
                    }
                };
                file.keep();
                let text = format!("wrote {}; give it to rr-edge with --node-token-file", path.display());
                if session.print.is_data() {
                    return session.print.data(&registered);
                }
                note(&text);
                Ok(())
            }
        }
    }
}

/// Refuses a key file of another region than the one that is named, and a control plane that shows an older attestation than the
/// file has signed. Regions that are not listed are left to the control plane.
async fn of_region(connection: &Connection, args: &TokenArgs, keys: &mut RegionKeys) -> Result<()> {
    let regions = region::list(connection.clone()).await?;
    let id = keys.region().to_string();
    let Some(named) = regions.iter().find(|it| it.name == args.region || it.id == args.region) else {
        return Ok(());
    };
    if named.id == id {
        // The token carries the newest.
        region::newest(named, keys, false)?;
        return Ok(());
    }
    let other = regions.iter().find(|it| it.id == id).map_or(id.as_str(), |it| it.name.as_str());
    let file = args.key.file().display();
    Err(fault::usage(
        &format!("{file} is the key of region {other}, and not of {}", named.name),
        &format!("give the key file of {} with --region-key, or make a token for {other}", named.name),
    ))
}

/// The nodes of a region, or of every region when none is named.
pub(crate) async fn list(
    connection: Connection,
    region: &str,
    only_unhealthy: bool,
    behind: bool,
) -> Result<Vec<fleet::Node>> {
    let mut stub = FleetServiceClient::new(connection);
    page::all(async |page_size, page_token| {
        let region = region.to_owned();
        let ask = fleet::ListNodesRequest { region, page_size, page_token, only_unhealthy, behind };
        let reply = stub.list_nodes(ask).await?.into_inner();
        Ok((reply.nodes, reply.next_page_token))
    })
    .await
}

async fn show(session: &Session, node: String) -> Result<fleet::Node> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    Ok(stub.get_node(fleet::GetNodeRequest { node }).await?.into_inner().node.unwrap_or_default())
}

async fn drain(session: &Session, node: String, undo: bool) -> Result<()> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    let done = stub.drain_node(fleet::DrainNodeRequest { node, undo }).await?.into_inner();
    let state = if undo { "in service" } else { "out of service" };
    let text = match done.revision {
        0 => format!("it is {state} already"),
        revision => format!("{state} at revision {revision}"),
    };
    session.print.done(&text, &done)
}

async fn watch(session: &Session, region: String, only_unhealthy: bool) -> Result<()> {
    use fleet::watch_nodes_response::Change;

    let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
    let ask = fleet::WatchNodesRequest { region, only_unhealthy };
    let mut coming = stub.watch_nodes(ask).await?.into_inner();
    let mut stream = session.print.stream::<fleet::Node>(&[])?;
    while let Some(reply) = coming.message().await? {
        match reply.change {
            _ if session.print.is_data() => session.print.data_line(&reply)?,
            Some(Change::Node(node)) => stream.line(&node)?,
            Some(Change::Gone(id)) => stream.gone("node", &id, "")?,
            Some(Change::Listed(_)) => note("these are all nodes; changes follow"),
            None => {}
        }
        if !print::is_read() {
            return Ok(());
        }
    }
    Err(fault::ended("the control plane ended the stream of nodes", "watch again"))
}

/// A token that is complete and not registered yet.
struct Drawn {
    connection: Connection,
    token: NodeToken,
    statement: fleet::NodeTokenStatement,
    pin: [u8; 32],
}

impl Drawn {
    async fn draw(connection: Connection, keys: &RegionKeys, uses: u32, life: Duration) -> Result<Self> {
        let mut installations = InstallationServiceClient::new(connection.clone());
        let installation = installations.get_installation(mg::GetInstallationRequest {}).await?.into_inner();
        let id: InstallationId = installation.id.parse().context("installation id in the answer")?;
        let pin = pin(&installation.authority_pin)?;
        let draft = NodeTokenDraft::draw(&SystemEntropy);
        let statement = draft.statement(keys, id, uses, SystemTime::now() + life);
        Ok(Self { connection, token: draft.finish(pin), statement, pin })
    }

    /// Registers the public half. Returns the token, and what the control plane has of it.
    async fn register(self, region: &str) -> Result<(NodeToken, mg::NodeToken)> {
        let ask = mg::CreateNodeTokenRequest { region: region.to_owned(), statement: Some(self.statement) };
        let reply = NodeTokenServiceClient::new(self.connection).create_node_token(ask).await?.into_inner();
        if pin(&reply.authority_pin)? != self.pin {
            return Err(fault::ended(
                "the control plane named two certificate authorities, one before and one after the token was created",
                "a machine between rrctl and the control plane may have changed an answer: revoke the token with `rrctl node token revoke`",
            ));
        }
        Ok((self.token, reply.node_token.unwrap_or_default()))
    }
}

fn pin(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().context("authority pin in the answer")
}

/// Draws a token and registers its public half.
pub(crate) async fn create_token(
    connection: Connection,
    region: &str,
    keys: &RegionKeys,
    uses: u32,
    life: Duration,
) -> Result<NodeToken> {
    Ok(Drawn::draw(connection, keys, uses, life).await?.register(region).await?.0)
}

impl Row for fleet::Node {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "region",
        "state",
        "why",
        "running",
        "refusals",
        "last seen",
        "connected",
        "desired",
        "serving",
        "proven",
        "on disk",
        "build",
    ];
    const WIDE: &'static [&'static str] = &["connected", "desired", "serving", "proven", "on disk", "build"];
    const WHOLE: &'static [&'static str] = &["id", "state"];

    fn cells(&self) -> Vec<String> {
        let number = |revision: u64| if revision == 0 { "-".to_owned() } else { revision.to_string() };
        // A control plane of before says only where positions are.
        let told = |position: &Option<fleet::Position>| position.as_ref().map_or(0, |at| at.revision);
        let at = self.revisions.unwrap_or_else(|| fleet::NodeRevisions {
            running: told(&self.running),
            serving: told(&self.serving),
            on_disk: told(&self.on_disk),
            proven: told(&self.proven),
        });
        vec![
            self.id.clone(),
            self.region.clone(),
            plain(self.state().as_str_name(), "NODE_STATE_"),
            self.why.clone(),
            number(at.running),
            self.standing.len().to_string(),
            time(self.last_seen_at.as_ref()),
            self.connected.to_string(),
            number(told(&self.desired)),
            number(at.serving),
            number(at.proven),
            number(at.on_disk),
            self.build.clone(),
        ]
    }
}

impl Row for mg::NodeToken {
    const COLUMNS: &'static [&'static str] =
        &["id", "region", "uses", "used", "expires", "revoked", "created by", "created"];
    const WHOLE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.region.clone(),
            self.uses.to_string(),
            self.used.to_string(),
            time(self.expires_at.as_ref()),
            time(self.revoked_at.as_ref()),
            self.created_by.clone(),
            time(self.created_at.as_ref()),
        ]
    }
}
