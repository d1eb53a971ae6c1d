//! Secrets that come in the clear: taken out of their message, sealed to regions as they come, and wiped.
//!
//! Stores nothing and opens no seal. The invariant: what leaves here is sealed; of the value, no error and no log says
//! anything, and its bytes are overwritten whatever happens.

mod form;
mod regions;

use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::model::id::CredentialId;
use rr_contract::model::invalid::Violations;
use rr_contract::own_value;
use rr_contract::seal::form::SecretKind;
use rr_contract::seal::{SealContext, SealError, SealedSecret, SecretSpec};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{self as wire, Credential, credential::Usage};

use super::resource::show;
use super::sealed_value::sealed_for;
use super::{OrgCaller, ServiceError, Services};
use crate::compile::{add_under, under};
use crate::document::is_shared;
use crate::store::StoreError;

pub(crate) use form::Plain;

/// Why a secret cannot come in two ways at once.
const TWO_WAYS: &str = "stands beside `plain`, which the control plane seals: leave one of them out";

impl Services {
    /// Seals the secret of a credential that is about to be made, and sets what whoever seals sets.
    pub(super) async fn seal_created(
        &self,
        at: &OrgCaller,
        wire: &mut Credential,
        plain: Plain,
        prefix: &str,
    ) -> Result<(), ServiceError> {
        if !wire.id.is_empty() {
            let what = "is set by the control plane where it seals the secret: leave it empty";
            return Err(ServiceError::field(format!("{prefix}.id"), what));
        }
        let id = CredentialId::from_random(self.random());
        let field = format!("{prefix}.plain");
        match &mut wire.usage {
            Some(Usage::Upstream(upstream)) => {
                if upstream.sealed.is_some() {
                    return Err(ServiceError::field(format!("{prefix}.upstream.sealed"), TWO_WAYS));
                }
                if upstream.label.is_some() {
                    return Err(ServiceError::field(format!("{prefix}.upstream.label"), TWO_WAYS));
                }
                let kind = SecretKind::of(upstream.kind()).ok_or_else(|| no_secret(&field))?;
                let (sealed, label) = self.seal_upstream(at, (id, 1), kind, plain, &field).await?;
                (upstream.sealed, upstream.label) = (Some(sealed.to_wire()), Some(label));
            }
            Some(Usage::Caller(caller)) => {
                if caller.sealed.is_some() {
                    return Err(ServiceError::field(format!("{prefix}.caller.sealed"), TWO_WAYS));
                }
                let sealed = self.seal_shared(at, (id, 1), caller, plain, &field).await?;
                caller.sealed = Some(sealed.to_wire());
            }
            None => {
                let what = "is missing: set `caller` or `upstream`";
                return Err(ServiceError::field(format!("{prefix}.usage"), what));
            }
        }
        wire.id = id.to_string();
        Ok(())
    }

    /// Puts the seal of the next secret of an upstream credential in the place of the secret.
    pub(super) async fn seal_replacement(
        &self,
        at: &OrgCaller,
        mut request: wire::ReplaceSecretRequest,
        plain: Plain,
    ) -> Result<wire::ReplaceSecretRequest, ServiceError> {
        let taken = [("sealed", request.sealed.is_some()), ("label", request.label.is_some())];
        if let Some((field, _)) = taken.into_iter().find(|(_, is_there)| *is_there) {
            return Err(ServiceError::field(field, TWO_WAYS));
        }
        let (credential, version) = self.next_version(at, &request.credential, request.version).await?;
        let kind = match &credential.usage {
            Some(Usage::Upstream(upstream)) => SecretKind::of(upstream.kind()),
            Some(Usage::Caller(_)) | None => {
                return Err(ServiceError::field(
                    "credential",
                    "is for callers: `:roll` gives it its next value",
                ));
            }
        };
        let kind = kind.ok_or_else(|| no_secret("plain"))?;
        let (sealed, label) =
            self.seal_upstream(at, (id_of(&credential)?, version), kind, plain, "plain").await?;
        (request.sealed, request.label) = (Some(sealed.to_wire()), Some(label));
        request.version = version;
        Ok(request)
    }

    /// Puts the seal of the next shared secret of a caller credential in the place of the secret.
    pub(super) async fn seal_roll(
        &self,
        at: &OrgCaller,
        mut request: wire::RollCredentialRequest,
        plain: Plain,
    ) -> Result<wire::RollCredentialRequest, ServiceError> {
        if request.sealed.is_some() {
            return Err(ServiceError::field("sealed", TWO_WAYS));
        }
        let (credential, version) = self.next_version(at, &request.credential, request.version).await?;
        let Some(Usage::Caller(caller)) = &credential.usage else {
            return Err(ServiceError::field(
                "credential",
                "is for an upstream: `:replaceSecret` gives it its next secret",
            ));
        };
        let sealed = self.seal_shared(at, (id_of(&credential)?, version), caller, plain, "plain").await?;
        (request.sealed, request.version) = (Some(sealed.to_wire()), version);
        Ok(request)
    }

