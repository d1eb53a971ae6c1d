//! `rrctl request`: records of the requests of callers.

mod row;

use anyhow::Result;
use clap::Subcommand;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::request_service_client::RequestServiceClient;

use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists records, newest first; `-o wide` adds what limits, meters and filters did, and times.
    List {
        /// Lists only requests to this proxy, by name or id.
        #[arg(long, default_value = "", hide_default_value = true)]
        proxy: String,
        /// Lists only requests of these callers: terms joined by ` AND `, as `caller = app`, `tags = gold` or
        /// `metadata.team = payments`.
        #[arg(long, default_value = "", hide_default_value = true)]
        filter: String,
        /// Lists at most this many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
    },
    /// Shows a record: what each stage decided, counted and took.
    Show {
        /// Id of the request, from the header `requestrocket-request-id` of its response.
        request: String,
    },
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let mut stub = RequestServiceClient::new(session.endpoint.connect().await?);
        match self {
            Self::List { proxy, filter, limit } => {
                let ask = mg::ListRequestsRequest {
                    org,
                    proxy,
                    filter,
                    page_size: limit,
                    ..mg::ListRequestsRequest::default()
                };
                session.print.list(&stub.list_requests(ask).await?.into_inner().requests)
            }
            Self::Show { request } => {
                let ask = mg::GetRequestRequest { org, request };
                session.print.one(&stub.get_request(ask).await?.into_inner().request.unwrap_or_default())
            }
        }
    }
}
