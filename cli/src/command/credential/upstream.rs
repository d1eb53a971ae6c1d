//! `rrctl credential create-upstream` and `replace-secret`: values for upstreams, sealed on this machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use rr_contract::model::id::CredentialId;
use rr_contract::seal::form::{Form, Said, ValueKind, WrongForm};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;

use super::sealing::SealingArgs;
use super::{Common, create};
use crate::connect::Connection;
use crate::flags::change::{Consent, Mask};
use crate::{fault, prompt};

/// Examples of each kind.
pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl credential create-upstream github --target github
  rrctl credential create-upstream maps --kind api-key --query key --origin https://maps.example.com
  rrctl credential create-upstream mail --kind api-key --header x-api-key --target mail --value-file key.txt
  rrctl credential create-upstream jira --kind basic --user bot@example.com --target jira
  rrctl credential create-upstream crm --kind jwt --origin https://crm.example.com --value-file token.jwt
  rrctl credential create-upstream find --kind custom-headers --set-header x-id=id.txt --set-header x-key --target find
  rrctl credential create-upstream public --kind none";

/// Kinds of upstream credential.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The upstream needs no secret.
    None,
    /// The secret goes into `Authorization: Bearer`.
    Bearer,
    /// The secret goes into a header of its own, or into a parameter of the query.
    ApiKey,
    /// A user name and a password go into `Authorization: Basic`.
    Basic,
    /// A fixed token goes into `Authorization: Bearer`.
    Jwt,
    /// Several secrets, each in a header of its own.
    CustomHeaders,
}

impl Kind {
    fn to_wire(self) -> mg::UpstreamKind {
        match self {
            Self::None => mg::UpstreamKind::None,
            Self::Bearer => mg::UpstreamKind::Bearer,
            Self::ApiKey => mg::UpstreamKind::ApiKey,
            Self::Basic => mg::UpstreamKind::Basic,
            Self::Jwt => mg::UpstreamKind::Jwt,
            Self::CustomHeaders => mg::UpstreamKind::CustomHeaders,
        }
    }
}

/// The kinds whose values are sealed here.
pub(crate) fn value_kind(kind: mg::UpstreamKind) -> Option<ValueKind> {
    match kind {
        mg::UpstreamKind::Bearer => Some(ValueKind::Bearer),
        mg::UpstreamKind::ApiKey => Some(ValueKind::ApiKey),
        mg::UpstreamKind::Basic => Some(ValueKind::Basic),
        mg::UpstreamKind::Jwt => Some(ValueKind::Jwt),
        mg::UpstreamKind::CustomHeaders => Some(ValueKind::CustomHeaders),
        mg::UpstreamKind::Unspecified
        | mg::UpstreamKind::None
        | mg::UpstreamKind::Oauth2ClientCredentials
        | mg::UpstreamKind::CustomToken => None,
    }
}

/// The values of a credential, and where they go.
#[derive(Args)]
struct ValueArgs {
    /// Header that the secret goes into.
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// Prefix of the secret in the header, with its space.
    #[arg(long)]
    prefix: Option<String>,
    /// Parameter of the query that the secret goes into, for kind api-key.
    #[arg(long, value_name = "NAME")]
    query: Option<String>,
    /// User name, for kind basic; the secret is the password.
    #[arg(long)]
    user: Option<String>,
    /// Header of one of several secrets, for kind custom-headers, and the file that holds it; can be repeated. A prompt where
    /// no file is given.
    #[arg(long = "set-header", value_name = "NAME[=FILE]", value_parser = header_from)]
    headers: Vec<(String, Option<PathBuf>)>,
    /// File that holds the secret; `-` is standard input. A prompt when not given.
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
}

fn header_from(text: &str) -> Result<(String, Option<PathBuf>), String> {
    match text.split_once('=') {
        Some((_, "")) => Err("write NAME=FILE, or NAME for a prompt".to_owned()),
        Some((name, file)) => Ok((name.to_owned(), Some(file.into()))),
        None => Ok((text.to_owned(), None)),
    }
}

/// The flag for a field as files have it.
fn flag(field: &str) -> &'static str {
    match field {
        "header" => "--header NAME",
        "prefix" => "--prefix",
        "query" => "--query NAME",
        "user" => "--user NAME",
        "headers" => "--set-header NAME=FILE",
        _ => "another flag",
    }
}

impl ValueArgs {
    fn form(&self, kind: ValueKind) -> Result<Form> {
        let said = Said {
            header: self.header.clone(),
            prefix: self.prefix.clone(),
            query: self.query.clone(),
            user: self.user.clone(),
            headers: self.headers.iter().map(|(name, _)| name.clone()).collect(),
        };
        if kind == ValueKind::CustomHeaders && self.value_file.is_some() {
            return Err(fault::usage(
                "--kind custom-headers has no single secret for --value-file",
                "give --set-header NAME=FILE for each",
            ));
        }
        if self
            .headers
            .iter()
            .filter(|(_, file)| file.as_deref().is_some_and(|file| file.as_os_str() == "-"))
            .count()
            > 1
        {
            return Err(fault::usage(
                "standard input can hold one secret alone",
                "give files, or leave one out for a prompt",
            ));
        }
        kind.form(&said).map_err(|wrong| match &wrong {
            WrongForm::Lacks { fields, .. } => {
                let flags: Vec<&str> = fields.iter().map(|field| flag(field)).collect();
                fault::usage(&wrong.to_string(), &format!("give {}", flags.join(" or ")))
            }
            WrongForm::Extra { kind, field } => {
                let flag = flag(field);
                let bare = flag.split(' ').next().unwrap_or(flag);
                fault::usage(
                    &format!("kind {kind} has no {bare}"),
                    &format!("leave {bare} out, or give another --kind"),
                )
            }
            WrongForm::Invalid { field, invalid } => {
                let flag = flag(field);
                let bare = flag.split(' ').next().unwrap_or(flag);
                fault::usage(&format!("{bare}: {invalid}"), "give another one")
            }
        })
    }

