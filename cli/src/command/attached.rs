//! Lists of rules, filters and meters: only those of one parent.
//!
//! The parent is looked up first, so that a name that nothing has is an error and no empty list.

use anyhow::Result;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;

use crate::connect::Connection;
use crate::flags::page::Listing;
use crate::flags::parent::Parent;

/// A list of all, or of what belongs to a parent.
pub(super) async fn narrowed(
    connection: &Connection,
    org: &str,
    listing: Listing,
    on: Option<Parent>,
) -> Result<Listing> {
    let Some(parent) = on else { return Ok(listing) };
    let (connection, org) = (connection.clone(), org.to_owned());
    let id = match parent {
        Parent::Proxy(proxy) => {
            let ask = mg::GetProxyRequest { org, proxy, revision: 0 };
            let found = ProxyServiceClient::new(connection).get_proxy(ask).await?.into_inner().proxy;
            found.unwrap_or_default().id
        }
        Parent::Target(target) => {
            let ask = mg::GetTargetRequest { org, target, revision: 0 };
            let found = TargetServiceClient::new(connection).get_target(ask).await?.into_inner().target;
            found.unwrap_or_default().id
        }
        Parent::Credential(credential) => {
            let ask = mg::GetCredentialRequest { org, credential, revision: 0 };
            let mut stub = CredentialServiceClient::new(connection);
            stub.get_credential(ask).await?.into_inner().credential.unwrap_or_default().id
        }
    };
    Ok(listing.using(&id))
}
