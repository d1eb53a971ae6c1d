//! Names in the place of ids: a table shows what people typed.
//!
//! The API answers ids, and JSON keeps them. What a narrowed token may not see keeps its id in tables too.

mod reference;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use rr_contract::wire::management::user_service_client::UserServiceClient;
use tonic::Code;

use self::reference::{Kind, References};
use super::{lists, target, user};
use crate::connect::Connection;
use crate::flags::page::Listing;
use crate::print::Printer;

/// Up to how many resources of a kind are asked for one by one.
const FEW: usize = 8;

/// Names by id, and which credentials are upstream credentials.
#[derive(Default)]
pub(super) struct Names {
    names: BTreeMap<String, String>,
    upstream: BTreeSet<String>,
}

/// Resources with names for what they refer to; as they are where the output is data.
pub(super) async fn of<T: References>(
    print: Printer,
    connection: &Connection,
    org: &str,
    mut items: Vec<T>,
) -> Result<Vec<T>> {
    if !print.is_data() {
        let names = Names::find(connection, org, &mut items).await?;
        items.iter_mut().for_each(|item| names.put(item));
    }
    Ok(items)
}

/// The same of one.
pub(super) async fn of_one<T: References + Default>(
    print: Printer,
    connection: &Connection,
    org: &str,
    item: Option<T>,
) -> Result<T> {
    let found = of(print, connection, org, item.into_iter().collect()).await?;
    Ok(found.into_iter().next().unwrap_or_default())
}

impl Names {
    /// The names of what these refer to.
    pub(super) async fn find<T: References>(
        connection: &Connection,
        org: &str,
        items: &mut [T],
    ) -> Result<Self> {
        let mut ids: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
        for item in items {
            item.each(|kind, id| {
                if id.is_empty() {
                    return;
                }
                ids.entry(kind).or_default().insert(id.clone());
            });
        }
        let mut found = Self::default();
        for (kind, ids) in ids {
            match found.ask(connection, org, kind, &ids).await {
                Err(error) if is_denied(&error) => {}
                asked => asked?,
            }
        }
        Ok(found)
    }

    /// Asks for each of a few, and for all where there are more.
    async fn ask(
        &mut self,
        connection: &Connection,
        org: &str,
        kind: Kind,
        ids: &BTreeSet<String>,
    ) -> Result<()> {
        let all = Listing::default();
        let few = ids.len() <= FEW && kind != Kind::Region && kind != Kind::Org;
        for id in ids.iter().filter(|_| few) {
            let (org, id) = (org.to_owned(), id.clone());
            match kind {
                Kind::Proxy => {
                    let ask = mg::GetProxyRequest { org, proxy: id, revision: 0 };
                    let one = seen(ProxyServiceClient::new(connection.clone()).get_proxy(ask).await)?;
                    self.learn(one.and_then(|reply| reply.proxy).map(|one| (one.id, one.name)));
                }
                Kind::Target => {
                    let ask = mg::GetTargetRequest { org, target: id, revision: 0 };
                    let one = seen(TargetServiceClient::new(connection.clone()).get_target(ask).await)?;
                    self.learn(one.and_then(|reply| reply.target).map(|one| (one.id, one.name)));
                }
                Kind::Credential => {
                    let ask = mg::GetCredentialRequest { org, credential: id, revision: 0 };
                    let one =
                        seen(CredentialServiceClient::new(connection.clone()).get_credential(ask).await)?;
                    self.learn_credentials(one.and_then(|reply| reply.credential));
                }
                Kind::Token => {
                    let ask = mg::GetTokenRequest { token: id };
                    let one = seen(TokenServiceClient::new(connection.clone()).get_token(ask).await)?;
                    self.learn(one.and_then(|reply| reply.token).map(|one| (one.id, one.name)));
                }
                Kind::User => {
                    let ask = mg::GetUserRequest { user: id };
                    let one = seen(UserServiceClient::new(connection.clone()).get_user(ask).await)?;
                    self.learn(one.and_then(|reply| reply.user).map(|one| (one.id, one.name)));
                }
                Kind::Region | Kind::Org => {}
            }
        }
        if few {
            return Ok(());
        }
        match kind {
            Kind::Proxy => {
                let mut stub = ProxyServiceClient::new(connection.clone());
                let found = all.all(async |page_size, page_token| {
                    let org = org.to_owned();
                    let ask = mg::ListProxiesRequest { org, page_size, page_token, ..Default::default() };
                    let reply = stub.list_proxies(ask).await?.into_inner();
                    Ok((reply.proxies, reply.next_page_token))
                });
                self.learn(found.await?.into_iter().map(|one| (one.id, one.name)));
            }
            Kind::Target => {
                let all = target::list(connection.clone(), org, &all).await?;
                self.learn(all.into_iter().map(|one| (one.id, one.name)));
            }
            Kind::Credential => {
                self.learn_credentials(lists::credentials(connection.clone(), org, &all).await?)
            }
            Kind::Org => {
                let mut stub = OrgServiceClient::new(connection.clone());
                let found = all.all(async |page_size, page_token| {
                    let ask = mg::ListOrgsRequest { page_size, page_token, ..Default::default() };
                    let reply = stub.list_orgs(ask).await?.into_inner();
                    Ok((reply.orgs, reply.next_page_token))
                });
                self.learn(found.await?.into_iter().map(|one| (one.id, one.name)));
            }
            Kind::Region => {
                let all = lists::regions(connection.clone(), &all).await?;
                self.learn(all.into_iter().map(|one| (one.id, one.name)));
            }
            Kind::Token => {
                let all = lists::tokens(connection.clone()).await?;
                self.learn(all.into_iter().map(|one| (one.id, one.name)));
            }
            Kind::User => {
                let all = user::list(connection.clone(), &all).await?;
                self.learn(all.into_iter().map(|one| (one.id, one.name)));
            }
        }
        Ok(())
    }

