//! `rrctl credential`: makes caller keys, and seals upstream secrets on this machine.
//!
//! A value comes by prompt, standard input or file, never by argument, and leaves this process only sealed.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::model::origin::{BaseUrl, Origin};
use rr_contract::seal::{SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;

use crate::args::Session;
use crate::connect::Connection;
use crate::print::{Row, line_out, note, time};
use crate::trust::TrustArgs;
use crate::{fault, region, value};

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Makes a key for callers and prints it, this once.
    CreateCaller {
        /// `a-z`, `0-9` and `-`.
        name: String,
    },
    /// Seals a secret for an upstream.
    CreateUpstream(Box<UpstreamArgs>),
    /// Gives an upstream credential its next value.
    ReplaceSecret(Box<ReplaceArgs>),
    /// Lists the credentials of the organization, without their values.
    List,
    /// Shows one, without its value.
    Show {
        /// Name or id.
        credential: String,
    },
    /// Removes one that no proxy uses.
    Delete {
        /// Name or id.
        credential: String,
    },
}

/// Kinds of upstream credential.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The upstream asks for nothing.
    None,
    /// `Authorization: Bearer` and the value.
    Bearer,
    /// The value in a header.
    ApiKey,
}

#[derive(Args)]
pub(crate) struct UpstreamArgs {
    /// `a-z`, `0-9` and `-`.
    name: String,
    /// How the upstream wants it.
    #[arg(long, value_enum, default_value_t = Kind::Bearer)]
    kind: Kind,
    #[command(flatten)]
    sealing: SealingArgs,
}

#[derive(Args)]
pub(crate) struct ReplaceArgs {
    /// Name or id.
    credential: String,
    #[command(flatten)]
    sealing: SealingArgs,
}

/// What goes into the seal.
#[derive(Args)]
struct SealingArgs {
    /// Target whose origin the value may be sent to.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Takes the origins of --target as the control plane names them, without asking.
    #[arg(long)]
    accept_target: bool,
    /// Origin that the value may be sent to: scheme, host or `*.suffix`, and port.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Header that the value goes into.
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// What stands before the value in the header, its space included.
    #[arg(long)]
    prefix: Option<String>,
    /// File that holds the value; `-` is standard input. A prompt when not given.
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut stub = CredentialServiceClient::new(connection.clone());
        let print = session.print;
        match self {
            Self::CreateCaller { name } => {
                let (credential, key) = create_caller(connection, &org, &name).await?;
                print.one(&credential)?;
                note("the key below is shown this once; callers send it in Authorization");
                line_out(std::str::from_utf8(key.expose())?)
            }
            Self::CreateUpstream(args) => print.one(&args.run(connection, org).await?),
            Self::ReplaceSecret(args) => print.one(&args.run(connection, org).await?),
            Self::List => {
                let mut all = Vec::new();
                let mut page_token = String::new();
                loop {
                    let ask = mg::ListCredentialsRequest { org: org.clone(), page_size: 1000, page_token };
                    let reply = stub.list_credentials(ask).await?.into_inner();
                    all.extend(reply.credentials);
                    page_token = reply.next_page_token;
                    if page_token.is_empty() {
                        return print.list(&all);
                    }
                }
            }
            Self::Show { credential } => {
                let ask = mg::GetCredentialRequest { org, credential };
                print.one(&stub.get_credential(ask).await?.into_inner().credential.unwrap_or_default())
            }
            Self::Delete { credential } => {
                let ask = mg::DeleteCredentialRequest { org, credential };
                let revision = stub.delete_credential(ask).await?.into_inner().revision;
                print.done(&format!("deleted at revision {revision}"))
            }
        }
    }
}

impl UpstreamArgs {
    async fn run(self, connection: Connection, org: String) -> Result<mg::Credential> {
        let kind = match self.kind {
            Kind::None => mg::UpstreamKind::None,
            Kind::Bearer => mg::UpstreamKind::Bearer,
            Kind::ApiKey => mg::UpstreamKind::ApiKey,
        };
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let sealed = match self.kind {
            Kind::None if self.sealing.value_file.is_some() => {
                return Err(fault::usage(
                    "kind none has no value to seal",
                    "leave --value-file out, or name another --kind",
                ));
            }
            Kind::None => None,
            Kind::Bearer => Some(self.sealing.seal(&connection, &org, id, 1, Slot::bearer()).await?),
            Kind::ApiKey => {
                let header = self.sealing.header.clone().ok_or_else(|| {
                    fault::usage("an API key needs the header it goes into", "give --header NAME")
                })?;
                let slot = Slot::header(&header, "")?;
                Some(self.sealing.seal(&connection, &org, id, 1, slot).await?)
            }
        };
        create_upstream(connection, &org, &self.name, id, kind, sealed).await
    }
}

impl ReplaceArgs {
    async fn run(self, connection: Connection, org: String) -> Result<mg::Credential> {
        let mut stub = CredentialServiceClient::new(connection.clone());
        let ask = mg::GetCredentialRequest { org: org.clone(), credential: self.credential };
        let credential = stub.get_credential(ask).await?.into_inner().credential.unwrap_or_default();
        let id: CredentialId = credential.id.parse().context("credential id in the answer")?;
        let Some(mg::credential::Usage::Upstream(upstream)) = &credential.usage else {
            return Err(fault::usage(
                &format!("{} is a caller credential, whose key the control plane makes", credential.name),
                "make another with `rrctl credential create-caller`",
            ));
        };
        let bearer = upstream.kind() == mg::UpstreamKind::Bearer;
        let version = credential.version + 1;
        if !bearer && self.sealing.header.is_none() {
            return Err(fault::usage("an API key needs the header it goes into", "give --header NAME"));
        }
        let sealed = self.sealing.seal(&connection, &org, id, version, Slot::bearer()).await?;
        let ask = mg::ReplaceSecretRequest { org, credential: credential.id, version, sealed: Some(sealed) };
        Ok(stub.replace_secret(ask).await?.into_inner().credential.unwrap_or_default())
    }
}

