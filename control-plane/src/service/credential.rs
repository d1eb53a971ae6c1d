//! Credentials: keys that we make, and seals that we cannot open.

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::id::CredentialId;
use rr_contract::model::invalid::Violations;
use rr_contract::seal::SealedSecret;
use rr_contract::seam::draw;
use rr_contract::secret::Secret;
use rr_contract::wire::{fleet, management};

use super::error::Precondition;
use super::target::{in_use, late_use};
use super::{Changed, OrgCaller, Page, PageRequest, Reason, ServiceError, Services, fields};
use crate::compile::{self, USAGE_CALLER, USAGE_UPSTREAM, under};
use crate::store::{self, Reader, Txn, credential_row};

/// A credential just made, and the key that is shown once.
pub(crate) struct CreatedCredential {
    pub(crate) row: credential_row::Model,
    pub(crate) key: Option<Secret>,
}

/// What a create call asks for, by use.
struct Draft {
    id: CredentialId,
    usage: i32,
    kind: i32,
    key_hash: Option<Vec<u8>>,
    sealed: Option<SealedSecret>,
    key: Option<Secret>,
}

impl Services {
    /// Makes a caller credential with a key, or takes a sealed upstream credential in.
    pub(crate) async fn credential_create(
        &self,
        at: OrgCaller,
        credential: Option<management::Credential>,
    ) -> Result<Changed<CreatedCredential>, ServiceError> {
        use management::credential::Usage;

        let wire = fields::required("credential", credential)?;
        fields::same_org("credential.org", &wire.org, &at.org)?;
        if wire.version > 1 {
            return Err(ServiceError::field("credential.version", "is 1 when a credential is made"));
        }
        let draft = match &wire.usage {
            Some(Usage::Caller(caller)) => self.draft_caller(&wire.id, caller)?,
            Some(Usage::Upstream(upstream)) => self.draft_upstream(&wire.id, upstream)?,
            None => return Err(ServiceError::field("credential.usage", "is neither caller nor upstream")),
        };
        let row = credential_row::Model {
            id: draft.id.to_string(),
            org: at.org.id.clone(),
            name: wire.name,
            usage: draft.usage,
            kind: draft.kind,
            version: 1,
            not_after: fields::time_row("credential.not_after", wire.not_after.as_ref())?,
            key_hash: draft.key_hash,
            sealed: draft.sealed.as_ref().map(|sealed| sealed.to_wire().encode_to_vec()),
            created_at: 0,
            updated_at: 0,
        };
        let compiled = compile::credential(&row)?;
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    store::org::lock(txn, &row.org).await?;
                    if store::credential::id_is_spent(txn, &row.id).await? {
                        return Err(ServiceError::AlreadyThere { noun: "credential", name: row.id });
                    }
                    if let Some(sealed) = &draft.sealed {
                        known_regions(txn, "credential.upstream.sealed", sealed).await?;
                    }
                    let row = credential_row::Model { created_at: txn.now(), updated_at: txn.now(), ..row };
                    let taken = ServiceError::taken("credential", &row.name);
                    store::credential::create(txn, row.clone()).await.map_err(taken)?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok(CreatedCredential { row, key: draft.key })
                })
            })
            .await?;
        Ok(written.into())
    }

    fn draft_caller(&self, id: &str, caller: &management::Caller) -> Result<Draft, ServiceError> {
        fields::unset_id("credential.id", id)?;
        if caller.kind() != management::CallerKind::ApiKey {
            return Err(ServiceError::field("credential.caller.kind", "is CALLER_KIND_API_KEY"));
        }
        let (key, hash) = api_key::make(KeyKind::Caller, &draw(&*self.seams.entropy));
        Ok(Draft {
            id: CredentialId::from_random(self.random()),
            usage: USAGE_CALLER,
            kind: caller.kind,
            key_hash: Some(hash.as_bytes().to_vec()),
            sealed: None,
            key: Some(key),
        })
    }

    fn draft_upstream(&self, id: &str, upstream: &management::Upstream) -> Result<Draft, ServiceError> {
        let kind = upstream.kind();
        let draft = |id, sealed| Draft {
            id,
            usage: USAGE_UPSTREAM,
            kind: kind.into(),
            key_hash: None,
            sealed,
            key: None,
        };
        let parsed = || {
            id.parse::<CredentialId>()
                .map_err(|error| ServiceError::field("credential.id", error.to_string()))
        };
        match (kind, upstream.sealed.clone()) {
            (management::UpstreamKind::Unspecified, _) => {
                Err(ServiceError::field("credential.upstream.kind", "is missing or not known"))
            }
            (management::UpstreamKind::None, None) if id.is_empty() => {
                Ok(draft(CredentialId::from_random(self.random()), None))
            }
            (management::UpstreamKind::None, None) => Ok(draft(parsed()?, None)),
            (management::UpstreamKind::None, Some(_)) => Err(ServiceError::field(
                "credential.upstream.sealed",
                "is there although the kind is UPSTREAM_KIND_NONE",
            )),
            (_, None) => Err(ServiceError::field(
                "credential.upstream.sealed",
                "is missing: seal the value with `rrctl credential create-upstream`",
            )),
            (_, Some(sealed)) => {
                let sealed = SealedSecret::try_from(sealed)
                    .map_err(|invalid| under("credential.upstream.sealed", &invalid))?;
                Ok(draft(parsed()?, Some(sealed)))
            }
        }
    }

    /// By name or id.
    pub(crate) async fn credential_show(
        &self,
        at: &OrgCaller,
        reference: &str,
    ) -> Result<credential_row::Model, ServiceError> {
        find(&self.store, &at.org.id, reference).await
    }

    /// Of one organization.
    pub(crate) async fn credential_list(
        &self,
        at: &OrgCaller,
        page: &PageRequest,
    ) -> Result<Page<credential_row::Model>, ServiceError> {
        let rows = store::credential::list(&self.store, &at.org.id, &page.after()?, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.name.clone()]))
    }

    /// Gives an upstream credential its next version.
    pub(crate) async fn secret_replace(
        &self,
        at: OrgCaller,
        request: management::ReplaceSecretRequest,
    ) -> Result<Changed<credential_row::Model>, ServiceError> {
        let sealed = fields::required("sealed", request.sealed)?;
        let sealed = SealedSecret::try_from(sealed).map_err(|invalid| under("sealed", &invalid))?;
        let (org, org_name) = (at.org.id.clone(), at.org.name.clone());
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    store::org::lock(txn, &org).await?;
                    let mut row = find(txn, &org, &request.credential).await?;
                    if row.usage != USAGE_UPSTREAM || row.sealed.is_none() {
                        return Err(ServiceError::field("credential", "holds no sealed secret"));
                    }
                    let next = row.version + 1;
                    if i64::try_from(request.version) != Ok(next) {
                        return Err(ServiceError::Conflict {
                            reason: Reason::VersionConflict,
                            text: format!(
                                "credential {:?} is at version {}: seal for version {next}",
                                row.name, row.version
                            ),
                        });
                    }
                    known_regions(txn, "sealed", &sealed).await?;
                    row.version = next;
                    row.sealed = Some(sealed.to_wire().encode_to_vec());
                    row.updated_at = txn.now();
                    keeps_regions(txn, &row, &org_name).await?;
                    let compiled = compile::credential(&row)?;
                    store::credential::update(txn, row.clone()).await?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok(row)
                })
            })
            .await?;
        Ok(written.into())
    }

    /// Refused while a proxy uses it. Its id is never used again.
    pub(crate) async fn credential_delete(
        &self,
        at: OrgCaller,
        reference: String,
    ) -> Result<Changed<()>, ServiceError> {
        let org = at.org.id.clone();
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    store::org::lock(txn, &org).await?;
                    let row = find(txn, &org, &reference).await?;
                    let users = store::proxy::using_credential(txn, &row.id).await?;
                    if !users.is_empty() {
                        return Err(in_use("credential", &row.name, &users));
                    }
                    let compiled = compile::credential(&row)?;
                    store::credential::delete(txn, &row).await.map_err(late_use("credential"))?;
                    txn.withdraw(compiled.key);
                    Ok(())
                })
            })
            .await?;
        Ok(written.into())
    }
}

