//! The flags that say what the secret of an upstream credential is, where it goes and what is made of it.
//!
//! They say what files say in `value_from`, and are judged by the same code. No flag holds a secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use rr_contract::file::value_from::{
    Aws, Certificate, CustomToken, Hmac, JwtBearer, Oauth2, Source, Unmade, ValueFrom, Wanted,
};
use rr_contract::model::invalid::Violation;
use rr_contract::seal::form::{Form, Said, SecretKind, WrongForm};
use rr_contract::secret::Secret;

use crate::flags::moment;
use crate::print::note;
use crate::{fault, prompt};

const TOKENS: &str = "Tokens (kinds oauth2-client-credentials, jwt-bearer, custom-token)";
const SIGNATURES: &str = "Signatures and certificates (kinds aws-sigv4, hmac, client-certificate)";

/// The secrets of a credential, where they go, and what is made of them.
#[derive(Args)]
pub(super) struct SecretArgs {
    /// Header that the secret, or the token, goes into.
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// Prefix in the header, with its space.
    #[arg(long)]
    prefix: Option<String>,
    /// Parameter of the query that the secret goes into, for kind api-key, or the token.
    #[arg(long, value_name = "NAME")]
    query: Option<String>,
    /// User name, for kind basic; the secret is the password.
    #[arg(long)]
    user: Option<String>,
    /// Header of one of several secrets, for kind custom-headers, and the file that holds it; can be repeated. A prompt where
    /// no file is given.
    #[arg(long = "set-header", value_name = "NAME[=FILE]", value_parser = header_from)]
    headers: Vec<(String, Option<PathBuf>)>,
    /// File that holds the secret; `-` is standard input. A prompt when not given. It holds the private key, in PEM, for kinds
    /// jwt-bearer and client-certificate and for private-key-jwt.
    #[arg(long, value_name = "FILE", visible_alias = "value-from")]
    value_file: Option<PathBuf>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    signature: SignatureArgs,
}

#[derive(Args)]
struct TokenArgs {
    /// Where nodes ask for a token: https, or http on loopback. The secret is sent there, and nowhere else; --origin and
    /// --target say where the token may go. For an issuer with certificates of one's own, or at a private address, nodes need
    /// their settings `upstream-ca` and `allow-upstream`.
    #[arg(long, value_name = "URL", help_heading = TOKENS)]
    token_url: Option<String>,
    /// Id of the client.
    #[arg(long, value_name = "ID", help_heading = TOKENS)]
    client_id: Option<String>,
    /// How the client proves who it is: basic, post or private-key-jwt [default: basic].
    #[arg(long, value_name = "HOW", help_heading = TOKENS)]
    authentication: Option<String>,
    /// Scopes that the token is asked for.
    #[arg(long, help_heading = TOKENS)]
    scope: Option<String>,
    /// Audience of the token; for kind jwt-bearer, `aud` of what is signed [default there: the token URL].
    #[arg(long, help_heading = TOKENS)]
    audience: Option<String>,
    /// Resource that the token is asked for (RFC 8707).
    #[arg(long, value_name = "URI", help_heading = TOKENS)]
    resource: Option<String>,
    /// Further parameter of the request for a token; can be repeated.
    #[arg(long = "parameter", value_name = "NAME=TEXT", value_parser = pair, help_heading = TOKENS)]
    parameters: Vec<(String, String)>,
    /// `iss` of what is signed, for kind jwt-bearer: the name of the service account.
    #[arg(long, value_name = "NAME", help_heading = TOKENS)]
    issuer: Option<String>,
    /// `sub` of what is signed, for kind jwt-bearer.
    #[arg(long, value_name = "NAME", help_heading = TOKENS)]
    subject: Option<String>,
    /// `kid` of what is signed.
    #[arg(long, value_name = "ID", help_heading = TOKENS)]
    key_id: Option<String>,
    /// RS256, PS256, ES256, ES384 or EdDSA [default: that of the key].
    #[arg(long, value_name = "NAME", help_heading = TOKENS)]
    algorithm: Option<String>,
    /// `aud` of what a client signs, for private-key-jwt [default: the token URL].
    #[arg(long, value_name = "NAME", help_heading = TOKENS)]
    assertion_audience: Option<String>,
    /// Further claim of what is signed; can be repeated.
    #[arg(long = "claim", value_name = "NAME=TEXT", value_parser = pair, help_heading = TOKENS)]
    claims: Vec<(String, String)>,
    /// GET or POST, for kind custom-token [default: POST where there is a --body].
    #[arg(long, help_heading = TOKENS)]
    method: Option<String>,
    /// Header of the request for a token, for kind custom-token; its text may have {secret} and {secret:base64}. Can be repeated.
    #[arg(long = "token-header", value_name = "NAME=TEXT", value_parser = pair, help_heading = TOKENS)]
    token_headers: Vec<(String, String)>,
    /// Body of the request for a token, for kind custom-token, with {secret:json} or {secret:form} where the secret goes.
    #[arg(long, value_name = "TEXT", help_heading = TOKENS)]
    body: Option<String>,
    /// Where the token is in the answer, for kind custom-token, as `data.token`.
    #[arg(long, value_name = "PATH", help_heading = TOKENS)]
    token_path: Option<String>,
    /// Where it stands in the answer how many seconds the token lasts, for kind custom-token.
    #[arg(long, value_name = "PATH", help_heading = TOKENS)]
    lifetime_path: Option<String>,
    /// How long a token lasts where the answer does not say it, for kind custom-token, as `5m` [default: 5m].
    #[arg(long, value_name = "DURATION", value_parser = span, help_heading = TOKENS)]
    lifetime: Option<std::time::Duration>,
}

