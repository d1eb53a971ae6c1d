//! Node tokens: statements that a region signed. The secret never comes here.

use rr_contract::model::time;
use rr_contract::seal::node_token::NodeTokenStatement;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{NodeToken, Region};

use super::draft::{Draft, restage, stage};
use super::etag::same_etag;
use super::resource::{ListRequest, show};
use super::{Caller, Page, ServiceError, Services, fields};
use crate::compile::under;
use crate::store::{self, Stored, Written, micros, node::NodeTokenEntry, time_of};

impl Services {
    /// Registers a token.
    pub(crate) async fn node_token_create(
        &self,
        caller: Caller,
        region: &Stored<Region>,
        statement: Option<fleet::NodeTokenStatement>,
    ) -> Result<Written<Stored<NodeToken>>, ServiceError> {
        let statement = fields::required("statement", statement)?;
        let key = super::region::statement(&region.document)?;
        let statement =
            NodeTokenStatement::parse(statement, &key).map_err(|invalid| under("statement", &invalid))?;
        if statement.expires_at() <= self.seams.clock.now() {
            return Err(ServiceError::field("statement.expires_at", "is in the past"));
        }
        let expires_at = micros(statement.expires_at());
        let entry = NodeTokenEntry {
            id: statement.id().to_string(),
            region: region.row.id.clone(),
            statement: statement.to_wire(),
        };
        let wire = NodeToken {
            id: entry.id.clone(),
            region: entry.region.clone(),
            uses: entry.statement.uses,
            expires_at: Some(time::timestamp(time_of(expires_at))),
            ..Default::default()
        };
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let draft = Draft { wire, secret: None, before: None };
                    let stored = stage(txn, caller.installation(), None, draft).await?;
                    store::node::token_create(txn, &entry, expires_at);
                    Ok::<_, ServiceError>(stored)
                })
            })
            .await?;
        Ok(written)
    }

    /// By id, in a region.
    pub(crate) async fn node_token_show(
        &self,
        caller: &Caller,
        region: &Stored<Region>,
        id: &str,
    ) -> Result<Stored<NodeToken>, ServiceError> {
        let found = show::<NodeToken>(&self.store, caller.installation(), id, 0).await?;
        let mut found = in_region(found, region, id)?;
        self.count_uses(std::slice::from_mut(&mut found)).await?;
        Ok(found)
    }

    /// Of one region.
    pub(crate) async fn node_token_list(
        &self,
        caller: &Caller,
        region: &Stored<Region>,
        request: ListRequest,
    ) -> Result<Page<Stored<NodeToken>>, ServiceError> {
        let uses = format!("uses = {}", region.row.id);
        let request = ListRequest { filter: uses, ..request };
        let mut page = self.list_in(caller.installation(), request, None).await?;
        self.count_uses(&mut page.items).await?;
        Ok(page)
    }

    /// Revokes a token. Nodes that joined with it stay.
    pub(crate) async fn node_token_revoke(
        &self,
        caller: Caller,
        region: Stored<Region>,
        id: String,
        etag: String,
    ) -> Result<Written<()>, ServiceError> {
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let found = show::<NodeToken>(txn, caller.installation(), &id, 0).await?;
                    let found = in_region(found, &region, &id)?;
                    same_etag(&found, &etag)?;
                    if found.document.revoked_at.is_some() {
                        return Ok(());
                    }
                    let revoked_at = Some(time::timestamp(time_of(txn.now())));
                    let name = found.row.id.clone();
                    restage(txn, found.row, NodeToken { revoked_at, ..found.document }, name)?;
                    store::node::token_revoke(txn, &id);
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        Ok(written)
    }

    /// How often each was used is no part of its document.
    async fn count_uses(&self, tokens: &mut [Stored<NodeToken>]) -> Result<(), ServiceError> {
        let ids: Vec<String> = tokens.iter().map(|token| token.row.id.clone()).collect();
        let used = store::node::tokens_used(&self.store, &ids).await?;
        for token in tokens {
            let count = used.get(&token.row.id).copied().unwrap_or_default();
            token.document.used = u32::try_from(count).unwrap_or_default();
        }
        Ok(())
    }
}

fn in_region(
    found: Stored<NodeToken>,
    region: &Stored<Region>,
    id: &str,
) -> Result<Stored<NodeToken>, ServiceError> {
    if found.document.region == region.row.id {
        return Ok(found);
    }
    Err(ServiceError::NotFound { noun: "node token", name: id.to_owned() })
}
