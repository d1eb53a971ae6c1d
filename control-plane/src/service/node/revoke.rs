//! Revokes nodes, and says what each could read.
//!
//! Does not end streams: `publish` does when it hears of it. Does not change the region's key: only who has its key file can.

use std::collections::HashMap;

use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{Credential, NodeToken, Region};

use super::Services;
use crate::authz::Principal;
use crate::document::Part;
use crate::noun::Noun;
use crate::service::draft::restage;
use crate::service::resource::show;
use crate::service::{Caller, ServiceError};
use crate::store::{self, Stored, decision, time_of};

/// How many credentials an answer names.
const NAMED: usize = 100;

impl Services {
    /// Revokes a node for good, or says what that would come to.
    pub(crate) async fn node_revoke(
        &self,
        caller: Caller,
        request: fleet::RevokeNodeRequest,
    ) -> Result<fleet::RevokeNodeResponse, ServiceError> {
        let fleet::RevokeNodeRequest { node, with_token, dry_run } = request;
        let (row, region) = self.operated_node(&caller.principal, &node).await?;
        let mut credentials = self.readable(&caller.principal, &region).await?;
        let credential_count = credentials.len() as u64;
        credentials.truncate(NAMED);
        let revision = if dry_run {
            0
        } else {
            let revision = self.revoke(&caller, &row.id, &row.token, &region, with_token).await?;
            self.publisher.fleet().refresh().await?;
            revision
        };
        let token = self.node_token_show(&caller, &region, &row.token).await?;
        Ok(fleet::RevokeNodeResponse {
            node: Some(self.node_show(&caller.principal, &row.id).await?),
            revision,
            credentials,
            credential_count,
            node_token_live: is_live(&token.document, self.store.now()),
        })
    }

    async fn revoke(
        &self,
        caller: &Caller,
        node: &str,
        token: &str,
        region: &Stored<Region>,
        with_token: bool,
    ) -> Result<u64, ServiceError> {
        let (node, token, region) = (node.to_owned(), token.to_owned(), region.row.clone());
        let scope = caller.clone();
        let written = self.store.write(caller.author(), move |txn| {
            Box::pin(async move {
                let missing = || ServiceError::NotFound { noun: "node", name: node.clone() };
                let row = store::node::by_id(txn, &node).await?.ok_or_else(missing)?;
                if with_token {
                    let found = show::<NodeToken>(txn, scope.installation(), &token, 0).await?;
                    if found.document.revoked_at.is_none() {
                        let revoked_at = Some(time::timestamp(time_of(txn.now())));
                        let name = found.row.id.clone();
                        restage(txn, found.row, NodeToken { revoked_at, ..found.document }, name)?;
                        store::node::token_revoke(txn, &token);
                    }
                }
                if row.revoked_at.is_none() {
                    let words = format!("{}: {node} revoked", region.name);
                    txn.decide(Noun::Region, region, words);
                    decision::revoke(txn, node);
                }
                Ok::<_, ServiceError>(())
            })
        });
        Ok(written.await?.revision.unwrap_or_default())
    }

    /// The credentials whose secrets each node of a region can open. Names are for those who may know them.
    async fn readable(
        &self,
        principal: &Principal,
        region: &Stored<Region>,
    ) -> Result<Vec<fleet::ReadableCredential>, ServiceError> {
        let sealed = store::resource::users_as::<Credential>(
            &self.store,
            Part::SealedTo,
            Noun::Region,
            &region.row.id,
        );
        let orgs = store::resource::all(&self.store, Noun::Org, "").await?;
        let names: HashMap<String, String> = orgs.into_iter().map(|org| (org.id, org.name)).collect();
        let mut readable: Vec<fleet::ReadableCredential> = sealed
            .await?
            .into_iter()
            .map(|(org, credential)| {
                let may_know = principal.operator || principal.role_in(&org).is_some();
                fleet::ReadableCredential {
                    org_name: names.get(&org).filter(|_| may_know).cloned().unwrap_or_default(),
                    credential: credential.id,
                    name: if may_know { credential.name } else { String::new() },
                    org,
                }
            })
            .collect();
        let key = |it: &fleet::ReadableCredential| {
            (it.org_name.clone(), it.org.clone(), it.name.clone(), it.credential.clone())
        };
        readable.sort_by_cached_key(key);
        readable.dedup();
        Ok(readable)
    }
}

/// Whether a node could still join with a token.
fn is_live(token: &NodeToken, now: i64) -> bool {
    let expires = token.expires_at.as_ref().and_then(|at| time::system_time(at).ok());
    token.revoked_at.is_none() && token.used < token.uses && expires.is_some_and(|at| store::micros(at) > now)
}
