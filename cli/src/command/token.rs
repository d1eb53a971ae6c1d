//! `rrctl token`: tokens of users and services; and `rrctl whoami`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::api_key::{self, KeyHash, KeyKind};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use serde::Serialize;

use crate::command::{lists, names};
use crate::connect::Connection;
use crate::fault;
use crate::flags::change::Condition;
use crate::flags::moment::Moment;
use crate::flags::role::{self, Granted};
use crate::once::{self, NewFile};
use crate::print::{Row, at_revision, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a token, for a service with --role or for a user with --user. It gets no rights that you do not have.
    Create(Box<CreateArgs>),
    /// Lists tokens, without secrets.
    List,
    /// Shows a token, without its secret.
    Show {
        /// Name or id. A name that several tokens have does not do.
        token: String,
    },
    /// Revokes a token: it is refused from now on, and stays in the list.
    Revoke {
        /// Name or id. A name that several tokens have does not do.
        token: String,
        #[command(flatten)]
        condition: Condition,
    },
}

#[derive(Args)]
pub(crate) struct CreateArgs {
    /// Name for people; any text of 1 to 63 characters.
    name: String,
    /// Role of a service, as `editor@acme`, `operator` or `region-operator@eu`; without `@`, in the organization of --org.
    /// Can be repeated.
    #[arg(
        long = "role",
        value_name = "ROLE[@PLACE]",
        required_unless_present = "user",
        conflicts_with = "user"
    )]
    roles: Vec<Granted>,
    /// User whose rights the token has, by name or id.
    #[arg(long, default_value = "", hide_default_value = true)]
    user: String,
    /// Allows only this call, as `ProxyService.GetProxy` or `ProxyService.*`; can be repeated.
    #[arg(long = "call", value_name = "CALL")]
    calls: Vec<String>,
    /// Allows only this resource and what belongs to it, by id; can be repeated. Lists with `-o wide` have ids.
    #[arg(long = "resource", value_name = "ID")]
    resources: Vec<String>,
    /// End, as `30d` or `2027-01-31`; the token has no end when not given.
    #[arg(long, value_name = "WHEN")]
    expires: Option<Moment>,
    /// New file that the token is written to before it is created. Without it, the token is the only line on standard
    /// output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let print = session.print;
        if let Self::Create(args) = self {
            return args.run(session).await;
        }
        let connection = session.endpoint.connect().await?;
        let mut stub = TokenServiceClient::new(connection.clone());
        match self {
            Self::List => {
                let all = lists::tokens(connection.clone()).await?;
                print.list(&names::of(print, &connection, "", all).await?)
            }
            Self::Show { token } => {
                let reply = stub.get_token(mg::GetTokenRequest { token }).await?.into_inner();
                print.one(&names::of_one(print, &connection, "", reply.token).await?)
            }
            Self::Revoke { token, condition } => {
                let ask = mg::DeleteTokenRequest { token: token.clone(), etag: condition.etag };
                let done = stub.delete_token(ask).await?.into_inner();
                let text = match done.revision {
                    0 => format!("{token} was revoked already"),
                    revision => at_revision(&format!("revoked token {token}"), revision),
                };
                print.done(&text, &done)
            }
            Self::Create(_) => Ok(()),
        }
    }
}

