//! Lists that other commands need beside the noun that they belong to, such as for names in the place of ids.
//!
//! Prints nothing.

use anyhow::Result;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_contract::wire::management::token_service_client::TokenServiceClient;

use crate::connect::Connection;
use crate::flags::page::{self, Listing};

/// The credentials of an organization.
pub(crate) async fn credentials(
    connection: Connection,
    org: &str,
    which: &Listing,
) -> Result<Vec<mg::Credential>> {
    let mut stub = CredentialServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (org, filter, order_by) = (org.to_owned(), which.filter.clone(), which.order_by.clone());
            let ask = mg::ListCredentialsRequest { org, page_size, page_token, filter, order_by };
            let reply = stub.list_credentials(ask).await?.into_inner();
            Ok((reply.credentials, reply.next_page_token))
        })
        .await
}

/// The regions that the token may see.
pub(crate) async fn regions(connection: Connection, which: &Listing) -> Result<Vec<mg::Region>> {
    let mut stub = RegionServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (filter, order_by) = (which.filter.clone(), which.order_by.clone());
            let ask = mg::ListRegionsRequest { page_size, page_token, filter, order_by };
            let reply = stub.list_regions(ask).await?.into_inner();
            Ok((reply.regions, reply.next_page_token))
        })
        .await
}

/// Every token that the caller may see.
pub(crate) async fn tokens(connection: Connection) -> Result<Vec<mg::Token>> {
    let mut stub = TokenServiceClient::new(connection);
    page::all(async |page_size, page_token| {
        let ask = mg::ListTokensRequest { page_size, page_token };
        let reply = stub.list_tokens(ask).await?.into_inner();
        Ok((reply.tokens, reply.next_page_token))
    })
    .await
}
