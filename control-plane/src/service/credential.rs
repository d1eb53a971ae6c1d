//! Credentials: made with a key, with the hash of a value, or with a secret that is sealed, elsewhere or as it came.

use rr_contract::model::id::CredentialId;
use rr_contract::model::invalid::{Invalid, Violations};
use rr_contract::model::name::Name;
use rr_contract::model::time;
use rr_contract::seal::SealedSecret;
use rr_contract::secret::Secret;
use rr_contract::wire::management::{self as wire, Credential, credential::Usage};

use super::caller_certificate;
use super::caller_value::{CreatedCredential, Given, NewValue, is_nobodys, one_is_live, overlap};
use super::draft::{Draft, stage};
use super::etag::shown;
use super::plain_secret::Plain;
use super::resource::show;
use super::scope::live_org;
use super::sealed_value::{check_label, keeps_regions, known_regions, regions_of, sealed_for, sealed_row};
use super::{OrgCaller, ServiceError, Services, fields, rights};
use crate::compile::under;
use crate::document::{Resource as _, check_owner};
use crate::noun::Noun;
use crate::store::{self, Stored, Written, secret_row, time_of};

/// A credential's secret on its way in.
pub(super) struct NewSecret {
    pub(super) row: Option<secret_row::Model>,
    pub(super) key: Option<Secret>,
}