impl CreateArgs {
    async fn run(self, session: Session) -> Result<()> {
        let mut grants = Vec::with_capacity(self.roles.len());
        for granted in self.roles {
            grants.push(granted.into_wire(|| session.org())?);
        }
        let token = mg::Token {
            name: self.name,
            grants,
            expires_at: self.expires.map(Moment::ahead),
            user: self.user,
            calls: self.calls,
            resources: self.resources,
            ..mg::Token::default()
        };
        let connection = session.endpoint.connect().await?;
        let (secret, hash) = draw_secret();
        let mut file = self.out.as_deref().map(|path| NewFile::make(path, 0)).transpose()?;
        if let Some(file) = &mut file {
            file.write(secret.expose())?;
        }
        let made = create(connection.clone(), token, &hash).await;
        if let Some(file) = &mut file
            && !made.as_ref().is_err_and(fault::is_certainly_undone)
        {
            file.keep();
        }
        let mut reply = match made {
            Ok(reply) => reply,
            Err(error) if fault::is_certainly_undone(&error) => return Err(error),
            // Only the answer was lost: the token itself can ask whether it exists.
            Err(error) => match of_bearer(&session, &secret).await {
                Some(token) => mg::CreateTokenResponse { token: Some(token), ..Default::default() },
                None => return Err(error.context(nobody_knows(self.out.as_deref()))),
            },
        };
        let print = session.print;
        let token = names::of_one(print, &connection, "", reply.token.clone()).await?;
        let what = format!("created token {}", token.name);
        if file.is_some() {
            return print.written(&token, &what, reply.revision);
        }
        reply.secret = std::str::from_utf8(secret.expose())?.to_owned();
        once::show(print, &token, (&what, reply.revision), Some(("token", &secret)), &reply)
    }
}

/// The remedy where the answer was lost and the token could not be tried.
fn nobody_knows(out: Option<&Path>) -> String {
    match out {
        Some(path) => {
            let path = path.display();
            format!(
                "it is not known whether the token was created; {path} holds it, and `rrctl --token-file {path} whoami` shows whether it works"
            )
        }
        None => "it is not known whether the token was created, and its secret is lost; revoke it if `rrctl token list` shows it, and create another with --out"
            .to_owned(),
    }
}

/// Draws the secret of a token. The control plane is sent only its hash.
pub(crate) fn draw_secret() -> (Secret, KeyHash) {
    api_key::make(KeyKind::Token, &draw(&SystemEntropy))
}

/// Creates the token of a secret that was drawn here.
pub(crate) async fn create(
    connection: Connection,
    token: mg::Token,
    hash: &KeyHash,
) -> Result<mg::CreateTokenResponse> {
    let ask = mg::CreateTokenRequest { token: Some(token), secret_hash: hash.as_bytes().to_vec() };
    Ok(TokenServiceClient::new(connection).create_token(ask).await?.into_inner())
}

/// The token of a secret, if it works.
async fn of_bearer(session: &Session, secret: &Secret) -> Option<mg::Token> {
    let connection = session.endpoint.bearing(secret).connect().await.ok()?;
    let reply = TokenServiceClient::new(connection).get_self(mg::GetSelfRequest {}).await.ok()?;
    reply.into_inner().token
}

/// Shows the user or service that the token belongs to, and its roles.
pub(crate) async fn whoami(session: Session) -> Result<()> {
    let connection = session.endpoint.connect().await?;
    let answer =
        TokenServiceClient::new(connection.clone()).get_self(mg::GetSelfRequest {}).await?.into_inner();
    session.print.one(&Oneself(names::of_one(session.print, &connection, "", Some(answer)).await?))
}

/// The caller.
#[derive(Serialize)]
#[serde(transparent)]
struct Oneself(mg::GetSelfResponse);

impl Row for Oneself {
    const COLUMNS: &'static [&'static str] =
        &["user", "token", "token id", "may", "only calls", "only resources", "expires"];

    fn cells(&self) -> Vec<String> {
        let token = self.0.token.clone().unwrap_or_default();
        let user = self.0.user.clone().unwrap_or_default();
        vec![
            user.name,
            token.name,
            token.id,
            role::text(&self.0.grants),
            token.calls.join(" "),
            token.resources.join(" "),
            time(token.expires_at.as_ref()),
        ]
    }
}

impl Row for mg::Token {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "grants", "user", "expires", "revoked", "only calls", "only resources", "created"];
    const WIDE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            role::text(&self.grants),
            self.user.clone(),
            time(self.expires_at.as_ref()),
            time(self.revoked_at.as_ref()),
            self.calls.join(" "),
            self.resources.join(" "),
            time(self.created_at.as_ref()),
        ]
    }
}