    pub(super) fn learn(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        self.names.extend(pairs);
    }

    pub(super) fn learn_credentials(&mut self, credentials: impl IntoIterator<Item = mg::Credential>) {
        for one in credentials {
            if matches!(one.usage, Some(Usage::Upstream(_))) {
                self.upstream.insert(one.id.clone());
            }
            self.names.insert(one.id, one.name);
        }
    }

    /// Puts names where the ids are.
    pub(super) fn put(&self, item: &mut impl References) {
        item.each(|_, reference| {
            if let Some(name) = self.names.get(reference.as_str()) {
                reference.clone_from(name);
            }
        });
    }

    /// Whether a credential is an upstream credential; none where it is not known.
    pub(super) fn is_upstream(&self, id: &str) -> Option<bool> {
        self.names.contains_key(id).then(|| self.upstream.contains(id))
    }
}

/// Whether a token may not ask: its ids stay as they are.
fn is_denied(error: &anyhow::Error) -> bool {
    error.downcast_ref::<tonic::Status>().is_some_and(|status| status.code() == Code::PermissionDenied)
}

/// `None` for what is not there any more, or is not for this token to see.
fn seen<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<Option<T>> {
    match answer {
        Ok(reply) => Ok(Some(reply.into_inner())),
        Err(status) if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => Ok(None),
        Err(status) => Err(status.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        let pairs = [
            ("tg_1", "echo"),
            ("cr_1", "app"),
            ("rg_1", "eu"),
            ("px_1", "pay"),
            ("og_1", "acme"),
            ("tk_1", "ci"),
            ("us_1", "ann"),
        ];
        names.learn(pairs.map(|(id, name)| (id.to_owned(), name.to_owned())));
        names
    }

    #[test]
    fn each_reference_becomes_a_name_and_what_is_not_known_stays() {
        let names = names();
        let mut proxy = mg::Proxy {
            id: "px_1".into(),
            target: "tg_1".into(),
            upstream_credential: "cr_9".into(),
            caller_credentials: vec!["cr_1".into()],
            regions: vec!["rg_1".into()],
            ..mg::Proxy::default()
        };
        names.put(&mut proxy);
        assert_eq!((proxy.target.as_str(), proxy.upstream_credential.as_str()), ("echo", "cr_9"));
        assert_eq!(
            (proxy.caller_credentials, proxy.regions),
            (vec!["app".to_owned()], vec!["eu".to_owned()])
        );
        assert_eq!(proxy.id, "px_1");
        let parent = Some(mg::filter::Parent::Proxy("px_1".into()));
        let mut filter = mg::Filter { parent, ..mg::Filter::default() };
        names.put(&mut filter);
        assert_eq!(filter.parent, Some(mg::filter::Parent::Proxy("pay".into())));
    }

    #[test]
    fn regions_of_seals_and_authors_of_changes_have_names_and_what_is_not_a_token_keeps_its_own() {
        let names = names();
        let upstream =
            mg::Upstream { sealed_regions: vec!["rg_1".into(), "rg_9".into()], ..mg::Upstream::default() };
        let mut credential =
            mg::Credential { usage: Some(Usage::Upstream(upstream)), ..mg::Credential::default() };
        names.put(&mut credential);
        let Some(Usage::Upstream(upstream)) = credential.usage else { panic!("it is one") };
        assert_eq!(upstream.sealed_regions, ["eu", "rg_9"]);
        for (maker, shown) in [("tk_1", "ci"), ("us_1", "ann"), ("tk_9", "tk_9"), ("", "")] {
            let mut token =
                mg::NodeToken { region: "rg_1".into(), created_by: maker.into(), ..mg::NodeToken::default() };
            names.put(&mut token);
            assert_eq!((token.region.as_str(), token.created_by.as_str()), ("eu", shown));
        }
        let change =
            |kind: &str, id: &str| mg::Change { kind: kind.into(), id: id.into(), ..mg::Change::default() };
        let changes = vec![change("token", "tk_1"), change("token", "tk_9"), change("node_token", "tk_1")];
        let mut revision = mg::Revision { changes, ..mg::Revision::default() };
        names.put(&mut revision);
        let shown: Vec<&str> = revision.changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(shown, ["ci", "tk_9", ""]);
        let mut refused =
            mg::RefusedAttempt { token: "tk_1".into(), user: "us_1".into(), ..Default::default() };
        names.put(&mut refused);
        assert_eq!((refused.token.as_str(), refused.user.as_str()), ("ci", "ann"));
    }
}
