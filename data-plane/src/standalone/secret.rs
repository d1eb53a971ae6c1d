//! Values that documents name: read from the environment or a file, and sealed in memory.
//!
//! A value is sealed to a key of this node's own as soon as it is read, together with the origins that it may be sent
//! to and the certificates that vouch for them. From there on it goes the way of every sealed secret, so nothing but the check of the origin lets it out, in
//! memory and on disk alike. A value that is already held under the same seal is not sealed again: what did not
//! change keeps its hash.

use std::collections::HashMap;
use std::path::Path;

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::client_key::ClientKey;
use rr_contract::file::value_from::{Source, Unmade, ValueFrom, Wanted};
use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::model::origin::Origin;
use rr_contract::model::tls::{CaBundle, CaHash, InvalidCa};
use rr_contract::own_value;
use rr_contract::policy::public_key;
use rr_contract::runtime::chain;
use rr_contract::seal::form::{Placed, Said, SecretKind};
use rr_contract::seal::region_key::{RegionOpeningKey, RegionStatement};
use rr_contract::seal::{OpenedSecret, SealContext, SealedSecret, SecretSpec};
use rr_contract::seam::{Disk, Entropy};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential;
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use rr_contract::wire::fleet::credential_resource::Usage;
use rr_contract::wire::fleet::upstream_credential::Kind;

use super::document::JwksFrom;
use super::spelling::{CallerKind, UpstreamKind};

/// A fault of a field.
pub(super) type Wrong = (&'static str, String);

/// Where a target lives, as its document says, and the certificates that vouch for it.
pub(super) struct Lives {
    pub(super) urls: Vec<String>,
    pub(super) ca: String,
}

/// A value that has to be sealed.
pub(super) enum Unsealed {
    /// For an upstream.
    Upstream(Box<SecretSpec>),
    /// It verifies tokens.
    Shared(Secret),
}

/// The place of values: files are looked for from the folder of the document.
pub(super) struct Place<'a> {
    pub(super) folder: &'a Path,
    pub(super) disk: &'a dyn Disk,
}

