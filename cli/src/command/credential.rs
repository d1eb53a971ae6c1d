//! `rrctl credential`: keys of callers, and secrets for upstreams, which are sealed on this machine.
//!
//! A secret is read from a prompt, standard input or a file, never from an argument, and leaves this process only sealed or,
//! where callers present it, hashed.

mod caller;
mod client_key;
pub(crate) mod reseal;
mod roll;
pub(crate) mod sealing;
pub(crate) mod secret_args;
#[cfg(test)]
mod tests;
pub(crate) mod upstream;
pub(crate) mod value;

use std::cell::Cell;

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::policy::key_set::KeySet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use serde::Serialize;

use crate::command::names;
use crate::command::wait::Awaited;
use crate::connect::Connection;
use crate::flags::change::{Cascade, Condition, Consent, DefaultEffect, Effect, Mask, Owner, default_effect};
use crate::flags::count;
use crate::flags::moment::{self, Moment};
use crate::flags::page::Listing;
use crate::flags::plan::Agreement;
use crate::print::{Row, minute, plain, time};
use crate::session::Session;

use self::caller::{CallerArgs, UpdateArgs};
use self::reseal::ResealArgs;
use self::roll::RollArgs;
use self::upstream::{ReplaceArgs, UpstreamArgs};
pub(crate) use super::lists::credentials as list;

/// The heading of the minute in which a caller was accepted last.
const LAST_USED: &str = "last used";

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a credential for callers and shows its key, which is shown only this once, or takes a value of your own.
    CreateCaller(Box<CallerArgs>),
    /// Creates a credential for an upstream: seals a secret.
    #[command(after_help = upstream::EXAMPLES)]
    CreateUpstream(Box<UpstreamArgs>),
    /// Replaces the secret of an upstream credential.
    ReplaceSecret(Box<ReplaceArgs>),
    /// Seals the secret of a credential to further regions, without its value: with the key file of a region that has it.
    Reseal(Box<ResealArgs>),
    /// Gives a caller credential a new value; the value before is accepted for a time.
    Roll(Box<RollArgs>),
    /// Lists the credentials of the organization, without secrets.
    List(Listing),
    /// Shows a credential, without its secret.
    Show {
        /// Name or id.
        credential: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes a credential, except its secret.
    Update(Box<UpdateArgs>),
    /// Deletes a credential that no proxy uses, with its rules and filters. Asks first. It cannot be brought back.
    Delete {
        /// Name or id.
        credential: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        cascade: Cascade,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        consent: Consent,
        #[command(flatten)]
        awaited: Awaited,
    },
}