    fn read(&self, kind: ValueKind) -> Result<Vec<Secret>> {
        if kind == ValueKind::CustomHeaders {
            let one = |(name, file): &(String, Option<PathBuf>)| {
                prompt::read_new(
                    &format!("value of {name}"),
                    file.as_deref(),
                    &format!("--set-header {name}=FILE"),
                )
            };
            return self.headers.iter().map(one).collect();
        }
        let what = if kind == ValueKind::Basic { "password" } else { "value" };
        Ok(vec![prompt::read_new(what, self.value_file.as_deref(), "--value-file")?])
    }

    fn is_said(&self) -> bool {
        self.value_file.is_some()
            || self.header.is_some()
            || self.prefix.is_some()
            || self.query.is_some()
            || self.user.is_some()
            || !self.headers.is_empty()
    }
}

#[derive(Args)]
pub(crate) struct UpstreamArgs {
    /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
    name: String,
    /// The form in which the upstream takes the secret.
    #[arg(long, value_enum, default_value_t = Kind::Bearer)]
    kind: Kind,
    #[command(flatten)]
    value: ValueArgs,
    #[command(flatten)]
    sealing: SealingArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Args)]
pub(crate) struct ReplaceArgs {
    /// Name or id.
    credential: String,
    #[command(flatten)]
    value: ValueArgs,
    #[command(flatten)]
    sealing: SealingArgs,
    #[command(flatten)]
    consent: Consent,
}

impl UpstreamArgs {
    pub(super) async fn run(self, connection: Connection, org: String) -> Result<mg::Credential> {
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let (mut sealed, mut label) = (None, None);
        match value_kind(self.kind.to_wire()) {
            None if self.value.is_said() => {
                return Err(fault::usage(
                    "--kind none has no secret to seal",
                    "leave out what is said of it, or give another --kind",
                ));
            }
            None => {}
            Some(kind) => {
                let (secret, said) =
                    seal(&self.value, &self.sealing, kind, &connection, &org, (id, 1)).await?;
                (sealed, label) = (Some(secret), Some(said));
            }
        }
        let kind = self.kind.to_wire().into();
        let upstream = mg::Upstream { kind, sealed, label, ..mg::Upstream::default() };
        let mut credential = mg::Credential {
            id: id.to_string(),
            name: self.name,
            usage: Some(Usage::Upstream(upstream)),
            ..mg::Credential::default()
        };
        self.common.put(&mut credential, &mut Mask::default());
        let reply = create(connection, &org, credential, self.consent).await?;
        Ok(reply.credential.unwrap_or_default())
    }
}

impl ReplaceArgs {
    pub(super) async fn run(self, connection: Connection, org: String) -> Result<mg::Credential> {
        let mut stub = CredentialServiceClient::new(connection.clone());
        let ask = mg::GetCredentialRequest { org: org.clone(), credential: self.credential, revision: 0 };
        let credential = stub.get_credential(ask).await?.into_inner().credential.unwrap_or_default();
        let id: CredentialId = credential.id.parse().context("credential id in the answer")?;
        let Some(Usage::Upstream(upstream)) = &credential.usage else {
            return Err(fault::usage(
                &format!("{} is a caller credential: it has no sealed secret", credential.name),
                "give it a new value with `rrctl credential roll`",
            ));
        };
        let kind = value_kind(upstream.kind()).ok_or_else(|| {
            fault::usage(
                &format!("{} has no secret that this rrctl could replace", credential.name),
                "create another credential, or take a newer rrctl",
            )
        })?;
        let version = credential.version + 1;
        let (sealed, label) =
            seal(&self.value, &self.sealing, kind, &connection, &org, (id, version)).await?;
        let ask = self.consent.with(mg::ReplaceSecretRequest {
            org,
            credential: credential.id,
            version,
            sealed: Some(sealed),
            label: Some(label),
            ..Default::default()
        });
        Ok(stub.replace_secret(ask).await?.into_inner().credential.unwrap_or_default())
    }
}

/// Seals the values of a version of a credential, and says what the seal says.
async fn seal(
    value: &ValueArgs,
    sealing: &SealingArgs,
    kind: ValueKind,
    connection: &Connection,
    org: &str,
    version: (CredentialId, u64),
) -> Result<(fleet::SealedSecret, fleet::SealLabel)> {
    // Before anything is asked.
    let form = value.form(kind)?;
    sealing.seal(connection, org, version, form, || value.read(kind)).await
}
