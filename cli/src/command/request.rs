//! `rrctl request`: records of the requests of callers.

use anyhow::Result;
use clap::Subcommand;
use rr_contract::model::time::duration;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::request_service_client::RequestServiceClient;

use crate::print::{Row, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists records, newest first.
    List {
        /// Lists only requests to this proxy, by name or id.
        #[arg(long, default_value = "", hide_default_value = true)]
        proxy: String,
        /// Lists at most this many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i32).range(1..=1000))]
        limit: i32,
    },
    /// Shows a record.
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
            Self::List { proxy, limit } => {
                let ask = mg::ListRequestsRequest {
                    org,
                    proxy,
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

impl Row for mg::Request {
    const COLUMNS: &'static [&'static str] = &[
        "received", "method", "path", "status", "upstream", "code", "ms", "proxy", "caller", "revision",
        "node", "id",
    ];

    fn cells(&self) -> Vec<String> {
        let record = self.record.clone().unwrap_or_default();
        let millis = record
            .duration
            .as_ref()
            .and_then(|d| duration(d).ok())
            .map(|d| format!("{:.1}", d.as_secs_f64() * 1000.0))
            .unwrap_or_default();
        let upstream =
            if record.upstream_status == 0 { "-".to_owned() } else { record.upstream_status.to_string() };
        vec![
            time(record.received_at.as_ref()),
            record.method,
            record.path,
            record.status.to_string(),
            upstream,
            record.code,
            millis,
            record.proxy,
            record.caller_credential,
            record.revision.to_string(),
            self.node.clone(),
            record.id,
        ]
    }
}
