//! `rrctl node`: what the fleet runs, and tokens to join it.
//!
//! A token's secret is drawn here and never sent.

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

use crate::args::Session;
use crate::connect::Connection;
use crate::key_file::{KeyFileArgs, write_new};
use crate::print::{Row, line_out, note, time};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists nodes, connected or not.
    List {
        /// Only of this region, by name or id.
        #[arg(long, default_value = "", hide_default_value = true)]
        region: String,
    },
    /// Makes a token that lets machines join a region.
    Token(TokenArgs),
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Name or id; must be the region of the key file.
    region: String,
    #[command(flatten)]
    key: KeyFileArgs,
    /// How many nodes may join with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// Hours until nobody may join with it any more.
    #[arg(long, default_value_t = 1, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=8760))]
    expires_in: u32,
    /// File that the token is written to; printed when not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        match self {
            Self::List { region } => {
                let mut stub = FleetServiceClient::new(session.endpoint.connect().await?);
                let mut all = Vec::new();
                let mut page_token = String::new();
                loop {
                    let ask = fleet::ListNodesRequest { region: region.clone(), page_size: 1000, page_token };
                    let reply = stub.list_nodes(ask).await?.into_inner();
                    all.extend(reply.nodes);
                    page_token = reply.next_page_token;
                    if page_token.is_empty() {
                        return session.print.list(&all);
                    }
                }
            }
            Self::Token(args) => {
                let keys = args.key.open()?;
                let life = Duration::from_secs(u64::from(args.expires_in) * 3600);
                let connection = session.endpoint.connect().await?;
                let token = create_token(connection, &args.region, &keys, args.uses, life).await?;
                match &args.out {
                    Some(path) => {
                        write_new(path, &token.to_secret())?;
                        note(&format!("wrote {}; give it to rr-edge with --node-token-file", path.display()));
                        Ok(())
                    }
                    None => line_out(std::str::from_utf8(token.to_secret().expose())?),
                }
            }
        }
    }
}

/// Draws a token and registers its public half.
pub(crate) async fn create_token(
    connection: Connection,
    region: &str,
    keys: &RegionKeys,
    uses: u32,
    life: Duration,
) -> Result<NodeToken> {
    let mut installations = InstallationServiceClient::new(connection.clone());
    let installation = installations.get_installation(mg::GetInstallationRequest {}).await?.into_inner();
    let installation: InstallationId = installation.id.parse().context("installation id in the answer")?;
    let draft = NodeTokenDraft::draw(&SystemEntropy);
    let statement = draft.statement(keys, installation, uses, SystemTime::now() + life);
    let ask = mg::CreateNodeTokenRequest { region: region.to_owned(), statement: Some(statement) };
    let reply = NodeTokenServiceClient::new(connection).create_node_token(ask).await?.into_inner();
    let pin: [u8; 32] = reply.authority_pin.as_slice().try_into().context("authority pin in the answer")?;
    Ok(draft.finish(pin))
}

impl Row for fleet::Node {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "region",
        "connected",
        "desired",
        "running",
        "serving",
        "on disk",
        "refusals",
        "last seen",
        "build",
    ];

    fn cells(&self) -> Vec<String> {
        let at = |position: &Option<fleet::Position>| {
            position.as_ref().map_or_else(|| "-".to_owned(), |position| position.revision.to_string())
        };
        vec![
            self.id.clone(),
            self.region.clone(),
            self.connected.to_string(),
            at(&self.desired),
            at(&self.running),
            at(&self.serving),
            at(&self.on_disk),
            self.standing.len().to_string(),
            self.diverged.to_string(),
            time(self.last_seen_at.as_ref()),
            self.build.clone(),
        ]
    }
}
