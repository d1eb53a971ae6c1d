//! `rrctl credential roll`: the next value of a caller credential, while the one before is taken for a time.
//!
//! Makes no key itself, and keeps no value.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::model::caller::OVERLAP_MAX;
use rr_contract::model::id::CredentialId;
use rr_contract::model::time::wire_duration;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;

use super::caller::{NewKey, show_new};
use super::client_key::OwnKey;
use super::sealing::seal_shared;
use super::value::{Hashed, OwnValue};
use crate::command::names;
use crate::connect::Connection;
use crate::fault;
use crate::flags::change::{Condition, Consent};
use crate::flags::moment;
use crate::flags::trust::TrustArgs;
use crate::print::Printer;

#[derive(Args)]
#[command(after_help = "Example: a new key, and a day in which callers change over:
  rrctl credential roll app --overlap 24h --out app-next.key
A token of your own in the place of the one before, at once:
  rrctl credential roll partner --overlap 0 --value-from token.jwt
The next secret of an issuer that signs with it, sealed to the regions of regions.toml:
  rrctl credential roll cron --overlap 1h --value-from cron.secret
The key of a renewed client certificate, and a week in which both count:
  rrctl credential roll shop --overlap 7d --certificate renewed.pem")]
pub(crate) struct RollArgs {
    /// Name or id.
    credential: String,
    /// How long the value before is accepted too, as `30m`, `24h` or `7d`; 90d at most. `0` ends it at once, and every
    /// older one.
    #[arg(long, value_name = "DURATION", value_parser = overlap)]
    overlap: Duration,
    #[command(flatten)]
    value: OwnValue,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    client_key: OwnKey,
    /// New file that the new key is written to; it is made before the key. Without it, the key is the only line on standard
    /// output.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["value_from", "prompt", "certificate", "spki_sha256"])]
    out: Option<PathBuf>,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    consent: Consent,
}

pub(super) fn overlap(text: &str) -> Result<Duration, String> {
    let span = if text == "0" { Some(Duration::ZERO) } else { moment::span(text) };
    span.filter(|span| *span <= OVERLAP_MAX).ok_or_else(|| "write 0, 30m, 24h or 7d; 90d at most".to_owned())
}

impl RollArgs {
    pub(super) async fn run(self, connection: Connection, org: String, print: Printer) -> Result<()> {
        let mut stub = CredentialServiceClient::new(connection.clone());
        let (mut hashed, mut sealed, mut version) = (Hashed::default(), None, 0);
        if let Some(key) = self.client_key.read()? {
            hashed.value_hash = key.as_bytes().to_vec();
        } else if self.value.is_given() {
            let (asked, credential) = (org.clone(), self.credential.clone());
            let ask = mg::GetCredentialRequest { org: asked, credential, revision: 0 };
            let found = stub.get_credential(ask).await?.into_inner().credential.unwrap_or_default();
            let Some(Usage::Caller(caller)) = &found.usage else {
                return Err(fault::usage(
                    &format!("{} is an upstream credential", self.credential),
                    "use `rrctl credential replace-secret`",
                ));
            };
            match &caller.jwt_verify {
                Some(verify) if verify.jwks_url.is_empty() && verify.jwks.is_empty() => {
                    let id: CredentialId = found.id.parse().context("credential id in the answer")?;
                    version = found.version + 1;
                    let value = self.value.shared(&verify.algorithms, &found.name)?;
                    sealed = Some(seal_shared(&connection, &org, (id, version), value, &self.trust).await?);
                }
                _ => hashed = self.value.hash(caller.kind(), &caller.username, &found.name)?,
            }
        }
        if self.trust.is_given() && sealed.is_none() {
            return Err(fault::usage(
                "--region and --fingerprint say where a shared secret can be opened, and there is none",
                "leave them out",
            ));
        }
        let key = NewKey::into(self.out.as_deref())?;
        let (name, of) = (self.credential.clone(), org.clone());
        let ask = self.consent.with(mg::RollCredentialRequest {
            org,
            credential: self.credential,
            overlap: Some(wire_duration(self.overlap)),
            value_hash: hashed.value_hash,
            password_hash: hashed.password_hash,
            sealed,
            version,
            etag: self.condition.etag,
            ..Default::default()
        });
        let reply = stub.roll_credential(ask).await.map_err(|status| {
            let error = anyhow::Error::new(status);
            if fault::is_certainly_undone(&error) {
                return error;
            }
            error.context(format!(
                "it is not known whether the credential was rolled; `rrctl credential show {name}` shows its version. If it \
                 was, its new key is lost: roll it again"
            ))
        })?;
        let reply = reply.into_inner();
        let made = names::of_one(print, &connection, &of, reply.credential.clone()).await?;
        let what = format!("rolled credential {}", made.name);
        show_new(print, key, &made, (&what, reply.revision), &reply.key, &reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_a_span_with_a_bound() {
        assert_eq!(overlap("0"), Ok(Duration::ZERO));
        assert_eq!(overlap("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(overlap("90d"), Ok(OVERLAP_MAX));
        for text in ["91d", "", "24", "-1h", "2027-01-01"] {
            assert!(overlap(text).is_err(), "{text}");
        }
    }
}