/// Settings of caller and upstream credentials.
#[derive(Args)]
struct Common {
    /// End, as `90d` or `2027-01-31`: after it the credential is neither accepted nor injected.
    #[arg(long, value_name = "WHEN", value_parser = moment::end)]
    not_after: Option<Moment>,
    /// Removes the end.
    #[arg(long, conflicts_with = "not_after")]
    no_end: bool,
    #[command(flatten)]
    default: DefaultEffect,
    #[command(flatten)]
    owner: Owner,
    /// Word that the credential and its requests are found by; can be repeated. Replaces all of them.
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Removes all tags.
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// Something else that is known of the credential; can be repeated. Replaces all of it. Records show it, so it is no
    /// place for secrets.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Removes all metadata.
    #[arg(long, conflicts_with = "metadata")]
    no_metadata: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as team=payments")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut stub = CredentialServiceClient::new(connection.clone());
        let print = session.print;
        match self {
            Self::CreateCaller(mut args) => {
                args.trust.fall_back(session.regions_file());
                args.run(connection, org, print).await
            }
            Self::CreateUpstream(mut args) => {
                args.sealing.trust.fall_back(session.regions_file());
                let (made, revision) = args.run(connection.clone(), org.clone()).await?;
                let made = names::of_one(print, &connection, &org, Some(made)).await?;
                print.written(&made, &format!("created credential {}", made.name), revision)
            }
            Self::ReplaceSecret(mut args) => {
                args.sealing.trust.fall_back(session.regions_file());
                let (made, revision) = args.run(connection.clone(), org.clone()).await?;
                let made = names::of_one(print, &connection, &org, Some(made)).await?;
                let what = format!("replaced the secret of credential {}", made.name);
                print.written(&made, &what, revision)
            }
            Self::Reseal(mut args) => {
                args.trust.fall_back(session.regions_file());
                let (made, revision) = args.run(connection.clone(), org.clone()).await?;
                let made = names::of_one(print, &connection, &org, Some(made)).await?;
                let what = format!("sealed the secret of credential {} to further regions", made.name);
                print.written(&made, &what, revision)
            }
            Self::Roll(mut args) => {
                args.trust.fall_back(session.regions_file());
                args.run(connection, org, print).await
            }
            Self::List(listing) => {
                let found = async || {
                    names::of(print, &connection, &org, list(connection.clone(), &org, &listing).await?).await
                };
                listing.print(print, "credential", found).await
            }
            Self::Show { credential, at } => {
                let ask = mg::GetCredentialRequest { org: org.clone(), credential, revision: at };
                let credential = stub.get_credential(ask).await?.into_inner().credential;
                let credential = names::of_one(print, &connection, &org, credential).await?;
                if at == 0 { print.one(&credential) } else { print.one(&Past(credential)) }
            }
            Self::Update(args) => {
                let (updated, revision) = args.run(connection.clone(), org.clone()).await?;
                let updated = names::of_one(print, &connection, &org, Some(updated)).await?;
                print.written(&updated, &format!("updated credential {}", updated.name), revision)
            }
            Self::Delete { credential, condition, cascade, agreement, consent, awaited } => {
                let goal = awaited.goal()?;
                let ask = consent.with(mg::DeleteCredentialRequest {
                    org,
                    credential,
                    etag: condition.etag,
                    cascade: cascade.users,
                    ..Default::default()
                });
                let revision = Cell::new(0);
                let delete = async |dry_run, expected_plan| {
                    let ask = mg::DeleteCredentialRequest { dry_run, expected_plan, ..ask.clone() };
                    let reply = stub.delete_credential(ask).await?.into_inner();
                    revision.set(reply.revision);
                    Ok(reply)
                };
                agreement.remove(print, "credential", &ask.credential, delete).await?;
                match goal.filter(|_| revision.get() != 0) {
                    Some(goal) => goal.until(&session, revision.get()).await,
                    None => Ok(()),
                }
            }
        }
    }
}

impl Common {
    fn put(self, credential: &mut mg::Credential, mask: &mut Mask) {
        mask.put("not_after", &mut credential.not_after, self.not_after.map(|at| Some(at.ahead())));
        mask.put("not_after", &mut credential.not_after, self.no_end.then_some(None));
        let effect = self.default.default_effect.map(Effect::to_wire);
        mask.put("default_effect", &mut credential.default_effect, effect);
        mask.put("owner", &mut credential.owner, self.owner.owner);
        mask.put_all("tags", &mut credential.tags, self.tags);
        mask.put("tags", &mut credential.tags, self.no_tags.then(Vec::new));
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.into_iter().collect());
        mask.put("metadata", &mut credential.metadata, metadata);
        mask.put("metadata", &mut credential.metadata, self.no_metadata.then(Default::default));
    }
}

/// Creates a credential. The answer holds the key of a caller credential, only this once.
pub(crate) async fn create(
    connection: Connection,
    org: &str,
    credential: mg::Credential,
    consent: Consent,
) -> Result<mg::CreateCredentialResponse> {
    let ask = consent.with(mg::CreateCredentialRequest {
        org: org.to_owned(),
        credential: Some(credential),
        ..Default::default()
    });
    Ok(CredentialServiceClient::new(connection).create_credential(ask).await?.into_inner())
}

/// A credential as it was at a revision, which says nothing of its uses.
#[derive(Serialize)]
#[serde(transparent)]
struct Past(mg::Credential);

impl Row for Past {
    const COLUMNS: &'static [&'static str] = mg::Credential::COLUMNS;

    fn cells(&self) -> Vec<String> {
        let is_use = |heading: &str| heading == LAST_USED;
        let cells = Self::COLUMNS.iter().zip(self.0.cells());
        cells.map(|(heading, cell)| if is_use(heading) { String::new() } else { cell }).collect()
    }
}

/// Metadata as tables show it.
pub(crate) fn pairs<'m>(metadata: impl Iterator<Item = (&'m String, &'m String)>) -> String {
    let mut pairs: Vec<String> = metadata.map(|(name, value)| format!("{name}={value}")).collect();
    pairs.sort();
    pairs.join(" ")
}

