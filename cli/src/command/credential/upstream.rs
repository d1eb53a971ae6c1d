//! `rrctl credential create-upstream` and `replace-secret`: values for upstreams, sealed on this machine.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use rr_contract::model::id::CredentialId;
use rr_contract::seal::form::SecretKind;
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;

use super::roll::overlap;
use super::sealing::SealingArgs;
use super::secret_args::SecretArgs;
use super::{Common, create};
use crate::connect::Connection;
use crate::flags::change::{Consent, Mask};
use crate::print::note;
use crate::{fault, prompt};

/// Examples of each kind.
pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl credential create-upstream github --target github
  rrctl credential create-upstream maps --kind api-key --query key \\
    --origin https://maps.example.com
  rrctl credential create-upstream mail --kind api-key --header x-api-key \\
    --target mail --value-file key.txt
  rrctl credential create-upstream jira --kind basic --user bot@example.com \\
    --target jira
  rrctl credential create-upstream crm --kind jwt \\
    --origin https://crm.example.com --value-file token.jwt
  rrctl credential create-upstream find --kind custom-headers \\
    --set-header x-id=id.txt --set-header x-key --target find
  rrctl credential create-upstream public --kind none
  rrctl credential create-upstream bank --kind oauth2-client-credentials \\
    --token-url https://login.example.com/token --client-id edge \\
    --scope payments --target bank --value-file client-secret.txt
  rrctl credential create-upstream bank2 --kind oauth2 \\
    --token-url https://login.example.com/token --client-id edge \\
    --authentication private-key-jwt --key-id k1 \\
    --target bank --value-file key.pem
  rrctl credential create-upstream robot --kind jwt-bearer \\
    --token-url https://oauth2.googleapis.com/token \\
    --issuer robot@project.iam.gserviceaccount.com \\
    --claim scope=https://www.googleapis.com/auth/pubsub \\
    --origin https://pubsub.googleapis.com --value-file key.pem
  rrctl credential create-upstream shop --kind custom-token \\
    --token-url https://shop.example.com/login \\
    --body '{\"user\":\"edge\",\"password\":\"{secret:json}\"}' \\
    --token-path data.token --lifetime 30m \\
    --origin https://shop.example.com --value-file password.txt
  rrctl credential create-upstream lambda --kind aws-sigv4 \\
    --access-key-id AKIAIOSFODNN7EXAMPLE --aws-region eu-central-1 \\
    --service execute-api --target lambda --value-file access-key.txt
  rrctl credential create-upstream hooks --kind hmac \\
    --text '{date}.{method}.{target}.{body:sha256}' \\
    --sign-header 'x-signature=t={date},v1={signature}' \\
    --target hooks --value-file hmac-key.txt
  rrctl credential create-upstream clearing --kind client-certificate \\
    --certificate chain.pem --target clearing --value-file key.pem";

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
    /// A token of OAuth 2, which nodes get as a client, goes into `Authorization: Bearer`.
    #[value(alias = "oauth2")]
    Oauth2ClientCredentials,
    /// A token of OAuth 2, which nodes get as a service account, goes into `Authorization: Bearer`.
    JwtBearer,
    /// A token that another request gets goes into `Authorization: Bearer`.
    CustomToken,
    /// Requests are signed as AWS asks for (Signature Version 4).
    AwsSigv4,
    /// Requests are signed with a keyed hash.
    Hmac,
    /// A certificate is shown in the TLS handshake.
    ClientCertificate,
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
            Self::Oauth2ClientCredentials => mg::UpstreamKind::Oauth2ClientCredentials,
            Self::JwtBearer => mg::UpstreamKind::JwtBearer,
            Self::CustomToken => mg::UpstreamKind::CustomToken,
            Self::AwsSigv4 => mg::UpstreamKind::AwsSigv4,
            Self::Hmac => mg::UpstreamKind::Hmac,
            Self::ClientCertificate => mg::UpstreamKind::ClientCertificate,
        }
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
    value: SecretArgs,
    #[command(flatten)]
    pub(super) sealing: SealingArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Args)]
pub(crate) struct ReplaceArgs {
    /// Name or id.
    credential: String,
    /// How long an upstream that does not take the new secret (401) is shown the one before, as `30m`, `24h` or `7d`; 90d at
    /// most. `0` ends that one at once. Not for requests that may not be sent twice, POST and PATCH with a body: where such
    /// come, have the upstream take the new secret first.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = overlap)]
    overlap: Duration,
    /// Accepts that the new secret goes to fewer places than the present one, or is used in another way. Nothing is taken over
    /// from the seal before, which only nodes can open: what is not said again is gone.
    #[arg(long)]
    accept_change: bool,
    #[command(flatten)]
    value: SecretArgs,
    #[command(flatten)]
    pub(super) sealing: SealingArgs,
    #[command(flatten)]
    consent: Consent,
}

