//! Proxies with their callers and regions.

use std::collections::HashMap;

use rr_contract::model::id::ProxyId;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use super::entity::proxy::{Column, Entity, Model};
use super::entity::{proxy_caller, proxy_home, proxy_region};
use super::row::{self, Reader};
use super::{StoreError, Txn};

/// A proxy and its lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyRow {
    /// The row itself.
    pub(crate) proxy: Model,
    /// Caller credential ids, in the order given.
    pub(crate) callers: Vec<String>,
    /// Region ids, in the order given.
    pub(crate) regions: Vec<String>,
}

/// By name or id, in an organization.
pub(crate) async fn by_reference(
    db: &impl Reader,
    org: &str,
    reference: &str,
) -> Result<Option<ProxyRow>, StoreError> {
    let column = if reference.starts_with(ProxyId::PREFIX) { Column::Id } else { Column::Name };
    let proxy = Entity::find()
        .filter(Column::Org.eq(org))
        .filter(column.eq(reference))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read proxy"))?;
    Ok(with_lists(db, proxy.into_iter().collect()).await?.pop())
}

/// In the order of names, behind `after`.
pub(crate) async fn list(
    db: &impl Reader,
    org: &str,
    after: &str,
    limit: u64,
) -> Result<Vec<ProxyRow>, StoreError> {
    let proxies = Entity::find()
        .filter(Column::Org.eq(org))
        .filter(Column::Name.gt(after))
        .order_by_asc(Column::Name)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list proxies"))?;
    with_lists(db, proxies).await
}

/// Those that use a target, in the order of names.
pub(crate) async fn using_target(db: &impl Reader, target: &str) -> Result<Vec<ProxyRow>, StoreError> {
    let proxies = Entity::find()
        .filter(Column::Target.eq(target))
        .order_by_asc(Column::Name)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("find users of target"))?;
    with_lists(db, proxies).await
}

/// Those that use a credential either way, in the order of names.
pub(crate) async fn using_credential(
    db: &impl Reader,
    credential: &str,
) -> Result<Vec<ProxyRow>, StoreError> {
    let failed = || StoreError::statement("find users of credential");
    let called: Vec<String> = proxy_caller::Entity::find()
        .filter(proxy_caller::Column::Credential.eq(credential))
        .all(db.conn())
        .await
        .map_err(failed())?
        .into_iter()
        .map(|link| link.proxy)
        .collect();
    let proxies = Entity::find()
        .filter(Condition::any().add(Column::UpstreamCredential.eq(credential)).add(Column::Id.is_in(called)))
        .order_by_asc(Column::Name)
        .all(db.conn())
        .await
        .map_err(failed())?;
    with_lists(db, proxies).await
}

async fn with_lists(db: &impl Reader, proxies: Vec<Model>) -> Result<Vec<ProxyRow>, StoreError> {
    if proxies.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = proxies.iter().map(|proxy| proxy.id.clone()).collect();
    let callers = proxy_caller::Entity::find()
        .filter(proxy_caller::Column::Proxy.is_in(ids.clone()))
        .order_by_asc(proxy_caller::Column::Position)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read callers of proxies"))?;
    let regions = proxy_region::Entity::find()
        .filter(proxy_region::Column::Proxy.is_in(ids))
        .order_by_asc(proxy_region::Column::Position)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read regions of proxies"))?;
    let mut callers_of: HashMap<String, Vec<String>> = HashMap::new();
    for link in callers {
        callers_of.entry(link.proxy).or_default().push(link.credential);
    }
    let mut regions_of: HashMap<String, Vec<String>> = HashMap::new();
    for link in regions {
        regions_of.entry(link.proxy).or_default().push(link.region);
    }
    Ok(proxies
        .into_iter()
        .map(|proxy| ProxyRow {
            callers: callers_of.remove(&proxy.id).unwrap_or_default(),
            regions: regions_of.remove(&proxy.id).unwrap_or_default(),
            proxy,
        })
        .collect())
}

/// A new one.
pub(crate) async fn create(txn: &Txn, row: &ProxyRow) -> Result<(), StoreError> {
    row::insert(txn, row.proxy.clone(), "write proxy").await?;
    put_lists(txn, row).await
}

/// One that is there; its lists are replaced.
pub(crate) async fn update(txn: &Txn, row: &ProxyRow) -> Result<(), StoreError> {
    row::update(txn, row.proxy.clone(), "write proxy").await?;
    let failed = || StoreError::statement("replace lists of proxy");
    proxy_caller::Entity::delete_many()
        .filter(proxy_caller::Column::Proxy.eq(&row.proxy.id))
        .exec(txn.tx())
        .await
        .map_err(failed())?;
    proxy_region::Entity::delete_many()
        .filter(proxy_region::Column::Proxy.eq(&row.proxy.id))
        .exec(txn.tx())
        .await
        .map_err(failed())?;
    put_lists(txn, row).await
}

/// Takes it away. What tells which region it was served in stays.
pub(crate) async fn delete(txn: &Txn, id: &str) -> Result<(), StoreError> {
    Entity::delete_by_id(id).exec(txn.tx()).await.map_err(StoreError::statement("delete proxy"))?;
    Ok(())
}

async fn put_lists(txn: &Txn, row: &ProxyRow) -> Result<(), StoreError> {
    let proxy = &row.proxy.id;
    proxy_caller::Entity::insert_many((0..).zip(&row.callers).map(|(position, credential)| {
        proxy_caller::ActiveModel {
            proxy: Set(proxy.clone()),
            credential: Set(credential.clone()),
            position: Set(position),
        }
    }))
    .exec_without_returning(txn.tx())
    .await
    .map_err(StoreError::statement("write callers of proxy"))?;
    proxy_region::Entity::insert_many((0..).zip(&row.regions).map(|(position, region)| {
        proxy_region::ActiveModel {
            proxy: Set(proxy.clone()),
            region: Set(region.clone()),
            position: Set(position),
        }
    }))
    .exec_without_returning(txn.tx())
    .await
    .map_err(StoreError::statement("write regions of proxy"))?;
    proxy_home::Entity::insert_many(row.regions.iter().map(|region| proxy_home::ActiveModel {
        proxy: Set(proxy.clone()),
        region: Set(region.clone()),
        org: Set(row.proxy.org.clone()),
    }))
    .on_conflict(
        OnConflict::columns([proxy_home::Column::Proxy, proxy_home::Column::Region]).do_nothing().to_owned(),
    )
    .exec_without_returning(txn.tx())
    .await
    .map_err(StoreError::statement("write homes of proxy"))?;
    Ok(())
}