impl Place<'_> {
    /// The value itself.
    fn read(&self, env: Option<&str>, file: Option<&Path>) -> Result<Secret, Wrong> {
        let (field, value) = match (env, file) {
            (Some(name), None) => {
                let value = std::env::var(name).map_err(|_| {
                    ("value_from.env", format!("environment variable {name} is not set; set it to the value"))
                })?;
                ("value_from.env", Secret::from(value))
            }
            (None, Some(file)) => {
                let path = self.folder.join(file);
                let value = self.disk.read(&path).map_err(|error| {
                    ("value_from.file", format!("read {}: {}", path.display(), chain(&error)))
                })?;
                ("value_from.file", Secret::new(value))
            }
            _ => return Err(("value_from", "names one place: give either env or file".to_owned())),
        };
        // Editors end a file with a line feed; no header can carry one.
        let bare = value.expose().trim_ascii_end();
        if bare.is_empty() {
            return Err((field, "the value is empty".to_owned()));
        }
        Ok(Secret::new(bare.to_vec()))
    }

    /// The hash by which a caller's value is known; of a certificate, that of its key.
    pub(super) fn hash(&self, from: &ValueFrom, kind: CallerKind) -> Result<[u8; 32], Wrong> {
        let value = self.of_caller(from)?;
        let hash = match kind {
            CallerKind::Certificate => {
                let key = ClientKey::from_pem(value.expose());
                let key = key.map_err(|error| ("value_from", format!("the file {error}")))?;
                return Ok(*key.as_bytes());
            }
            CallerKind::ApiKey => api_key::hash(KeyKind::Caller, value.expose()).ok_or_else(|| {
                ("value_from", "the value is no key; `rr-edge --make-key FILE` makes one".to_owned())
            }),
            _ => own_value::hash(value.expose()).map_err(|weak| ("value_from", format!("the value {weak}"))),
        }?;
        Ok(*hash.as_bytes())
    }

    /// The keys of an issuer, as a document.
    pub(super) fn keys(&self, from: &JwksFrom) -> Result<String, Wrong> {
        let path = self.folder.join(&from.file);
        let text = self.disk.read(&path);
        let text =
            text.map_err(|error| ("jwks_from.file", format!("read {}: {}", path.display(), chain(&error))))?;
        public_key::read(&text).map_err(|error| ("jwks_from.file", format!("{} {error}", path.display())))
    }

    /// The secret that verifies tokens of these algorithms.
    pub(super) fn shared(&self, from: &ValueFrom, algorithms: &[String]) -> Result<Secret, Wrong> {
        let value = self.of_caller(from)?;
        // One that is unknown is a fault of its own.
        let known: Vec<Algorithm> = algorithms.iter().filter_map(|name| Algorithm::of(name)).collect();
        own_value::shared::check(value.expose(), &known)
            .map_err(|weak| ("value_from", format!("the secret {weak}")))?;
        Ok(value)
    }

    /// The value of a caller credential, which goes nowhere.
    fn of_caller(&self, from: &ValueFrom) -> Result<Secret, Wrong> {
        if !from.is_bare() {
            return Err((
                "value_from",
                "takes env or file for a caller; header and prefix belong into `caller`, and a caller's value is sent nowhere"
                    .to_owned(),
            ));
        }
        self.read(from.env.as_deref(), from.file.as_deref())
    }

    /// What is to be sealed for an upstream.
    pub(super) fn spec(
        &self,
        from: &ValueFrom,
        kind: UpstreamKind,
        targets: &HashMap<String, Lives>,
    ) -> Result<SecretSpec, Wrong> {
        let kind = secret_kind(kind).ok_or_else(|| {
            ("value_from", "belongs to a kind that has a secret: say it in `upstream.kind`".to_owned())
        })?;
        kind.check_groups(&from.groups()).map_err(|wrong| ("value_from", wrong.in_file()))?;
        let read = |wanted: Wanted<'_>| match wanted {
            Wanted::Secret(source) => self.read(source.env.as_deref(), source.file.as_deref()),
            Wanted::File(file) => self.read(None, Some(file)),
        };
        let read = |wanted: Wanted<'_>| read(wanted).map(|value| value.expose().to_vec());
        let means = from.means(read).map_err(|unmade| match unmade {
            Unmade::Unread(field, (_, what)) => ("value_from", format!("{field}: {what}")),
            Unmade::Field(field, what) => ("value_from", format!("{field} {what}")),
        })?;
        let said = Said {
            header: from.header.clone(),
            prefix: from.prefix.clone(),
            query: from.query.clone(),
            user: from.user.clone(),
            headers: from.headers.keys().cloned().collect(),
            groups: from.groups(),
            means,
        };
        let form = kind.form(said).map_err(|wrong| ("value_from", wrong.in_file()))?;
        let mut origins = Vec::new();
        for text in &from.origins {
            let origin: Origin =
                text.parse().map_err(|error| ("value_from.origins", format!("{text:?}: {error}")))?;
            origins.push(origin);
        }
        // Who named them first, and which; those that the node trusts have no hash.
        let mut ca: Option<(String, Option<CaHash>)> = None;
        if let Some(file) = &from.ca {
            ca = Some(("value_from.ca".to_owned(), Some(*self.certificates(file)?.hash())));
        }
        for name in &from.targets {
            let lives = targets.get(name);
            let lives = lives
                .ok_or_else(|| ("value_from.targets", format!("no target {name:?} stands in the file")))?;
            // A base URL or certificate that is none is a fault of its target.
            origins.extend(lives.urls.iter().filter_map(|url| Some(Origin::of(&url.parse().ok()?))));
            let its = if lives.ca.is_empty() {
                None
            } else {
                let Ok(certificates) = lives.ca.parse::<CaBundle>() else { continue };
                Some(*certificates.hash())
            };
            match &ca {
                None => ca = Some((format!("target {name:?}"), its)),
                Some((_, before)) if *before == its => {}
                Some((whose, _)) => {
                    let what = "have different certificates (`ca`), and a value is sealed for one `ca`";
                    let remedy = "make a credential for each";
                    return Err(("value_from", format!("{whose} and target {name:?} {what}: {remedy}")));
                }
            }
        }
        if origins.is_empty() {
            return Err((
                "value_from",
                "names no origin that the value may be sent to; add origins or targets".to_owned(),
            ));
        }
        let ca = ca.and_then(|(_, hash)| hash);
        let Placed { value, means } =
            form.place(self.values(from, kind)?).expect("a value was read for each of its places");
        Ok(SecretSpec { value, means, origins, not_after: None, ca })
    }

    /// As many values as the form of the kind has places.
    fn values(&self, from: &ValueFrom, kind: SecretKind) -> Result<Vec<Secret>, Wrong> {
        let is_one = from.env.is_some() || from.file.is_some();
        match kind {
            SecretKind::CustomHeaders if is_one => {
                let what = "of kind custom-headers names the place of each value in `headers`: leave out env and file beside them";
                Err(("value_from", what.to_owned()))
            }
            SecretKind::CustomHeaders => {
                let read = |(name, source): (&String, &Source)| {
                    let value = self.read(source.env.as_deref(), source.file.as_deref());
                    value.map_err(|(_, what)| ("value_from.headers", format!("{name}: {what}")))
                };
                from.headers.iter().map(read).collect()
            }
            _ => Ok(vec![self.read(from.env.as_deref(), from.file.as_deref())?]),
        }
    }

    fn certificates(&self, file: &Path) -> Result<CaBundle, Wrong> {
        let path = self.folder.join(file);
        let bytes = self.disk.read(&path);
        let bytes = bytes
            .map_err(|error| ("value_from.ca", format!("read {}: {}", path.display(), chain(&error))))?;
        let read = str::from_utf8(&bytes).map_err(|_| InvalidCa::Syntax).and_then(str::parse);
        read.map_err(|error| ("value_from.ca", format!("{} {error}", path.display())))
    }
}

