//! Proxies: what they bind has to be there, of the right use, and sealed to where it is served.

use rr_contract::model::id::ProxyId;
use rr_contract::model::invalid::Violations;
use rr_contract::wire::{FieldMask, management};

use super::error::Precondition;
use super::{Changed, OrgCaller, Page, PageRequest, Reason, ServiceError, Services, fields};
use crate::compile::{self, Compiled, USAGE_CALLER, USAGE_UPSTREAM};
use crate::store::{self, Reader, Txn, credential_row, org_row, proxy::ProxyRow, proxy_row, region_row};

impl Services {
    /// Makes a proxy.
    pub(crate) async fn proxy_create(
        &self,
        at: OrgCaller,
        proxy: Option<management::Proxy>,
    ) -> Result<Changed<ProxyRow>, ServiceError> {
        let wire = fields::required("proxy", proxy)?;
        fields::unset_id("proxy.id", &wire.id)?;
        fields::same_org("proxy.org", &wire.org, &at.org)?;
        let id = ProxyId::from_random(self.random()).to_string();
        let org = at.org;
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    store::org::lock(txn, &org.id).await?;
                    let row = ProxyRow {
                        proxy: proxy_row::Model {
                            id,
                            org: org.id.clone(),
                            name: wire.name,
                            active: wire.active.unwrap_or(true),
                            target: wire.target,
                            upstream_credential: wire.upstream_credential,
                            created_at: txn.now(),
                            updated_at: txn.now(),
                        },
                        callers: wire.caller_credentials,
                        regions: wire.regions,
                    };
                    let (row, compiled) = resolve(txn, &org, row).await?;
                    let taken = ServiceError::taken("proxy", &row.proxy.name);
                    store::proxy::create(txn, &row).await.map_err(taken)?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok::<_, ServiceError>(row)
                })
            })
            .await?;
        Ok(written.into())
    }

    /// By name or id.
    pub(crate) async fn proxy_show(&self, at: &OrgCaller, reference: &str) -> Result<ProxyRow, ServiceError> {
        find(&self.store, &at.org.id, reference).await
    }

    /// Of one organization.
    pub(crate) async fn proxy_list(
        &self,
        at: &OrgCaller,
        page: &PageRequest,
    ) -> Result<Page<ProxyRow>, ServiceError> {
        let rows = store::proxy::list(&self.store, &at.org.id, &page.after()?, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.proxy.name.clone()]))
    }

    /// Changes the fields that the mask names.
    pub(crate) async fn proxy_update(
        &self,
        at: OrgCaller,
        reference: String,
        proxy: Option<management::Proxy>,
        mask: Option<FieldMask>,
    ) -> Result<Changed<ProxyRow>, ServiceError> {
        let wire = fields::required("proxy", proxy)?;
        fields::same_org("proxy.org", &wire.org, &at.org)?;
        let chosen = fields::masked(
            mask,
            &[
                ("active", wire.active.is_some()),
                ("caller_credentials", !wire.caller_credentials.is_empty()),
                ("target", !wire.target.is_empty()),
                ("upstream_credential", !wire.upstream_credential.is_empty()),
                ("regions", !wire.regions.is_empty()),
            ],
        )?;
        // Unset means on when a proxy is made; a change has to say which.
        if chosen.contains("active") && wire.active.is_none() {
            return Err(ServiceError::field("proxy.active", "is named by the mask and not said"));
        }
        let org = at.org;
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    store::org::lock(txn, &org.id).await?;
                    let mut row = find(txn, &org.id, &reference).await?;
                    for field in chosen {
                        match field {
                            "active" => row.proxy.active = wire.active.unwrap_or(row.proxy.active),
                            "caller_credentials" => row.callers.clone_from(&wire.caller_credentials),
                            "target" => row.proxy.target.clone_from(&wire.target),
                            "upstream_credential" => {
                                row.proxy.upstream_credential.clone_from(&wire.upstream_credential);
                            }
                            _ => row.regions.clone_from(&wire.regions),
                        }
                    }
                    row.proxy.updated_at = txn.now();
                    let (row, compiled) = resolve(txn, &org, row).await?;
                    store::proxy::update(txn, &row).await?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok::<_, ServiceError>(row)
                })
            })
            .await?;
        Ok(written.into())
    }

    /// Takes a proxy away.
    pub(crate) async fn proxy_delete(
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
                    let compiled = compile::proxy(&row)?;
                    store::proxy::delete(txn, &row.proxy.id).await?;
                    txn.withdraw(compiled.key);
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        Ok(written.into())
    }

    /// Where callers reach a proxy, for the regions that say where their edge is.
    pub(crate) async fn proxy_urls(
        &self,
        org: &org_row::Model,
        rows: &[ProxyRow],
    ) -> Result<Vec<Vec<String>>, ServiceError> {
        let regions = store::region::all(&self.store).await?;
        let url = |row: &ProxyRow, id: &String| {
            let region = regions.iter().find(|region| region.id == *id && !region.base_url.is_empty())?;
            Some(format!("{}/api/{}.{}", region.base_url, org.name, row.proxy.name))
        };
        Ok(rows.iter().map(|row| row.regions.iter().filter_map(|id| url(row, id)).collect()).collect())
    }
}

