//! `rrctl token`: tokens of people and services.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use rr_contract::model::time::timestamp;
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::token_service_client::TokenServiceClient;

use crate::args::Session;
use crate::connect::Connection;
use crate::fault;
use crate::key_file::write_new;
use crate::print::{Row, line_out, note, time};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Makes a token that can do no more than yours.
    Create(CreateArgs),
    /// Shows who you are and what you may do.
    Show,
}

/// Roles, as they are typed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Reads what belongs to an organization.
    Viewer,
    /// Changes targets, credentials and proxies.
    Editor,
    /// Changes the organization.
    Admin,
    /// Everything in an organization.
    Owner,
    /// Of the installation: organizations, regions, nodes.
    Operator,
}

impl Role {
    const fn to_wire(self) -> mg::Role {
        match self {
            Self::Viewer => mg::Role::Viewer,
            Self::Editor => mg::Role::Editor,
            Self::Admin => mg::Role::Admin,
            Self::Owner => mg::Role::Owner,
            Self::Operator => mg::Role::Operator,
        }
    }
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// For people.
    name: String,
    /// What it may do; with --org, in that organization.
    #[arg(long, value_enum)]
    role: Role,
    /// Days until it ends. Without it, it does not.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    expires_in: Option<u32>,
    /// File that the token is written to; printed when not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        match self {
            Self::Create(args) => {
                let org = match args.role {
                    Role::Operator => String::new(),
                    _ => session.org()?,
                };
                if args.out.as_ref().is_some_and(|path| path.exists()) {
                    return Err(fault::usage("the file for the token is there already", "name another"));
                }
                let expires_at = args
                    .expires_in
                    .map(|days| timestamp(SystemTime::now() + Duration::from_secs(u64::from(days) * 86_400)));
                let grants = vec![mg::Grant { role: args.role.to_wire().into(), org }];
                let connection = session.endpoint.connect().await?;
                let (token, secret) = create(connection, &args.name, grants, expires_at).await?;
                session.print.one(&token)?;
                match &args.out {
                    Some(path) => write_new(path, &secret),
                    None => {
                        note("the token below is shown this once");
                        line_out(std::str::from_utf8(secret.expose())?)
                    }
                }
            }
            Self::Show => {
                let mut stub = TokenServiceClient::new(session.endpoint.connect().await?);
                let reply = stub.get_self(mg::GetSelfRequest {}).await?.into_inner();
                session.print.one(&reply.token.unwrap_or_default())
            }
        }
    }
}

/// Makes a token; its secret comes back this once.
pub(crate) async fn create(
    connection: Connection,
    name: &str,
    grants: Vec<mg::Grant>,
    expires_at: Option<pbjson_types::Timestamp>,
) -> Result<(mg::Token, Secret)> {
    let token = mg::Token { name: name.to_owned(), grants, expires_at, ..mg::Token::default() };
    let ask = mg::CreateTokenRequest { token: Some(token) };
    let reply = TokenServiceClient::new(connection).create_token(ask).await?.into_inner();
    Ok((reply.token.unwrap_or_default(), Secret::from(reply.secret)))
}

impl Row for mg::Token {
    const COLUMNS: &'static [&'static str] = &["name", "id", "grants", "created", "expires"];

    fn cells(&self) -> Vec<String> {
        let grants: Vec<String> = self
            .grants
            .iter()
            .map(|grant| {
                let role = grant.role().as_str_name().trim_start_matches("ROLE_").to_lowercase();
                if grant.org.is_empty() { role } else { format!("{role} of {}", grant.org) }
            })
            .collect();
        vec![
            self.name.clone(),
            self.id.clone(),
            grants.join(", "),
            time(self.created_at.as_ref()),
            time(self.expires_at.as_ref()),
        ]
    }
}