#[derive(Args)]
struct SignatureArgs {
    /// Access key id, for kind aws-sigv4; the secret is the secret access key.
    #[arg(long, value_name = "ID", help_heading = SIGNATURES)]
    access_key_id: Option<String>,
    /// Region as it is signed, for kind aws-sigv4: `eu-central-1`.
    #[arg(long, value_name = "REGION", help_heading = SIGNATURES)]
    aws_region: Option<String>,
    /// Service as it is signed, for kind aws-sigv4: `execute-api`, `s3`, `bedrock`.
    #[arg(long, value_name = "NAME", help_heading = SIGNATURES)]
    service: Option<String>,
    /// File that holds the session token of temporary credentials, for kind aws-sigv4.
    #[arg(long, value_name = "FILE", help_heading = SIGNATURES)]
    session_token_file: Option<PathBuf>,
    /// Leaves bodies out of the signature, so that they may be longer than 1 MiB; for service s3 alone.
    #[arg(long, help_heading = SIGNATURES)]
    unsigned_payload: bool,
    /// sha256, sha512 or sha1, for kind hmac [default: sha256].
    #[arg(long, value_name = "NAME", help_heading = SIGNATURES)]
    hash: Option<String>,
    /// Text that is signed, for kind hmac, with {method}, {host}, {path}, {query}, {target}, {date}, {nonce}, {body},
    /// {body:sha256}, {body:sha256:base64} and {header:NAME}.
    #[arg(long, value_name = "TEXT", help_heading = SIGNATURES)]
    text: Option<String>,
    /// How the signature is written, for kind hmac: hex, base64 or base64url [default: hex].
    #[arg(long, value_name = "NAME", help_heading = SIGNATURES)]
    encoding: Option<String>,
    /// How the secret stands for the key, for kind hmac: raw, hex or base64 [default: raw].
    #[arg(long, value_name = "NAME", help_heading = SIGNATURES)]
    key_encoding: Option<String>,
    /// How {date} is written, for kind hmac: unix, unix-ms, rfc3339 or http [default: unix].
    #[arg(long, value_name = "NAME", help_heading = SIGNATURES)]
    date: Option<String>,
    /// Header that is set, for kind hmac; its text has {signature}, {date}, {nonce} or {body:sha256}. Can be repeated.
    #[arg(long = "sign-header", value_name = "NAME=TEXT", value_parser = pair, help_heading = SIGNATURES)]
    sign_headers: Vec<(String, String)>,
    /// File with the certificate that the private key belongs to, and those that vouch for it (PEM), for kind
    /// client-certificate.
    #[arg(long, value_name = "FILE", help_heading = SIGNATURES)]
    certificate: Option<PathBuf>,
}