    /// A credential as it is, and the version that its next secret has. Another write may come first: then the version
    /// is refused where it is written.
    async fn next_version(
        &self,
        at: &OrgCaller,
        reference: &str,
        said: u64,
    ) -> Result<(Credential, u64), ServiceError> {
        let found = show::<Credential>(&self.store, at.scope(), reference, 0).await?;
        let next = found.document.version + 1;
        if said != 0 {
            sealed_for(said, next, &found.row.name)?;
        }
        Ok((found.document, next))
    }

    async fn seal_upstream(
        &self,
        at: &OrgCaller,
        version: (CredentialId, u64),
        kind: SecretKind,
        plain: Plain,
        field: &str,
    ) -> Result<(SealedSecret, fleet::SealLabel), ServiceError> {
        let mut faults = Violations::default();
        let not_after = plain.not_after(&mut faults);
        let destination = self.destination(at, &plain, field, &mut faults).await?;
        let regions = self.regions_for_plain(at, plain.regions(), field).await;
        let placed = plain.placed(kind, &mut faults);
        let made = faults.finish(|| {
            let (origins, ca) = destination?;
            let placed = placed?;
            Some(SecretSpec { value: placed.value, means: placed.means, origins, not_after, ca })
        });
        let spec = made.map_err(|invalid| under(field, &invalid))?;
        spec.usable().map_err(|error| ServiceError::field(field, error.to_string()))?;
        let regions = regions?;
        let regions: Vec<_> = regions.iter().collect();
        let context = self.context(at, version).await?;
        let sealed = SealedSecret::seal(&context, &spec, &regions, &*self.seams.entropy);
        Ok((sealed.map_err(|error| refused(field, &error))?, spec.label()))
    }

    async fn seal_shared(
        &self,
        at: &OrgCaller,
        version: (CredentialId, u64),
        caller: &wire::Caller,
        plain: Plain,
        field: &str,
    ) -> Result<SealedSecret, ServiceError> {
        if !is_shared(caller) {
            let what = "is for upstreams, and for what verifies tokens with a shared secret: other values of callers come as hashes";
            return Err(ServiceError::field(field, what));
        }
        let mut faults = Violations::default();
        let not_after = plain.not_after(&mut faults);
        let regions = self.regions_for_plain(at, plain.regions(), field).await;
        let value = plain.shared(&mut faults);
        if let Some(value) = &value {
            // One that is unknown is a fault of its own.
            let algorithms = caller.jwt_verify.iter().flat_map(|verify| &verify.algorithms);
            let known: Vec<Algorithm> = algorithms.filter_map(|name| Algorithm::of(name)).collect();
            faults.take("value", own_value::shared::check(value.expose(), &known));
        }
        let value: Secret = faults.finish(|| value).map_err(|invalid| under(field, &invalid))?;
        let regions = regions?;
        let regions: Vec<_> = regions.iter().collect();
        let context = self.context(at, version).await?;
        SealedSecret::seal_shared(&context, value, not_after, &regions, &*self.seams.entropy)
            .map_err(|error| refused(field, &error))
    }

    async fn context(
        &self,
        at: &OrgCaller,
        (credential, version): (CredentialId, u64),
    ) -> Result<SealContext, ServiceError> {
        let installation = self.installation().await?.installation;
        let org = at.org.id.parse().map_err(|_| StoreError::Damaged("org"))?;
        Ok(SealContext { installation, org, credential, version })
    }
}

fn id_of(credential: &Credential) -> Result<CredentialId, ServiceError> {
    Ok(credential.id.parse().map_err(|_| StoreError::Damaged("credential"))?)
}

fn no_secret(field: &str) -> ServiceError {
    ServiceError::field(
        field,
        "is of a kind that has no secret, or of none: leave it out, or give another kind",
    )
}

/// A secret that was not sealed. What is wrong with it names places, and no value.
fn refused(field: &str, error: &SealError) -> ServiceError {
    let mut faults = Violations::default();
    match error {
        SealError::Invalid(invalid) => add_under(field, invalid, &mut faults),
        SealError::Region(region) => {
            faults.add(format!("{field}.regions"), format!("hold {region}, whose key takes no seal"));
        }
    }
    match faults.finish(|| None::<std::convert::Infallible>) {
        Ok(never) => match never {},
        Err(invalid) => invalid.into(),
    }
}
