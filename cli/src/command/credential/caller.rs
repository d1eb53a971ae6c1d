//! `rrctl credential create-caller` and `update`: how callers present a credential, and what a signed token must contain.
//! A value of one's own is read by `value`.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::builder::RangedI64ValueParser;
use clap::{Args, ValueEnum};
use rr_contract::model::id::CredentialId;
use rr_contract::model::time::wire_duration;
use rr_contract::policy::public_key::{self, PublicKeyError};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use serde::Serialize;

use super::Common;
use super::client_key::OwnKey;
use super::sealing::seal_shared;
use super::value::{Hashed, OwnValue};
use crate::authority;
use crate::command::names;
use crate::connect::Connection;
use crate::fault;
use crate::flags::change::{Condition, Consent, Mask};
use crate::flags::trust::TrustArgs;
use crate::once::{self, NewFile};
use crate::print::Printer;

/// Room for a key in a file.
const KEY_ROOM: usize = 256;

/// Kinds of caller credential.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CallerKind {
    /// A key that RequestRocket makes, bare or after `Bearer`.
    ApiKey,
    /// A key that RequestRocket makes, or a value of your own, after a prefix.
    Bearer,
    /// A fixed token of your own, compared as it is: its signature is not looked at. Bare or after `Bearer`.
    Jwt,
    /// A user and a password of your own, as `curl -u` sends them.
    Basic,
    /// A JWT of another issuer, whose signature and claims are verified.
    JwtVerify,
    /// The client certificate of the connection: by its key, or by its SPIFFE name and whoever must have issued it. It counts
    /// where a request has no other credential.
    Certificate,
}

#[derive(Args)]
#[command(
    after_help = "Examples: a key that RequestRocket makes, and a value of your own in a header of your own:
  rrctl credential create-caller app --out app.key
  rrctl credential create-caller partner --kind bearer --header x-partner-key \\
    --value-from partner.key
A user with a password that is asked for:
  rrctl credential create-caller reports --kind basic --user reports --prompt
Tokens of an identity provider:
  rrctl credential create-caller users --kind jwt-verify \\
    --jwks-url https://id.example.com/keys --issuer https://id.example.com \\
    --audience api --algorithm RS256 --identity-claim sub
Tokens of an issuer that gave its public key, and of one that shares a secret:
  rrctl credential create-caller batch --kind jwt-verify \\
    --public-key batch.pem --issuer batch --audience api --algorithm ES256
  rrctl credential create-caller cron --kind jwt-verify \\
    --value-from cron.secret --issuer cron --audience api --algorithm HS256
Client certificates: those of one key, and those of one SPIFFE name:
  rrctl credential create-caller shop --kind certificate \\
    --certificate shop.pem
  rrctl credential create-caller payments --kind certificate \\
    --spiffe-id spiffe://example.org/payments --ca-bundle example.org.pem"
)]
pub(crate) struct CallerArgs {
    /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
    name: String,
    /// The kind of credential that callers present.
    #[arg(long, value_enum, default_value_t = CallerKind::ApiKey)]
    kind: CallerKind,
    /// Name of the user, for --kind basic; no colon. Cannot be changed. Two callers of one proxy have two users.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    #[command(flatten)]
    presented: Presented,
    #[command(flatten)]
    value: OwnValue,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    client_key: OwnKey,
    /// Name that a client certificate must have as its only URI, for --kind certificate: `spiffe://TRUST-DOMAIN/PATH`. Cannot be
    /// changed. Needs --ca-bundle.
    #[arg(long, value_name = "SPIFFE-ID", conflicts_with_all = ["certificate", "spki_sha256"])]
    spiffe_id: Option<String>,
    #[command(flatten)]
    common: Common,
    /// New file that the key is written to; it is made before the key. Without it, the key is the only line on standard
    /// output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    consent: Consent,
}