impl SealingArgs {
    async fn seal(
        &self,
        connection: &Connection,
        org: &str,
        credential: CredentialId,
        version: u64,
        default_slot: Slot,
    ) -> Result<fleet::SealedSecret> {
        let slot = match (&self.header, &self.prefix) {
            (None, None) => default_slot,
            (header, prefix) => Slot::header(
                header.as_deref().unwrap_or(default_slot.name().as_str()),
                // A header that was named holds the bare value; `Bearer ` belongs to Authorization.
                prefix.as_deref().unwrap_or(if header.is_some() { "" } else { default_slot.prefix() }),
            )?,
        };
        let mut origins = Vec::new();
        for text in &self.origins {
            origins.push(text.parse::<Origin>().with_context(|| format!("origin {text:?}"))?);
        }
        let mut targets = TargetServiceClient::new(connection.clone());
        for target in &self.target {
            let ask = mg::GetTargetRequest { org: org.to_owned(), target: target.clone() };
            let found = targets.get_target(ask).await?.into_inner().target.unwrap_or_default();
            origins.push(Origin::of(&found.base_url.parse::<BaseUrl>().context("base URL in the answer")?));
        }
        if origins.is_empty() {
            return Err(fault::usage(
                "nothing says where the value may be sent",
                "give --target NAME or --origin https://…",
            ));
        }
        for origin in &origins {
            note(&format!("sealing for {origin}"));
            if origin.is_plaintext() {
                note("  over http the value crosses the network in the clear");
            }
        }
        // The control plane says where a target lives: a hostile one would name a host of its own.
        if !self.target.is_empty() && !self.accept_target {
            value::confirm(
                "is that where the value may go?",
                "origins of --target come from the control plane and nobody is here to confirm them",
                "give --origin, or --accept-target once you know them",
            )?;
        }
        let statements = self.trust.choose(&region::list(connection.clone()).await?)?;
        let context = context(connection, org, credential, version).await?;
        let value = value::read_new("value", self.value_file.as_deref(), "--value-file")?;
        let spec = SecretSpec { value, origins, slot, not_after: None };
        let regions: Vec<_> = statements.iter().collect();
        Ok(SealedSecret::seal(&context, &spec, &regions, &SystemEntropy)?.to_wire())
    }
}

/// What a seal is bound to.
pub(crate) async fn context(
    connection: &Connection,
    org: &str,
    credential: CredentialId,
    version: u64,
) -> Result<SealContext> {
    let mut installations = InstallationServiceClient::new(connection.clone());
    let installation = installations.get_installation(mg::GetInstallationRequest {}).await?.into_inner();
    let installation: InstallationId = installation.id.parse().context("installation id in the answer")?;
    let ask = mg::GetOrgRequest { org: org.to_owned() };
    let org =
        OrgServiceClient::new(connection.clone()).get_org(ask).await?.into_inner().org.unwrap_or_default();
    let org: OrgId = org.id.parse().context("org id in the answer")?;
    Ok(SealContext { installation, org, credential, version })
}

/// Makes a caller credential; its key comes back this once.
pub(crate) async fn create_caller(
    connection: Connection,
    org: &str,
    name: &str,
) -> Result<(mg::Credential, Secret)> {
    let usage = mg::credential::Usage::Caller(mg::Caller { kind: mg::CallerKind::ApiKey.into() });
    let credential =
        mg::Credential { name: name.to_owned(), usage: Some(usage), ..mg::Credential::default() };
    let ask = mg::CreateCredentialRequest { org: org.to_owned(), credential: Some(credential) };
    let reply = CredentialServiceClient::new(connection).create_credential(ask).await?.into_inner();
    Ok((reply.credential.unwrap_or_default(), Secret::from(reply.key)))
}

/// Makes an upstream credential out of what was sealed.
pub(crate) async fn create_upstream(
    connection: Connection,
    org: &str,
    name: &str,
    id: CredentialId,
    kind: mg::UpstreamKind,
    sealed: Option<fleet::SealedSecret>,
) -> Result<mg::Credential> {
    let upstream = mg::Upstream { kind: kind.into(), sealed, sealed_regions: Vec::new() };
    let credential = mg::Credential {
        id: id.to_string(),
        name: name.to_owned(),
        usage: Some(mg::credential::Usage::Upstream(upstream)),
        ..mg::Credential::default()
    };
    let ask = mg::CreateCredentialRequest { org: org.to_owned(), credential: Some(credential) };
    let reply = CredentialServiceClient::new(connection).create_credential(ask).await?.into_inner();
    Ok(reply.credential.unwrap_or_default())
}

impl Row for mg::Credential {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "use", "kind", "version", "sealed to", "updated"];

    fn cells(&self) -> Vec<String> {
        let (usage, kind, regions) = match &self.usage {
            Some(mg::credential::Usage::Caller(caller)) => {
                ("caller", caller.kind().as_str_name(), String::new())
            }
            Some(mg::credential::Usage::Upstream(upstream)) => {
                ("upstream", upstream.kind().as_str_name(), upstream.sealed_regions.join(" "))
            }
            None => ("", "", String::new()),
        };
        let kind = kind.split_once("_KIND_").map_or(kind, |(_, kind)| kind);
        vec![
            self.name.clone(),
            self.id.clone(),
            usage.to_owned(),
            kind.to_lowercase().replace('_', "-"),
            self.version.to_string(),
            regions,
            time(self.updated_at.as_ref()),
        ]
    }
}