async fn find(db: &impl Reader, org: &str, reference: &str) -> Result<ProxyRow, ServiceError> {
    store::proxy::by_reference(db, org, reference)
        .await?
        .ok_or_else(|| ServiceError::NotFound { noun: "proxy", name: reference.to_owned() })
}

/// Turns names into ids, checks what they name, and compiles.
async fn resolve(
    txn: &Txn,
    org: &org_row::Model,
    mut row: ProxyRow,
) -> Result<(ProxyRow, Compiled), ServiceError> {
    let mut faults = Violations::default();
    for (i, reference) in row.callers.iter_mut().enumerate() {
        let field = format!("proxy.caller_credentials[{i}]");
        match store::credential::by_reference(txn, &org.id, reference).await? {
            Some(found) if found.usage == USAGE_CALLER => *reference = found.id,
            Some(_) => faults
                .add(field, format!("{reference:?} is an upstream credential; callers need caller ones")),
            None => faults.add(field, format!("no credential {reference:?}")),
        }
    }
    match store::target::by_reference(txn, &org.id, &row.proxy.target).await? {
        Some(found) => row.proxy.target = found.id,
        None => faults.add("proxy.target", format!("no target {:?}", row.proxy.target)),
    }
    let upstream = store::credential::by_reference(txn, &org.id, &row.proxy.upstream_credential).await?;
    match &upstream {
        Some(found) if found.usage == USAGE_UPSTREAM => row.proxy.upstream_credential.clone_from(&found.id),
        Some(found) => faults.add(
            "proxy.upstream_credential",
            format!("{:?} is a caller credential; what is injected is an upstream one", found.name),
        ),
        None => faults.add(
            "proxy.upstream_credential",
            format!(
                "no credential {:?}; an open upstream needs one of kind NONE",
                row.proxy.upstream_credential
            ),
        ),
    }
    let mut regions = Vec::with_capacity(row.regions.len());
    for (i, reference) in row.regions.iter_mut().enumerate() {
        match store::region::by_reference(txn, reference).await? {
            Some(found) => {
                reference.clone_from(&found.id);
                regions.push(found);
            }
            None => faults.add(format!("proxy.regions[{i}]"), format!("no region {reference:?}")),
        }
    }
    faults.finish(|| Some(()))?;
    // Before the seal is looked at: it finds doubles, and lists that are empty or too long.
    let compiled = compile::proxy(&row)?;
    if let Some(upstream) = upstream {
        sealed_everywhere(org, &upstream, &regions)?;
    }
    Ok((row, compiled))
}

fn sealed_everywhere(
    org: &org_row::Model,
    upstream: &credential_row::Model,
    regions: &[region_row::Model],
) -> Result<(), ServiceError> {
    if compile::is_open(upstream) {
        return Ok(());
    }
    let sealed = compile::sealed_regions(upstream);
    let missing: Vec<&region_row::Model> =
        regions.iter().filter(|region| !sealed.contains(&region.id)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let remedy = |region: &region_row::Model| {
        format!(
            "`rrctl --org {} credential replace-secret {}` for region {} too",
            org.name, upstream.name, region.name
        )
    };
    let names: Vec<&str> = missing.iter().map(|region| region.name.as_str()).collect();
    Err(ServiceError::Refused {
        reason: Reason::NotSealedToRegion,
        text: format!(
            "credential {:?} is not sealed to region {}; seal it anew with {}",
            upstream.name,
            names.join(", "),
            missing.iter().map(|region| remedy(region)).collect::<Vec<_>>().join(", and ")
        ),
        preconditions: missing
            .iter()
            .map(|region| Precondition {
                subject: format!("credentials/{}", upstream.id),
                text: format!(
                    "credential {:?} is not sealed to region {:?}; run: {}",
                    upstream.name,
                    region.name,
                    remedy(region)
                ),
            })
            .collect(),
    })
}