/// How the credential is presented, and what a signed token must contain.
#[derive(Args)]
struct Presented {
    /// Header that carries the credential; `Authorization` when never given. Where the callers of a proxy use several
    /// headers, a request with something in two of them is refused.
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// Word before the value in the header, for --kind bearer; `Bearer` when never given, which in a header other than
    /// `Authorization` need not be there.
    #[arg(long)]
    prefix: Option<String>,
    /// URL of the key set of the issuer (https).
    #[arg(long, value_name = "URL", conflicts_with_all = ["jwks", "public_key"])]
    jwks_url: Option<String>,
    /// File with the key set (JWKS) of an issuer that publishes none.
    #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
    jwks: Option<PathBuf>,
    /// File with public keys or certificates (PEM) of an issuer that publishes none: RSA of 2048 to 8192 bits, P-256, P-384,
    /// Ed25519.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Required `iss` of a token. Leave it out for tokens of a SPIFFE id (--subject) that have none.
    #[arg(long)]
    issuer: Option<String>,
    /// Accepted `aud`; can be repeated, and one of them must be in the token.
    #[arg(long = "audience", value_name = "AUDIENCE")]
    audiences: Vec<String>,
    /// Accepted algorithm of the signature, as RS256, ES256 or EdDSA; HS256, HS384 or HS512 of a shared secret, which
    /// --value-from or --prompt gives; can be repeated.
    #[arg(long = "algorithm", value_name = "ALGORITHM")]
    algorithms: Vec<String>,
    /// Accepted difference of clocks in seconds; 30 when never given.
    #[arg(long, value_name = "SECONDS", value_parser = RangedI64ValueParser::<u64>::new().range(0..=300))]
    leeway: Option<u64>,
    /// Required `sub` of a token; any when never given.
    #[arg(long)]
    subject: Option<String>,
    /// Required scope, in `scope` or `scp`; can be repeated, and all of them must be in the token.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Claim that says who holds a token, as `sub`: limits per caller then count each holder apart, and a token without
    /// it is refused. All holders are one caller when never given.
    #[arg(long, value_name = "CLAIM")]
    identity_claim: Option<String>,
    /// File with the authorities (PEM, 1 to 32 certificates) one of which must have issued the certificate with the name of
    /// --spiffe-id. Replaces all of them.
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
}

const KEYS: &str = "give a JWKS document, or public keys or certificates in PEM (`-----BEGIN PUBLIC KEY-----`, \
     `-----BEGIN CERTIFICATE-----`)";

/// Reads keys, of which nodes take those that verify.
pub(super) fn read_keys(flag: &str, path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("read {flag} {}", path.display()))?;
    public_key::read(&bytes).map_err(|error| {
        let (what, remedy) = match &error {
            PublicKeyError::Private => (error.to_string(), "nothing of the file was sent"),
            PublicKeyError::Empty => ("holds no public key".to_owned(), KEYS),
            _ => (error.to_string(), KEYS),
        };
        fault::usage(&format!("{flag} {}: {what}", path.display()), remedy)
    })
}

impl CallerKind {
    /// Whether RequestRocket makes no key of it.
    const fn has_no_key(self) -> bool {
        matches!(self, Self::Jwt | Self::JwtVerify | Self::Basic | Self::Certificate)
    }
}

/// A file for a key that is about to be made; none for standard output.
pub(super) struct NewKey(Option<NewFile>);

impl NewKey {
    /// Makes the file.
    pub(super) fn into(path: Option<&Path>) -> Result<Self> {
        Ok(Self(path.map(|path| NewFile::make(path, KEY_ROOM)).transpose()?))
    }
}