impl UpstreamArgs {
    pub(super) async fn run(self, connection: Connection, org: String) -> Result<(mg::Credential, u64)> {
        let id = CredentialId::from_random(draw(&SystemEntropy));
        let (mut sealed, mut label) = (None, None);
        match SecretKind::of(self.kind.to_wire()) {
            None if self.value.is_said() => {
                return Err(fault::usage(
                    "--kind none has no secret to seal",
                    "leave out what is said of it, or give another --kind",
                ));
            }
            None => {}
            Some(kind) => {
                let (secret, said) =
                    seal(&self.value, &self.sealing, kind, &connection, &org, (id, 1), &self.name).await?;
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
        Ok((reply.credential.unwrap_or_default(), reply.revision))
    }
}

impl ReplaceArgs {
    pub(super) async fn run(self, connection: Connection, org: String) -> Result<(mg::Credential, u64)> {
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
        let kind = SecretKind::of(upstream.kind()).ok_or_else(|| {
            fault::usage(
                &format!(
                    "credential {:?} is of a kind without a secret, or of one that this rrctl does not know",
                    credential.name
                ),
                "create another credential, or take a newer rrctl",
            )
        })?;
        let version = credential.version + 1;
        let (sealed, label) =
            seal(&self.value, &self.sealing, kind, &connection, &org, (id, version), &credential.name)
                .await?;
        let changes = upstream.label.as_ref().map(|before| dropped(before, &label)).unwrap_or_default();
        if !changes.is_empty() && !self.accept_change {
            changes.iter().for_each(|change| note(change));
            prompt::confirm(
                "replace the secret all the same?",
                &format!("the new seal says less than the present one: {}", changes.join("; ")),
                "say again what is to stay, or give --accept-change",
            )?;
        }
        let ask = self.consent.with(mg::ReplaceSecretRequest {
            org,
            credential: credential.id,
            version,
            sealed: Some(sealed),
            label: Some(label),
            overlap: (!self.overlap.is_zero()).then(|| self.overlap.into()),
            ..Default::default()
        });
        let done = stub.replace_secret(ask).await?.into_inner();
        Ok((done.credential.unwrap_or_default(), done.revision))
    }
}

/// What the label of the present seal has, and that of the next one has not.
fn dropped(before: &fleet::SealLabel, next: &fleet::SealLabel) -> Vec<String> {
    let mut dropped = Vec::new();
    for origin in before.origins.iter().filter(|origin| !next.origins.contains(origin)) {
        dropped.push(format!("the secret goes to {origin} no more"));
    }
    if before.ca_hash != next.ca_hash && !before.origins.is_empty() {
        dropped.push("other certificates (`ca`) vouch for where it goes".to_owned());
    }
    let lost = before.needs.iter().filter(|need| !next.needs.contains(need));
    dropped.extend(lost.map(|need| format!("it is used in another way: without {need}")));
    dropped
}

/// Seals the values of a version of a credential, and says what the seal says.
async fn seal(
    value: &SecretArgs,
    sealing: &SealingArgs,
    kind: SecretKind,
    connection: &Connection,
    org: &str,
    version: (CredentialId, u64),
    name: &str,
) -> Result<(fleet::SealedSecret, fleet::SealLabel)> {
    // Before anything is asked.
    let form = value.form(kind)?;
    sealing.seal(connection, org, version, form, || value.read(kind, name)).await
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rr_contract::model::invalid::Invalid;
    use rr_contract::seal::form::Placed;
    use rr_contract::seal::means::{Authentication, Flow};
    use rr_contract::seal::{Means, Slot};
    use rr_contract::secret::Secret;

    use super::*;

    #[test]
    fn a_seal_that_says_less_than_the_one_before_is_told_what_it_drops() {
        let label = |origins: &[&str], ca: &[u8], needs: &[&str]| fleet::SealLabel {
            origins: origins.iter().map(|it| (*it).to_owned()).collect(),
            ca_hash: ca.to_vec(),
            needs: needs.iter().map(|it| (*it).to_owned()).collect(),
            not_after: None,
        };
        let before = label(&["https://a.example", "https://b.example"], &[1; 32], &["upstream.oauth2.v1"]);
        assert_eq!(dropped(&before, &before), [""; 0]);
        let more = label(
            &["https://c.example", "https://b.example", "https://a.example"],
            &[1; 32],
            &["x", "upstream.oauth2.v1"],
        );
        assert_eq!(dropped(&before, &more), [""; 0]);
        let less = dropped(&before, &label(&["https://b.example"], &[], &[]));
        assert_eq!(less.len(), 3, "{less:?}");
        assert!(less[0].contains("https://a.example") && less[2].contains("upstream.oauth2.v1"), "{less:?}");
        // Whoever seals without a label says nothing that could be compared.
        assert_eq!(dropped(&label(&[], &[], &[]), &less_said()), [""; 0]);
    }

    fn less_said() -> fleet::SealLabel {
        fleet::SealLabel { origins: vec!["https://a.example".to_owned()], ..fleet::SealLabel::default() }
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UpstreamArgs,
    }

    /// The words of a line as a shell would have them, quotes without escapes in them.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for one in line.chars() {
            match one {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                one => word.push(one),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        words
    }

    fn parsed(words: &[&str]) -> UpstreamArgs {
        let all = ["create-upstream", "name"].iter().chain(words);
        Line::try_parse_from(all).unwrap_or_else(|error| panic!("{error}")).args
    }

    fn made(words: &[&str]) -> Result<Means, String> {
        let args = parsed(words);
        let kind = SecretKind::of(args.kind.to_wire()).expect("it has a secret");
        let form = args.value.form(kind).map_err(|error| format!("{error:#}"))?;
        let Placed { means, .. } = form.place(vec![Secret::from("s".to_owned())]).expect("one value");
        Ok(means)
    }

    #[test]
    fn every_example_is_taken_as_it_stands() {
        let joined = EXAMPLES.replace("\\\n    ", "");
        let lines: Vec<_> = joined.lines().skip(1).collect();
        assert_eq!(lines.len(), 14);
        for line in lines {
            let all = words(line);
            let ["rrctl", "credential", rest @ ..] = &all.iter().map(String::as_str).collect::<Vec<_>>()[..]
            else {
                panic!("{line}")
            };
            let args = Line::try_parse_from(rest).unwrap_or_else(|error| panic!("{line}: {error}")).args;
            // The file of a certificate is not there.
            let Some(kind) =
                SecretKind::of(args.kind.to_wire()).filter(|it| *it != SecretKind::ClientCertificate)
            else {
                continue;
            };
            args.value.form(kind).unwrap_or_else(|error| panic!("{line}: {error:#}"));
        }
    }

    #[test]
    fn what_flags_say_is_what_is_sealed() -> Result<(), Invalid> {
        let url = ["--token-url", "https://i.example/t"];
        let client =
            [&["--kind", "oauth2", "--client-id", "edge", "--parameter", "a=b", "--scope", "r w"][..], &url]
                .concat();
        let Ok(Means::Grant { slot, grant }) = made(&client) else { panic!("a grant") };
        assert_eq!((slot, grant.url.as_str()), (Slot::bearer(), "https://i.example/t"));
        let said = [("scope", "r w"), ("a", "b")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(grant.parameters, said);
        assert!(matches!(
            grant.flow,
            Flow::ClientCredentials { client_id, authentication: Authentication::Basic } if client_id == "edge"
        ));
        let robot =
            [&["--kind", "jwt-bearer", "--issuer", "me", "--claim", "scope=x", "--query", "t"][..], &url]
                .concat();
        let Ok(Means::Grant { slot, grant }) = made(&robot) else { panic!("a grant") };
        assert_eq!(slot, Slot::query("t")?);
        let Flow::JwtBearer(assertion) = grant.flow else { panic!("an assertion") };
        assert_eq!((assertion.issuer.as_str(), assertion.claims.len()), ("me", 1));
        let login = [
            "--kind",
            "custom-token",
            "--token-header",
            "x={secret}",
            "--token-path",
            "a.b",
            "--lifetime",
            "2m",
        ];
        let Ok(Means::Request { request, .. }) = made(&[&login[..], &url].concat()) else {
            panic!("a request")
        };
        assert_eq!((request.method.as_str(), request.lifetime), ("GET", 120));
        for (words, fault) in [
            (
                &["--kind", "hmac", "--text", "a", "--sign-header", "x=a", "--sign-header", "x={signature}"]
                    [..],
                "--sign-header has x twice",
            ),
            (
                &["--kind", "custom-headers", "--set-header", "x-a=f", "--set-header", "X-A=g"],
                "--set-header has X-A twice",
            ),
            (
                &[
                    "--kind",
                    "oauth2",
                    "--client-id",
                    "a",
                    "--token-url",
                    "https://i.example/t",
                    "--scope",
                    "a",
                    "--parameter",
                    "scope=b",
                ],
                "--parameter: hold a scope",
            ),
            (
                &[
                    "--kind",
                    "oauth2",
                    "--token-url",
                    "https://i.example/t",
                    "--authentication",
                    "private-key-jwt",
                ],
                "--client-id is missing",
            ),
            (
                &["--kind", "custom-token", "--token-url", "https://i.example/t", "--body", "{secret}"],
                "--token-path is missing",
            ),
            (
                &[
                    "--kind",
                    "custom-token",
                    "--token-url",
                    "https://i.example/t",
                    "--token-path",
                    "a",
                    "--body",
                    "{secret}",
                    "--lifetime",
                    "0s",
                ],
                "--lifetime",
            ),
            (&["--kind", "jwt-bearer", "--issuer", "a"], "--token-url is missing"),
        ] {
            let said = made(words).err().unwrap_or_default();
            assert!(said.contains(fault) && !said.contains("--issuer is missing"), "{words:?}: {said}");
        }
        Ok(())
    }
}
