//! Targets.

use rr_contract::model::id::TargetId;
use rr_contract::model::origin::{BaseUrl, Scheme};
use rr_contract::wire::{FieldMask, management};

use super::error::Precondition;
use super::{Changed, OrgCaller, Page, PageRequest, Reason, ServiceError, Services, fields};
use crate::compile::{self, Compiled};
use crate::store::{self, Reader, StoreError, proxy::ProxyRow, target_row};

impl Services {
    /// Makes a target.
    pub(crate) async fn target_create(
        &self,
        at: OrgCaller,
        target: Option<management::Target>,
    ) -> Result<Changed<target_row::Model>, ServiceError> {
        let wire = fields::required("target", target)?;
        fields::unset_id("target.id", &wire.id)?;
        fields::same_org("target.org", &wire.org, &at.org)?;
        let row = target_row::Model {
            id: TargetId::from_random(self.random()).to_string(),
            org: at.org.id.clone(),
            name: wire.name,
            base_url: canonical(wire.base_url),
            danger_plaintext: wire.danger_plaintext,
            connect_timeout: fields::duration_row("target.connect_timeout", wire.connect_timeout.as_ref())?,
            response_timeout: fields::duration_row(
                "target.response_timeout",
                wire.response_timeout.as_ref(),
            )?,
            created_at: 0,
            updated_at: 0,
        };
        let compiled = check(&row)?;
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    store::org::lock(txn, &row.org).await?;
                    let row = target_row::Model { created_at: txn.now(), updated_at: txn.now(), ..row };
                    let taken = ServiceError::taken("target", &row.name);
                    store::target::create(txn, row.clone()).await.map_err(taken)?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok::<_, ServiceError>(row)
                })
            })
            .await?;
        Ok(written.into())
    }

    /// By name or id.
    pub(crate) async fn target_show(
        &self,
        at: &OrgCaller,
        reference: &str,
    ) -> Result<target_row::Model, ServiceError> {
        find(&self.store, &at.org.id, reference).await
    }

    /// Of one organization.
    pub(crate) async fn target_list(
        &self,
        at: &OrgCaller,
        page: &PageRequest,
    ) -> Result<Page<target_row::Model>, ServiceError> {
        let rows = store::target::list(&self.store, &at.org.id, &page.after()?, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.name.clone()]))
    }

    /// Changes the fields that the mask names.
    pub(crate) async fn target_update(
        &self,
        at: OrgCaller,
        reference: String,
        target: Option<management::Target>,
        mask: Option<FieldMask>,
    ) -> Result<Changed<target_row::Model>, ServiceError> {
        let wire = fields::required("target", target)?;
        fields::same_org("target.org", &wire.org, &at.org)?;
        let chosen = fields::masked(
            mask,
            &[
                ("base_url", !wire.base_url.is_empty()),
                ("danger_plaintext", wire.danger_plaintext),
                ("connect_timeout", wire.connect_timeout.is_some()),
                ("response_timeout", wire.response_timeout.is_some()),
            ],
        )?;
        let connect = fields::duration_row("target.connect_timeout", wire.connect_timeout.as_ref())?;
        let response = fields::duration_row("target.response_timeout", wire.response_timeout.as_ref())?;
        let org = at.org.id.clone();
        let written = self
            .store
            .write(at.caller.author(), move |txn| {
                Box::pin(async move {
                    store::org::lock(txn, &org).await?;
                    let mut row = find(txn, &org, &reference).await?;
                    for field in chosen {
                        match field {
                            "base_url" => row.base_url = canonical(wire.base_url.clone()),
                            "danger_plaintext" => row.danger_plaintext = wire.danger_plaintext,
                            "connect_timeout" => row.connect_timeout = connect,
                            _ => row.response_timeout = response,
                        }
                    }
                    row.updated_at = txn.now();
                    let compiled = check(&row)?;
                    store::target::update(txn, row.clone()).await?;
                    txn.publish(compiled.key, compiled.payload);
                    Ok::<_, ServiceError>(row)
                })
            })
            .await?;
        Ok(written.into())
    }

    /// Refused while a proxy uses it.
    pub(crate) async fn target_delete(
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
                    let users = store::proxy::using_target(txn, &row.id).await?;
                    if !users.is_empty() {
                        return Err(in_use("target", &row.name, &users));
                    }
                    let compiled = compile::target(&row)?;
                    store::target::delete(txn, &row.id).await.map_err(late_use("target"))?;
                    txn.withdraw(compiled.key);
                    Ok(())
                })
            })
            .await?;
        Ok(written.into())
    }
}

async fn find(db: &impl Reader, org: &str, reference: &str) -> Result<target_row::Model, ServiceError> {
    store::target::by_reference(db, org, reference)
        .await?
        .ok_or_else(|| ServiceError::NotFound { noun: "target", name: reference.to_owned() })
}

/// A base URL as an edge node reads it, so that people see the very host that is called. One that does not
/// parse stays as it is, for the refusal.
fn canonical(text: String) -> String {
    text.parse::<BaseUrl>().map_or(text, |url| url.to_string())
}

fn check(row: &target_row::Model) -> Result<Compiled, ServiceError> {
    let compiled = compile::target(row)?;
    let plain = row.base_url.parse::<BaseUrl>().is_ok_and(|url| url.scheme() == Scheme::Http);
    if plain && !row.danger_plaintext {
        return Err(ServiceError::field(
            "target.base_url",
            "is http: secrets would cross the network in the clear; use https, or set danger_plaintext",
        ));
    }
    Ok(compiled)
}

/// The refusal to delete what proxies use, naming them.
pub(super) fn in_use(noun: &'static str, name: &str, users: &[ProxyRow]) -> ServiceError {
    let names: Vec<&str> = users.iter().map(|user| user.proxy.name.as_str()).collect();
    ServiceError::Refused {
        reason: Reason::InUse,
        text: format!("{noun} {name:?} is used by proxies {}", names.join(", ")),
        preconditions: users
            .iter()
            .map(|user| Precondition {
                subject: format!("proxies/{}", user.proxy.id),
                text: format!("proxy {:?} uses it; change or delete the proxy first", user.proxy.name),
            })
            .collect(),
    }
}

/// A user that came between the look and the deletion.
pub(super) fn late_use(noun: &'static str) -> impl FnOnce(StoreError) -> ServiceError {
    move |error| match error {
        StoreError::Reference(_) => ServiceError::Conflict {
            reason: Reason::Changed,
            text: format!("a proxy began to use the {noun} just now"),
        },
        other => ServiceError::Store(other),
    }
}