fn header_from(text: &str) -> Result<(String, Option<PathBuf>), String> {
    match text.split_once('=') {
        Some((_, "")) => Err("write NAME=FILE, or NAME for a prompt".to_owned()),
        Some((name, file)) => Ok((name.to_owned(), Some(file.into()))),
        None => Ok((text.to_owned(), None)),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, text) = text.split_once('=').ok_or_else(|| "write NAME=TEXT".to_owned())?;
    Ok((name.to_owned(), text.to_owned()))
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    moment::span(text).ok_or_else(|| "write 90s, 5m or 1h".to_owned())
}

/// The flag for a field as files have it, in the group of a kind if it stands in one.
fn flag(group: &str, field: &str) -> String {
    match (group, field) {
        ("", "header") => "--header NAME".to_owned(),
        ("", "query") => "--query NAME".to_owned(),
        ("", "user") => "--user NAME".to_owned(),
        ("", "headers") => "--set-header NAME=FILE".to_owned(),
        ("", "oauth2") => "--token-url URL and --client-id ID".to_owned(),
        ("", "jwt_bearer") => "--token-url URL and --issuer NAME".to_owned(),
        ("", "custom_token") => "--token-url URL and --token-path PATH".to_owned(),
        ("", "aws") => "--access-key-id ID, --aws-region REGION and --service NAME".to_owned(),
        ("", "hmac") => "--text TEXT and --sign-header NAME=TEXT".to_owned(),
        ("", "certificate") => "--certificate FILE".to_owned(),
        ("aws", "region") => "--aws-region".to_owned(),
        ("aws", "session_token") => "--session-token-file".to_owned(),
        ("custom_token", "headers") => "--token-header".to_owned(),
        ("hmac", "headers") => "--sign-header".to_owned(),
        ("certificate", "chain") => "--certificate".to_owned(),
        (_, "parameters") => "--parameter".to_owned(),
        (_, "claims") => "--claim".to_owned(),
        (_, field) => format!("--{}", field.replace('_', "-")),
    }
}