/// The kinds that have a secret.
fn secret_kind(kind: UpstreamKind) -> Option<SecretKind> {
    match kind {
        UpstreamKind::Bearer => Some(SecretKind::Bearer),
        UpstreamKind::ApiKey => Some(SecretKind::ApiKey),
        UpstreamKind::Basic => Some(SecretKind::Basic),
        UpstreamKind::Jwt => Some(SecretKind::Jwt),
        UpstreamKind::CustomHeaders => Some(SecretKind::CustomHeaders),
        UpstreamKind::Oauth2ClientCredentials => Some(SecretKind::Oauth2),
        UpstreamKind::JwtBearer => Some(SecretKind::JwtBearer),
        UpstreamKind::CustomToken => Some(SecretKind::CustomToken),
        UpstreamKind::AwsSigv4 => Some(SecretKind::AwsSigv4),
        UpstreamKind::Hmac => Some(SecretKind::Hmac),
        UpstreamKind::ClientCertificate => Some(SecretKind::ClientCertificate),
        UpstreamKind::Unspecified | UpstreamKind::None => None,
    }
}

/// Seals values to a key of this node's own.
pub(super) struct Sealer<'a> {
    pub(super) statement: &'a RegionStatement,
    pub(super) keys: &'a [RegionOpeningKey],
    pub(super) entropy: &'a dyn Entropy,
}

impl Sealer<'_> {
    /// The sealed value; that of `held`, the payload of the same credential, where it is of the same value, origins and
    /// slot.
    pub(super) fn seal(
        &self,
        context: &SealContext,
        value: Unsealed,
        held: Option<&[u8]>,
    ) -> Result<fleet::SealedSecret, String> {
        if let Some(held) = held.and_then(sealed)
            && let Ok(opened) = held.open(context, self.keys)
            && is_of(&opened, &value)
        {
            return Ok(held.to_wire());
        }
        let regions = [self.statement];
        let made = match value {
            Unsealed::Upstream(spec) => SealedSecret::seal(context, &spec, &regions, self.entropy),
            Unsealed::Shared(value) => {
                SealedSecret::seal_shared(context, value, None, &regions, self.entropy)
            }
        };
        match made {
            Ok(sealed) => Ok(sealed.to_wire()),
            Err(error) => Err(chain(&error).to_string()),
        }
    }
}

/// Whether what is held is the very value, which may go to the very places.
fn is_of(opened: &OpenedSecret, value: &Unsealed) -> bool {
    match value {
        Unsealed::Upstream(spec) => {
            opened.value().expose() == spec.value.expose()
                && opened.means() == &spec.means
                && opened.origins() == spec.origins.as_slice()
                && (opened.not_after(), opened.ca()) == (spec.not_after, spec.ca.as_ref())
        }
        Unsealed::Shared(value) => {
            opened.is_shared()
                && opened.value().expose() == value.expose()
                && (opened.not_after(), opened.ca()) == (None, None)
        }
    }
}

/// What verifies tokens, or goes to an upstream.
fn sealed(payload: &[u8]) -> Option<SealedSecret> {
    match fleet::CredentialResource::decode(payload).ok()?.usage? {
        Usage::Upstream(upstream) => match upstream.kind? {
            Kind::Sealed(sealed) => sealed.try_into().ok(),
            Kind::None(_) => None,
        },
        Usage::Caller(caller) => match caller.kind? {
            caller_credential::Kind::JwtVerify(verify) => match verify.keys? {
                Keys::SharedSecret(sealed) => sealed.try_into().ok(),
                Keys::Jwks(_) | Keys::JwksUrl(_) => None,
            },
            _ => None,
        },
    }
}