/// Shows a credential with a new value, and its key where one was made.
pub(super) fn show_new(
    print: Printer,
    file: NewKey,
    made: &mg::Credential,
    (what, revision): (&str, u64),
    key: &str,
    whole: &impl Serialize,
) -> Result<()> {
    let key = Secret::from(key.to_owned());
    if let Some(mut file) = file.0 {
        // The key is not lost when the file cannot be written after all.
        if let Err(error) = file.write(key.expose()) {
            once::out_or_aside("caller key", key.expose(), key.expose())?;
            return Err(error.context("it was done, and the key is on standard output"));
        }
        file.keep();
        return print.written(made, what, revision);
    }
    let secret = (!key.is_empty()).then_some(("caller key", &key));
    once::show(print, made, (what, revision), secret, whole)
}

#[derive(Args)]
pub(crate) struct UpdateArgs {
    /// Name or id.
    credential: String,
    #[command(flatten)]
    presented: Presented,
    /// Never taken: says which commands give a credential its next value.
    #[arg(long = "value-from", id = "value_from", aliases = ["password-from", "value-file"], hide = true, value_name = "FILE", value_parser = no_value)]
    _value: Option<Infallible>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    consent: Consent,
}

fn no_value(_: &str) -> Result<Infallible, String> {
    Err("an update changes no value; `rrctl credential roll` gives a caller credential its next value, and \
         `rrctl credential replace-secret` an upstream credential"
        .to_owned())
}

impl Presented {
    const fn is_given(&self) -> bool {
        self.header.is_some() || self.prefix.is_some() || self.ca_bundle.is_some() || self.is_jwt_given()
    }

    /// Whether it says which public keys verify tokens.
    const fn has_keys(&self) -> bool {
        self.jwks_url.is_some() || self.jwks.is_some() || self.public_key.is_some()
    }

    const fn is_jwt_given(&self) -> bool {
        self.has_keys()
            || self.issuer.is_some()
            || self.leeway.is_some()
            || self.subject.is_some()
            || self.identity_claim.is_some()
            || !(self.audiences.is_empty() && self.algorithms.is_empty() && self.scopes.is_empty())
    }

    /// Sets the fields whose flags were given, and names them in the mask.
    fn put(self, caller: &mut mg::Caller, mask: &mut Mask) -> Result<()> {
        let jwt = self.is_jwt_given();
        mask.put("caller.header", &mut caller.header, self.header);
        mask.put("caller.prefix", &mut caller.prefix, self.prefix);
        if let Some(file) = &self.ca_bundle {
            let (text, _) = authority::read(file)?;
            mask.put("caller.certificate.ca", &mut caller.certificate.get_or_insert_default().ca, Some(text));
        }
        if jwt {
            let verify = caller.jwt_verify.get_or_insert_default();
            let mut parts = Mask::default();
            // One takes the place of the other.
            let file = self.jwks.map(|file| ("--jwks", file));
            let file = file.or(self.public_key.map(|file| ("--public-key", file)));
            let document = file.map(|(flag, file)| read_keys(flag, &file)).transpose()?;
            let url = self.jwks_url.or_else(|| document.as_ref().map(|_| String::new()));
            let document = document.or_else(|| url.as_ref().map(|_| String::new()));
            parts.put("", &mut verify.jwks_url, url);
            parts.put("", &mut verify.jwks, document);
            parts.put("", &mut verify.issuer, self.issuer);
            parts.put_all("", &mut verify.audiences, self.audiences);
            parts.put_all("", &mut verify.algorithms, self.algorithms);
            let leeway = self.leeway.map(|seconds| Some(wire_duration(Duration::from_secs(seconds))));
            parts.put("", &mut verify.leeway, leeway);
            parts.put("", &mut verify.subject, self.subject);
            parts.put_all("", &mut verify.scopes, self.scopes);
            parts.put("", &mut verify.identity_claim, self.identity_claim);
            mask.name("caller.jwt_verify");
        }
        Ok(())
    }
}