fn texts(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

fn text(given: Option<&String>) -> String {
    given.cloned().unwrap_or_default()
}

impl SecretArgs {
    /// Where the secrets of a credential of this kind go, and what is made of them.
    pub(super) fn form(&self, kind: SecretKind) -> Result<Form> {
        self.check(kind)?;
        let from = self.value_from(kind);
        warn(&from);
        let means = from.means(|wanted| match wanted {
            Wanted::Secret(source) => {
                let file = source.file.as_deref();
                prompt::read_new("session token", file, "--session-token-file").map(|it| it.expose().to_vec())
            }
            Wanted::File(file) => read_file(file),
        });
        let means = means.map_err(|unmade| match unmade {
            Unmade::Unread(_, error) => error,
            Unmade::Field(field, what) => {
                let (group, field) = field.split_once('.').unwrap_or(("", field));
                fault::usage(&format!("{}: {what}", flag(group, field)), "give another value")
            }
        })?;
        let said = Said {
            header: from.header.clone(),
            prefix: from.prefix.clone(),
            query: from.query.clone(),
            user: from.user.clone(),
            headers: self.headers.iter().map(|(name, _)| name.clone()).collect(),
            groups: from.groups(),
            means,
        };
        kind.form(said).map_err(|wrong| wrong_form(&wrong))
    }

    fn header_names(&self) -> Vec<(String, String)> {
        self.headers.iter().map(|(name, _)| (name.clone(), String::new())).collect()
    }

    /// Whether all that is given belongs to the kind.
    fn check(&self, kind: SecretKind) -> Result<()> {
        if kind == SecretKind::CustomHeaders && self.value_file.is_some() {
            return Err(fault::usage(
                "--kind custom-headers has no single secret for --value-file",
                "give --set-header NAME=FILE for each",
            ));
        }
        let is_stdin = |file: &Path| file.as_os_str() == "-";
        let session = self.signature.session_token_file.as_deref();
        let files = self.headers.iter().filter_map(|(_, file)| file.as_deref());
        if files.chain(self.value_file.as_deref()).chain(session).filter(|file| is_stdin(file)).count() > 1 {
            return Err(fault::usage(
                "standard input can hold one secret alone",
                "give files, or leave one out for a prompt",
            ));
        }
        let (token, signature) = (&self.token, &self.signature);
        for (flag, pairs) in [
            ("--parameter", &token.parameters),
            ("--claim", &token.claims),
            ("--token-header", &token.token_headers),
            ("--sign-header", &signature.sign_headers),
            ("--set-header", &self.header_names()),
        ] {
            let is_header = flag.ends_with("-header");
            let is_same =
                |one: &str, other: &str| one == other || is_header && one.eq_ignore_ascii_case(other);
            let is_twice = |at: usize| pairs[..at].iter().any(|(name, _)| is_same(name, &pairs[at].0));
            if let Some(at) = (1..pairs.len()).find(|at| is_twice(*at)) {
                let what = format!("{flag} has {} twice", pairs[at].0);
                return Err(fault::usage(&what, "say each name once"));
            }
        }
        let of_another =
            |(_, is_given, kinds): &(_, bool, &[SecretKind])| *is_given && !kinds.contains(&kind);
        match self.of_kinds().into_iter().find(of_another) {
            None => Ok(()),
            Some((flag, ..)) => Err(fault::usage(
                &format!("kind {} has no {flag}", kind.as_str()),
                &format!("leave {flag} out, or give another --kind"),
            )),
        }
    }

    /// The flags of kinds whose secret is not sent as it is: whether each is given, and which kinds have it.
    fn of_kinds(&self) -> Vec<(&'static str, bool, &'static [SecretKind])> {
        use SecretKind::{AwsSigv4, ClientCertificate, CustomToken, Hmac, JwtBearer, Oauth2};
        let (token, signature) = (&self.token, &self.signature);
        vec![
            ("--token-url", token.token_url.is_some(), &[Oauth2, JwtBearer, CustomToken]),
            ("--client-id", token.client_id.is_some(), &[Oauth2]),
            ("--authentication", token.authentication.is_some(), &[Oauth2]),
            ("--scope", token.scope.is_some(), &[Oauth2]),
            ("--audience", token.audience.is_some(), &[Oauth2, JwtBearer]),
            ("--resource", token.resource.is_some(), &[Oauth2]),
            ("--parameter", !token.parameters.is_empty(), &[Oauth2, JwtBearer]),
            ("--issuer", token.issuer.is_some(), &[JwtBearer]),
            ("--subject", token.subject.is_some(), &[JwtBearer]),
            ("--key-id", token.key_id.is_some(), &[Oauth2, JwtBearer]),
            ("--algorithm", token.algorithm.is_some(), &[Oauth2, JwtBearer]),
            ("--assertion-audience", token.assertion_audience.is_some(), &[Oauth2]),
            ("--claim", !token.claims.is_empty(), &[Oauth2, JwtBearer]),
            ("--method", token.method.is_some(), &[CustomToken]),
            ("--token-header", !token.token_headers.is_empty(), &[CustomToken]),
            ("--body", token.body.is_some(), &[CustomToken]),
            ("--token-path", token.token_path.is_some(), &[CustomToken]),
            ("--lifetime-path", token.lifetime_path.is_some(), &[CustomToken]),
            ("--lifetime", token.lifetime.is_some(), &[CustomToken]),
            ("--access-key-id", signature.access_key_id.is_some(), &[AwsSigv4]),
            ("--aws-region", signature.aws_region.is_some(), &[AwsSigv4]),
            ("--service", signature.service.is_some(), &[AwsSigv4]),
            ("--session-token-file", signature.session_token_file.is_some(), &[AwsSigv4]),
            ("--unsigned-payload", signature.unsigned_payload, &[AwsSigv4]),
            ("--hash", signature.hash.is_some(), &[Hmac]),
            ("--text", signature.text.is_some(), &[Hmac]),
            ("--encoding", signature.encoding.is_some(), &[Hmac]),
            ("--key-encoding", signature.key_encoding.is_some(), &[Hmac]),
            ("--date", signature.date.is_some(), &[Hmac]),
            ("--sign-header", !signature.sign_headers.is_empty(), &[Hmac]),
            ("--certificate", signature.certificate.is_some(), &[ClientCertificate]),
        ]
    }

    /// The same as a file would have it.
    fn value_from(&self, kind: SecretKind) -> ValueFrom {
        let is_said = self.of_kinds().iter().any(|(_, is_given, kinds)| *is_given && kinds.contains(&kind));
        let (token, signature) = (&self.token, &self.signature);
        let is = |one: SecretKind| is_said && kind == one;
        let oauth2 = || Oauth2 {
            token_url: text(token.token_url.as_ref()),
            client_id: text(token.client_id.as_ref()),
            authentication: text(token.authentication.as_ref()),
            scope: text(token.scope.as_ref()),
            audience: text(token.audience.as_ref()),
            resource: text(token.resource.as_ref()),
            parameters: texts(&token.parameters),
            key_id: text(token.key_id.as_ref()),
            algorithm: text(token.algorithm.as_ref()),
            assertion_audience: text(token.assertion_audience.as_ref()),
            claims: texts(&token.claims),
        };
        let jwt_bearer = || JwtBearer {
            token_url: text(token.token_url.as_ref()),
            issuer: text(token.issuer.as_ref()),
            subject: text(token.subject.as_ref()),
            audience: text(token.audience.as_ref()),
            key_id: text(token.key_id.as_ref()),
            algorithm: text(token.algorithm.as_ref()),
            claims: texts(&token.claims),
            parameters: texts(&token.parameters),
        };
        let custom_token = || CustomToken {
            token_url: text(token.token_url.as_ref()),
            method: text(token.method.as_ref()),
            headers: texts(&token.token_headers),
            body: text(token.body.as_ref()),
            token_path: text(token.token_path.as_ref()),
            lifetime_path: text(token.lifetime_path.as_ref()),
            lifetime: token.lifetime.map(Into::into),
        };
        let aws = || Aws {
            access_key_id: text(signature.access_key_id.as_ref()),
            region: text(signature.aws_region.as_ref()),
            service: text(signature.service.as_ref()),
            session_token: signature
                .session_token_file
                .as_ref()
                .map(|file| Source { env: None, file: Some(file.clone()) }),
            unsigned_payload: signature.unsigned_payload,
        };
        let hmac = || Hmac {
            hash: text(signature.hash.as_ref()),
            text: text(signature.text.as_ref()),
            encoding: text(signature.encoding.as_ref()),
            key_encoding: text(signature.key_encoding.as_ref()),
            date: text(signature.date.as_ref()),
            headers: texts(&signature.sign_headers),
        };
        let certificate = || Certificate { chain: signature.certificate.clone().unwrap_or_default() };
        ValueFrom {
            header: self.header.clone(),
            prefix: self.prefix.clone(),
            query: self.query.clone(),
            user: self.user.clone(),
            oauth2: is(SecretKind::Oauth2).then(oauth2),
            jwt_bearer: is(SecretKind::JwtBearer).then(jwt_bearer),
            custom_token: is(SecretKind::CustomToken).then(custom_token),
            aws: is(SecretKind::AwsSigv4).then(aws),
            hmac: is(SecretKind::Hmac).then(hmac),
            certificate: is(SecretKind::ClientCertificate).then(certificate),
            ..ValueFrom::default()
        }
    }

    /// Reads the secrets of a credential of this name.
    pub(super) fn read(&self, kind: SecretKind, credential: &str) -> Result<Vec<Secret>> {
        if kind == SecretKind::CustomHeaders {
            let one = |(name, file): &(String, Option<PathBuf>)| {
                prompt::read_new(
                    &format!("{name} of credential {credential}"),
                    file.as_deref(),
                    &format!("--set-header {name}=FILE"),
                )
            };
            return self.headers.iter().map(one).collect();
        }
        // What has no name of its own is a secret.
        let what = Some(kind.value()).filter(|what| *what != "value").unwrap_or("secret");
        let what = format!("{what} of credential {credential}");
        Ok(vec![prompt::read_new(&what, self.value_file.as_deref(), "--value-file")?])
    }

    pub(super) fn is_said(&self) -> bool {
        self.value_file.is_some()
            || self.header.is_some()
            || self.prefix.is_some()
            || self.query.is_some()
            || self.user.is_some()
            || !self.headers.is_empty()
            || self.of_kinds().iter().any(|(_, is_given, _)| *is_given)
    }
}

/// Says where a secret would break the text around it: whoever asks for a token with it is refused, and nobody sees why.
pub(in crate::command) fn warn(from: &ValueFrom) {
    let body = from.custom_token.as_ref().map_or("", |token| token.body.trim_start());
    if body.starts_with(['{', '[']) && body.contains("{secret}") {
        note(
            "the body of the request for a token is JSON, and {secret} stands in it as it is: a quote or a backslash in the \
             secret breaks it; write {secret:json}",
        );
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| {
        fault::usage(&format!("read {}: {error}", file.display()), "give the path of a file in PEM")
    })
}

/// What does not fit a kind, for whoever said it with flags.
fn wrong_form(wrong: &WrongForm) -> anyhow::Error {
    match wrong {
        WrongForm::Lacks { fields, .. } => {
            let flags: Vec<String> = fields.iter().map(|field| flag("", field)).collect();
            fault::usage(&wrong.to_string(), &format!("give {}", flags.join(" or ")))
        }
        WrongForm::Extra { kind, field } => {
            let flag = flag("", field);
            let bare = flag.split(' ').next().unwrap_or(&flag);
            fault::usage(
                &format!("kind {kind} has no {bare}"),
                &format!("leave {bare} out, or give another --kind"),
            )
        }
        WrongForm::Invalid { field, invalid }
            if matches!(*field, "header" | "query" | "user" | "headers") =>
        {
            let flag = flag("", field);
            let bare = flag.split(' ').next().unwrap_or(&flag);
            // The flag is the place.
            let all: Vec<&str> = invalid.violations().iter().map(|it| it.reason.as_str()).collect();
            fault::usage(&format!("{bare}: {}", all.join("; ")), "give another value")
        }
        WrongForm::Invalid { field: group, invalid } => {
            let (mut all, mut missing) = (Vec::new(), Vec::new());
            for Violation { field, reason } in invalid.violations() {
                match (field.as_str(), reason.as_str()) {
                    ("", reason) => all.push(reason.to_owned()),
                    (field, "is missing") => missing.push(format!("{} is missing", flag(group, field))),
                    (field, reason) if reason.starts_with("not ") => {
                        all.push(format!("{} is {reason}", flag(group, field)));
                    }
                    (field, reason) => all.push(format!("{} {reason}", flag(group, field))),
                }
            }
            let remedy = match (all.is_empty(), missing.len()) {
                (true, 1) => "give it",
                (true, _) => "give them",
                (false, _) => "give another value",
            };
            all.append(&mut missing);
            fault::usage(&all.join("; "), remedy)
        }
    }
}