async fn find(db: &impl Reader, org: &str, reference: &str) -> Result<credential_row::Model, ServiceError> {
    store::credential::by_reference(db, org, reference)
        .await?
        .ok_or_else(|| ServiceError::NotFound { noun: "credential", name: reference.to_owned() })
}

/// Every region that a secret is sealed to is one of ours, at the epoch of its key.
async fn known_regions(txn: &Txn, field: &str, sealed: &SealedSecret) -> Result<(), ServiceError> {
    let wire: fleet::SealedSecret = sealed.to_wire();
    let mut faults = Violations::default();
    for (i, wrap) in wire.wraps.iter().enumerate() {
        match store::region::by_reference(txn, &wrap.region).await? {
            None => faults.add(format!("{field}.wraps[{i}].region"), format!("no region {}", wrap.region)),
            Some(region) => {
                let epoch = region.statement()?.epoch();
                if wrap.epoch != epoch {
                    faults.add(
                        format!("{field}.wraps[{i}].epoch"),
                        format!(
                            "is {} where the key of region {:?} has epoch {epoch}",
                            wrap.epoch, region.name
                        ),
                    );
                }
            }
        }
    }
    Ok(faults.finish(|| Some(()))?)
}

/// A new version opens wherever a proxy uses the credential.
async fn keeps_regions(txn: &Txn, row: &credential_row::Model, org: &str) -> Result<(), ServiceError> {
    let sealed = compile::sealed_regions(row);
    let mut preconditions = Vec::new();
    for user in store::proxy::using_credential(txn, &row.id).await? {
        for region in user.regions.iter().filter(|region| !sealed.contains(region)) {
            preconditions.push(Precondition {
                subject: format!("proxies/{}", user.proxy.id),
                text: format!(
                    "proxy {:?} is served in region {region}, to which it is not sealed",
                    user.proxy.name
                ),
            });
        }
    }
    if preconditions.is_empty() {
        return Ok(());
    }
    Err(ServiceError::Refused {
        reason: Reason::NotSealedToRegion,
        text: format!(
            "the new secret of credential {:?} of {org:?} is not sealed to every region where a proxy uses it",
            row.name
        ),
        preconditions,
    })
}