/// What verifies tokens, as tables show it.
fn keys_from(verify: &mg::JwtVerify) -> String {
    if !verify.jwks_url.is_empty() {
        return verify.jwks_url.clone();
    }
    if verify.jwks.is_empty() {
        return "shared secret".to_owned();
    }
    match KeySet::parse(verify.jwks.as_bytes()) {
        Ok(set) => {
            let names: Vec<String> = set.keys.into_iter().filter_map(|key| key.kid).collect();
            let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(" ")) };
            format!("given{names}")
        }
        Err(error) => format!("given: {error}"),
    }
}

/// Where a caller's credential stands, or which certificate it is.
fn presented(caller: &mg::Caller) -> String {
    let Some(certificate) = &caller.certificate else {
        let header = if caller.header.is_empty() { "Authorization" } else { &*caller.header };
        return match &*caller.prefix {
            _ if caller.kind() == mg::CallerKind::Unspecified => String::new(),
            "" => header.to_owned(),
            prefix => format!("{header}: {prefix}"),
        };
    };
    if !certificate.spiffe_id.is_empty() {
        return certificate.spiffe_id.clone();
    }
    let keys = [&*certificate.spki_sha256, &*certificate.previous_spki_sha256];
    keys.iter().filter(|key| !key.is_empty()).map(|key| format!("key {key}")).collect::<Vec<_>>().join(" ")
}

/// Where a secret may be sent, as far as its seal's label says.
fn sealed_for(credential: &mg::Credential) -> String {
    match &credential.usage {
        Some(Usage::Upstream(upstream)) => {
            upstream.label.as_ref().map(|label| label.origins.join(" ")).unwrap_or_default()
        }
        Some(Usage::Caller(_)) | None => String::new(),
    }
}

impl Row for mg::Credential {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "id",
        "use",
        "kind",
        "presented in",
        "user",
        "issuer",
        "audiences",
        "algorithms",
        "keys from",
        "subject",
        "scopes",
        "leeway",
        "identity claim",
        "version",
        "value since",
        "older value until",
        "sealed to",
        "sealed for",
        "default",
        "ends",
        LAST_USED,
        "owner",
        "tags",
        "metadata",
        "updated",
    ];
    const WIDE: &'static [&'static str] = &[
        "id",
        "presented in",
        "user",
        "issuer",
        "audiences",
        "algorithms",
        "keys from",
        "subject",
        "scopes",
        "leeway",
        "identity claim",
        "value since",
        "sealed for",
        "tags",
        "metadata",
    ];

    fn cells(&self) -> Vec<String> {
        let (usage, kind, regions) = match &self.usage {
            Some(Usage::Caller(caller)) => {
                let kind = plain(caller.kind().as_str_name(), "CALLER_KIND_");
                ("caller", kind, caller.sealed_regions.join(" "))
            }
            Some(Usage::Upstream(upstream)) => {
                let kind = plain(upstream.kind().as_str_name(), "UPSTREAM_KIND_");
                ("upstream", kind, upstream.sealed_regions.join(" "))
            }
            None => ("", String::new(), String::new()),
        };
        let caller = match &self.usage {
            Some(Usage::Caller(caller)) => caller.clone(),
            Some(Usage::Upstream(_)) | None => mg::Caller::default(),
        };
        let older_until = match &self.usage {
            Some(Usage::Upstream(upstream)) => upstream.previous_not_after,
            Some(Usage::Caller(_)) | None => caller.previous_not_after,
        };
        let checks = caller.jwt_verify.clone().unwrap_or_default();
        let keys = caller.jwt_verify.as_ref().map(keys_from).unwrap_or_default();
        let last_used = match &self.last_used_at {
            None if usage == "caller" => "never".to_owned(),
            at => minute(at.as_ref()),
        };
        let since = caller.rolled_at.as_ref().or(self.created_at.as_ref().filter(|_| usage == "caller"));
        vec![
            self.name.clone(),
            self.id.clone(),
            usage.to_owned(),
            kind,
            presented(&caller),
            caller.username,
            checks.issuer,
            checks.audiences.join(" "),
            checks.algorithms.join(" "),
            keys,
            checks.subject,
            checks.scopes.join(" "),
            checks.leeway.map(|leeway| format!("{} s", leeway.seconds)).unwrap_or_default(),
            checks.identity_claim,
            self.version.to_string(),
            time(since),
            time(older_until.as_ref()),
            regions,
            sealed_for(self),
            default_effect(self.default_effect()),
            time(self.not_after.as_ref()),
            last_used,
            self.owner.clone(),
            self.tags.join(" "),
            pairs(self.metadata.iter()),
            time(self.updated_at.as_ref()),
        ]
    }
}