impl CallerArgs {
    pub(super) async fn run(mut self, connection: Connection, org: String, print: Printer) -> Result<()> {
        let (out, consent) = (self.out.take(), self.consent);
        if out.is_some() && (self.kind.has_no_key() || self.value.is_given()) {
            return Err(fault::usage("no key is made that could be written to --out", "leave --out out"));
        }
        let credential = self.into_message(&connection, &org).await?;
        let name = credential.name.clone();
        let key = NewKey::into(out.as_deref())?;
        let reply = super::create(connection.clone(), &org, credential, consent).await.map_err(|error| {
            if fault::is_certainly_undone(&error) {
                return error;
            }
            error.context(format!(
                "it is not known whether the credential was created; `rrctl credential show {name}` shows it if it was. Its key is \
                 lost then: delete it and create it again"
            ))
        })?;
        let made = names::of_one(print, &connection, &org, reply.credential.clone()).await?;
        let what = format!("created credential {}", made.name);
        show_new(print, key, &made, (&what, reply.revision), &reply.key, &reply)
    }

    async fn into_message(self, connection: &Connection, org: &str) -> Result<mg::Credential> {
        let kind = match self.kind {
            CallerKind::ApiKey => mg::CallerKind::ApiKey,
            CallerKind::Bearer => mg::CallerKind::Bearer,
            CallerKind::Jwt => mg::CallerKind::Jwt,
            CallerKind::Basic => mg::CallerKind::Basic,
            CallerKind::JwtVerify => mg::CallerKind::JwtVerify,
            CallerKind::Certificate => mg::CallerKind::Certificate,
        };
        self.check_certificate()?;
        let jwt = self.presented.is_jwt_given();
        if jwt != (self.kind == CallerKind::JwtVerify) {
            return Err(if jwt {
                fault::usage(
                    "flags of signed tokens need --kind jwt-verify",
                    "leave them out, or give --kind jwt-verify",
                )
            } else {
                fault::usage(
                    "--kind jwt-verify needs to know which tokens are accepted",
                    "give --jwks-url, --jwks, --public-key or --value-from, and --issuer, --audience and --algorithm",
                )
            });
        }
        if self.kind == CallerKind::Jwt && !self.value.is_given() {
            return Err(fault::usage(
                "--kind jwt needs the token that callers present",
                "give --value-from FILE, --value-from - for standard input, or --prompt",
            ));
        }
        let is_shared = self.kind == CallerKind::JwtVerify && !self.presented.has_keys();
        if is_shared && !self.value.is_given() {
            return Err(fault::usage(
                "--kind jwt-verify needs to know what verifies a token",
                "give --jwks-url, --jwks or --public-key; or --value-from FILE or --prompt for a secret that the issuer shares",
            ));
        }
        if self.kind == CallerKind::JwtVerify && !is_shared && self.value.is_given() {
            let flag = self.value.flag();
            return Err(fault::usage(
                &format!(
                    "public keys and a shared secret verify no tokens side by side, and {flag} was given"
                ),
                "leave one out; make a credential for each where an issuer signs in both ways",
            ));
        }
        if self.trust.is_given() && !is_shared {
            return Err(fault::usage(
                "--region and --fingerprint say where a shared secret can be opened, and there is none",
                "leave them out",
            ));
        }
        if self.user.is_some() != (self.kind == CallerKind::Basic) {
            return Err(if self.user.is_some() {
                fault::usage("--user needs --kind basic", "leave it out, or give --kind basic")
            } else {
                fault::usage("--kind basic needs the name of the user", "give --user USER")
            });
        }
        if self.kind == CallerKind::Basic && !self.value.is_given() {
            return Err(fault::usage(
                "--kind basic needs the password of the user",
                "give --prompt, --password-from FILE, or --password-from - for standard input",
            ));
        }
        let username = self.user.unwrap_or_default();
        let Hashed { value_hash, password_hash } = match self.client_key.read()? {
            Some(key) => Hashed { value_hash: key.as_bytes().to_vec(), password_hash: String::new() },
            None if is_shared => Hashed::default(),
            None => self.value.hash(kind, &username, &self.name)?,
        };
        let mut caller =
            mg::Caller { kind: kind.into(), username, value_hash, password_hash, ..mg::Caller::default() };
        caller.certificate =
            self.spiffe_id.map(|spiffe_id| mg::CallerCertificate { spiffe_id, ..Default::default() });
        let mut id = String::new();
        if is_shared {
            let sealed_for = CredentialId::from_random(draw(&SystemEntropy));
            let value = self.value.shared(&self.presented.algorithms, &self.name)?;
            let sealed = seal_shared(connection, org, (sealed_for, 1), value, &self.trust).await?;
            (caller.sealed, id) = (Some(sealed), sealed_for.to_string());
        }
        let mut mask = Mask::default();
        self.presented.put(&mut caller, &mut mask)?;
        let mut credential = mg::Credential {
            id,
            name: self.name,
            usage: Some(Usage::Caller(caller)),
            ..mg::Credential::default()
        };
        self.common.put(&mut credential, &mut mask);
        Ok(credential)
    }
}