impl Services {
    /// Makes a caller credential, with a key or the hash of a value, or takes a sealed upstream credential in. A secret that
    /// came in the clear is sealed first.
    pub(crate) async fn credential_create(
        &self,
        at: OrgCaller,
        credential: Option<Credential>,
        plain: Option<Plain>,
    ) -> Result<Written<CreatedCredential>, ServiceError> {
        let mut wire = fields::required("credential", credential)?;
        fields::same_org("credential.org", &wire.org, &at.org)?;
        wire.org.clone_from(&at.org.id);
        if wire.version > 1 {
            return Err(ServiceError::field("credential.version", "must be 1 when a credential is created"));
        }
        wire.version = 1;
        if let Some(plain) = plain {
            match self.seal_created(&at, &mut wire, plain, "credential").await {
                Err(ServiceError::Invalid(invalid)) => return Err(all_faults(&wire, &invalid)),
                sealed => sealed?,
            }
        }
        let NewSecret { row, key } = match self.take_secret(&mut wire, "credential") {
            // Other faults of the message are reported with it.
            Err(ServiceError::Invalid(invalid)) => return Err(all_faults(&wire, &invalid)),
            taken => taken?,
        };
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let spent = store::secret::spent(txn, std::slice::from_ref(&wire.id)).await?;
                    if !spent.is_empty() {
                        return Err(ServiceError::IdSpent(wire.id));
                    }
                    let sealed = match wire.usage {
                        Some(Usage::Caller(_)) => "credential.caller.sealed",
                        _ => "credential.upstream.sealed",
                    };
                    known_regions(txn, sealed, &org.id, row.as_ref()).await?;
                    if key.is_none()
                        && let Some(hash) = row.as_ref().and_then(|row| row.key_hash.clone())
                    {
                        let field = format!("credential.{}", caller_certificate::field_of(&wire));
                        is_nobodys(txn, &org.id, &[(hash, &field)]).await?;
                    }
                    let draft = Draft { wire, secret: row.clone(), before: None };
                    let mut stored = stage(txn, at.scope(), Some(&org.document), draft).await?;
                    rights::may_make(&at, &mut stored)?;
                    store::secret::put(txn, row.into_iter().collect());
                    Ok::<_, ServiceError>(CreatedCredential { stored, key })
                })
            })
            .await?;
        Ok(written)
    }

    /// Credentials as they are now, as callers see them: with when they were used last.
    pub(crate) async fn credentials_shown(
        &self,
        credentials: Vec<Stored<Credential>>,
    ) -> Result<Vec<Credential>, ServiceError> {
        let ids: Vec<&str> = credentials.iter().map(|credential| credential.row.id.as_str()).collect();
        let used = store::caller_use::of_all(&self.store, &ids).await?;
        let complete = |stored: Stored<Credential>| {
            let last = used.get(&stored.row.id).map(|at| time::timestamp(time_of(*at)));
            Credential { last_used_at: last, ..shown(stored) }
        };
        Ok(credentials.into_iter().map(complete).collect())
    }

    /// Takes the secret of a credential that is about to be made out of its message, or makes one.
    pub(super) fn take_secret(&self, wire: &mut Credential, prefix: &str) -> Result<NewSecret, ServiceError> {
        let mut own = Violations::default();
        wire.check_written(None, &mut own);
        own.finish(|| Some(())).map_err(|invalid| under(prefix, &invalid))?;
        match &mut wire.usage {
            Some(Usage::Caller(caller)) => {
                let sealed = caller.sealed.take();
                caller.sealed_regions.clear();
                if sealed.is_none() && !wire.id.is_empty() {
                    return Err(ServiceError::field(
                        format!("{prefix}.id"),
                        "is set by the control plane: leave it empty",
                    ));
                }
                if sealed.is_none() {
                    wire.id = CredentialId::from_random(self.random()).to_string();
                }
                let given = Given::out_of(caller);
                (caller.rolled_at, caller.previous_not_after) = (None, None);
                if !caller.username.is_empty() && caller.kind() != wire::CallerKind::Basic {
                    return Err(ServiceError::field(
                        format!("{prefix}.caller.username"),
                        "must be empty: only the kind BASIC has a user",
                    ));
                }
                let of_caller = format!("{prefix}.caller.");
                if let Some(sealed) = sealed {
                    if caller.kind() != wire::CallerKind::JwtVerify {
                        return Err(ServiceError::field(
                            format!("{of_caller}sealed"),
                            "must be unset: only the kind JWT_VERIFY has a secret that is shared",
                        ));
                    }
                    self.new_value(caller.kind(), &given, &of_caller)?;
                    parsed(&wire.id, prefix)?;
                    let sealed = SealedSecret::try_from(sealed)
                        .map_err(|invalid| under(&format!("{of_caller}sealed"), &invalid))?;
                    caller.sealed_regions = regions_of(&sealed);
                    return Ok(NewSecret { row: Some(sealed_row(&wire.id, 1, &sealed)), key: None });
                }
                let value = match caller_certificate::take(caller, &given.value_hash, &of_caller)? {
                    Some(hash) => Some(NewValue { key: None, hash }),
                    None => self.new_value(caller.kind(), &given, &of_caller)?,
                };
                let Some(NewValue { key, hash }) = value else {
                    return Ok(NewSecret { row: None, key: None });
                };
                let row = secret_row::Model {
                    credential: wire.id.clone(),
                    version: 1,
                    sealed: None,
                    key_hash: Some(hash),
                    previous_hash: None,
                    previous_sealed: None,
                };
                Ok(NewSecret { row: Some(row), key })
            }
            Some(Usage::Upstream(upstream)) => {
                let sealed = upstream.sealed.take();
                upstream.sealed_regions.clear();
                upstream.previous_not_after = None;
                let field = |name: &str| format!("{prefix}.upstream.{name}");
                match (upstream.kind(), sealed) {
                    (wire::UpstreamKind::Unspecified, _) => {
                        Err(ServiceError::field(field("kind"), "is missing or not known"))
                    }
                    (wire::UpstreamKind::None, None) => {
                        upstream.label = None;
                        if wire.id.is_empty() {
                            wire.id = CredentialId::from_random(self.random()).to_string();
                        }
                        parsed(&wire.id, prefix)?;
                        Ok(NewSecret { row: None, key: None })
                    }
                    (wire::UpstreamKind::None, Some(_)) => Err(ServiceError::field(
                        field("sealed"),
                        "must be unset when the kind is UPSTREAM_KIND_NONE",
                    )),
                    (_, None) => Err(ServiceError::field(
                        field("sealed"),
                        "is missing: seal the value with `rrctl credential create-upstream`, or send it in `plain`",
                    )),
                    (_, Some(sealed)) => {
                        parsed(&wire.id, prefix)?;
                        let sealed = SealedSecret::try_from(sealed)
                            .map_err(|invalid| under(&field("sealed"), &invalid))?;
                        let mut faults = Violations::default();
                        check_label(upstream.label.as_ref(), &field("label"), &mut faults);
                        faults.finish(|| Some(()))?;
                        upstream.sealed_regions = regions_of(&sealed);
                        Ok(NewSecret { row: Some(sealed_row(&wire.id, 1, &sealed)), key: None })
                    }
                }
            }
            None => {
                Err(ServiceError::field(format!("{prefix}.usage"), "is missing: set `caller` or `upstream`"))
            }
        }
    }

    /// Gives an upstream credential its next version.
    pub(crate) async fn secret_replace(
        &self,
        at: OrgCaller,
        request: wire::ReplaceSecretRequest,
        plain: Option<Plain>,
    ) -> Result<Written<Stored<Credential>>, ServiceError> {
        let overlap = overlap(request.overlap.as_ref())?;
        let request = match plain {
            Some(plain) => self.seal_replacement(&at, request, plain).await?,
            None => request,
        };
        let sealed = fields::required("sealed", request.sealed)?;
        let sealed = SealedSecret::try_from(sealed).map_err(|invalid| under("sealed", &invalid))?;
        let mut faults = Violations::default();
        check_label(request.label.as_ref(), "label", &mut faults);
        faults.finish(|| Some(()))?;
        let written = self
            .store
            .write(at.author(), move |txn| {
                Box::pin(async move {
                    let org = live_org(txn, &at.org.id).await?;
                    let mut found = show::<Credential>(txn, at.scope(), &request.credential, 0).await?;
                    rights::may_change(
                        &at.caller.principal,
                        Some(&org.document),
                        Noun::Credential,
                        &found.row,
                    )?;
                    let Some(Usage::Upstream(upstream)) = &mut found.document.usage else {
                        return Err(ServiceError::field(
                            "credential",
                            "is for callers: `rrctl credential roll` gives it its next value",
                        ));
                    };
                    if upstream.kind() == wire::UpstreamKind::None {
                        return Err(ServiceError::field(
                            "credential",
                            "has no sealed secret that could be replaced",
                        ));
                    }
                    let next = found.document.version + 1;
                    sealed_for(request.version, next, &found.row.name)?;
                    let now = time_of(txn.now());
                    one_is_live(&found.row.name, upstream.previous_not_after.as_ref(), overlap, now)?;
                    let before = match overlap.is_zero() {
                        true => None,
                        false => store::secret::of(txn, &found.row.id).await?.and_then(|row| row.sealed),
                    };
                    upstream.previous_not_after = before.as_ref().map(|_| time::timestamp(now + overlap));
                    (upstream.label, upstream.sealed_regions) = (request.label, regions_of(&sealed));
                    keeps_regions(txn, &found.row.id, &found.row.name, &upstream.sealed_regions, &org.name)
                        .await?;
                    let row = sealed_row(&found.row.id, next, &sealed);
                    let row = secret_row::Model { previous_sealed: before, ..row };
                    known_regions(txn, "sealed", &org.id, Some(&row)).await?;
                    found.document.version = next;
                    let draft =
                        Draft { wire: found.document, secret: Some(row.clone()), before: Some(found.row) };
                    let stored = stage(txn, at.scope(), Some(&org.document), draft).await?;
                    store::secret::put(txn, vec![row]);
                    Ok(stored)
                })
            })
            .await?;
        Ok(written)
    }
}

/// The faults of a secret, with those of the name and the owner.
fn all_faults(wire: &Credential, secret: &Invalid) -> ServiceError {
    let mut faults = Violations::default();
    faults.take("credential.name", wire.name.parse::<Name>());
    check_owner(&wire.owner, "credential.owner", &mut faults);
    for violation in secret.violations() {
        faults.add(violation.field.clone(), violation.reason.clone());
    }
    match faults.finish(|| None::<std::convert::Infallible>) {
        Ok(never) => match never {},
        Err(invalid) => invalid.into(),
    }
}

fn parsed(id: &str, prefix: &str) -> Result<(), ServiceError> {
    id.parse::<CredentialId>()
        .map(|_| ())
        .map_err(|error| ServiceError::field(format!("{prefix}.id"), error.to_string()))
}