impl CallerArgs {
    /// Whether what is said of certificates goes together.
    fn check_certificate(&self) -> Result<()> {
        let is_one = self.kind == CallerKind::Certificate;
        let (by_key, by_name) = (self.client_key.is_given(), self.spiffe_id.is_some());
        if !is_one && (by_key || by_name || self.presented.ca_bundle.is_some()) {
            return Err(fault::usage(
                "flags of client certificates need --kind certificate",
                "leave them out, or give --kind certificate",
            ));
        }
        if is_one && self.value.is_given() {
            return Err(fault::usage(
                &format!(
                    "--kind certificate has no value that callers present, and {} was given",
                    self.value.flag()
                ),
                "give --certificate FILE, --spki-sha256 HEX, or --spiffe-id with --ca-bundle",
            ));
        }
        if is_one && !(by_key || by_name) {
            return Err(fault::usage(
                "--kind certificate needs to know which certificates are accepted",
                "give --certificate FILE, --spki-sha256 HEX, or --spiffe-id with --ca-bundle",
            ));
        }
        if by_name != self.presented.ca_bundle.is_some() {
            return Err(if by_name {
                fault::usage(
                    "--spiffe-id needs the authorities that can give the name: anybody can write one into a certificate",
                    "give --ca-bundle FILE",
                )
            } else {
                fault::usage(
                    "--ca-bundle needs --spiffe-id: a key is known by its hash, whoever issued its certificate",
                    "leave it out, or give --spiffe-id",
                )
            });
        }
        Ok(())
    }
}

impl UpdateArgs {
    pub(super) async fn run(self, connection: Connection, org: String) -> Result<(mg::Credential, u64)> {
        let mut stub = CredentialServiceClient::new(connection);
        let mut credential = mg::Credential::default();
        let mut mask = Mask::default();
        if self.presented.is_given() {
            let (org, name) = (org.clone(), self.credential.clone());
            let ask = mg::GetCredentialRequest { org, credential: name, revision: 0 };
            credential = stub.get_credential(ask).await?.into_inner().credential.unwrap_or_default();
            let Some(Usage::Caller(caller)) = &mut credential.usage else {
                return Err(fault::usage(
                    &format!(
                        "{} is an upstream credential: the header of its secret is part of the seal",
                        self.credential
                    ),
                    "use `rrctl credential replace-secret`",
                ));
            };
            self.presented.put(caller, &mut mask)?;
        }
        self.common.put(&mut credential, &mut mask);
        credential.etag = self.condition.or(credential.etag);
        let ask = self.consent.with(mg::UpdateCredentialRequest {
            org,
            name: self.credential,
            credential: Some(credential),
            update_mask: mask.finish()?,
            ..Default::default()
        });
        let done = stub.update_credential(ask).await?.into_inner();
        Ok((done.credential.unwrap_or_default(), done.revision))
    }
}
