//! `rrctl request`: records of the requests of callers, and one that explains itself.

pub(super) mod row;
mod search;
mod trial;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::request_service_client::RequestServiceClient;

pub(super) use self::search::RequestArgs;

use self::search::SearchArgs;
use self::trial::TryArgs;
use crate::connect::{ANSWER_MOST, Connection};
use crate::fault;
use crate::flags::moment::Moment;
use crate::flags::page::Newest;
use crate::print::{self, Printer, Stream, count, note};
use crate::session::Session;

/// A record of a request that was just answered is there in this time. A list without any looks again until then.
const UNDER_WAY: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  rrctl request list --status 5xx --since 1h
  rrctl request list --proxy pay --caller app --code rate-limited --limit 100
  rrctl request list --path '/v1/users/*' --rule no-delete
  rrctl request tail --status 400-499
  rrctl request tail --filter 'tags = gold' -o json | jq .record.path";

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Lists records, newest first; `-o wide` adds what limits, meters and filters did, and times.
    #[command(after_help = EXAMPLES)]
    List(ListArgs),
    /// Prints records as they come, until Ctrl-C.
    #[command(after_help = EXAMPLES)]
    Tail(SearchArgs),
    /// Shows a record: what each stage decided, counted and took.
    Show {
        /// Id of the request, from the header `requestrocket-request-id` of its response.
        request: String,
    },
    /// Makes a request as a caller does, and shows what each stage decided, by which rule, and how long it took.
    #[command(after_help = trial::EXAMPLES)]
    Try(TryArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    search: SearchArgs,
    /// Lists only requests received at this time or later, as `1h`, `2026-01-31` or `2026-01-31T08:00:00Z`.
    #[arg(long, value_name = "WHEN", visible_alias = "after")]
    since: Option<Moment>,
    /// Lists only requests received before this time.
    #[arg(long, value_name = "WHEN", visible_alias = "before")]
    until: Option<Moment>,
    #[command(flatten)]
    newest: Newest,
    /// Lists the oldest of them first, and goes on with those that come, until Ctrl-C.
    #[arg(long, visible_alias = "watch", conflicts_with = "until")]
    follow: bool,
}

type Stub = RequestServiceClient<Connection>;

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let stub = RequestServiceClient::new(session.endpoint.connect().await?);
        let mut stub = stub.max_decoding_message_size(ANSWER_MOST);
        match self {
            Self::List(args) => args.run(&mut stub, org, session.print).await,
            Self::Tail(search) => {
                let coming = tail(&mut stub, &org, &search).await?;
                follow(coming, &HashSet::new(), session.print.stream(&[])?).await
            }
            Self::Try(args) => args.run(&session).await,
            Self::Show { request } => {
                let ask = mg::GetRequestRequest { org, request };
                session.print.one(&stub.get_request(ask).await?.into_inner().request.unwrap_or_default())
            }
        }
    }
}

impl ListArgs {
    async fn run(self, stub: &mut Stub, org: String, print: Printer) -> Result<()> {
        let filter = self.search.filter()?;
        // Before the list, so that nothing comes in between.
        let coming = if self.follow { Some(tail(stub, &org, &self.search).await?) } else { None };
        let list = async |stub: &mut Stub| {
            let page = async |page_size, page_token| {
                let ask = mg::ListRequestsRequest {
                    org: org.clone(),
                    proxy: self.search.requests.proxy.clone(),
                    after: self.since.map(Moment::ago),
                    before: self.until.map(Moment::ago),
                    page_size,
                    page_token,
                    filter: filter.clone(),
                };
                let reply = stub.list_requests(ask).await?.into_inner();
                Ok((reply.requests, reply.next_page_token))
            };
            self.newest.of(page).await
        };
        let mut found = list(stub).await?;
        let asked = Instant::now();
        while found.is_empty() && !self.follow && self.until.is_none() && asked.elapsed() < UNDER_WAY {
            tokio::time::sleep(UNDER_WAY / 5).await;
            found = list(stub).await?;
        }
        let Some(coming) = coming else { return print.list(&found) };
        let mut stream = print.stream(&found)?;
        found.iter().rev().try_for_each(|request| stream.line(request))?;
        follow(coming, &found.iter().map(id).collect(), stream).await
    }
}

fn id(request: &mg::Request) -> String {
    request.record.as_ref().map(|record| record.id.clone()).unwrap_or_default()
}

type Coming = tonic::Streaming<mg::TailRequestsResponse>;

async fn tail(stub: &mut Stub, org: &str, search: &SearchArgs) -> Result<Coming> {
    let ask = mg::TailRequestsRequest {
        org: org.to_owned(),
        proxy: search.requests.proxy.clone(),
        filter: search.filter()?,
    };
    Ok(stub.tail_requests(ask).await?.into_inner())
}

/// Prints what comes, but for what was printed.
async fn follow(
    mut coming: Coming,
    printed: &HashSet<String>,
    mut stream: Stream<mg::Request>,
) -> Result<()> {
    while let Some(said) = coming.message().await? {
        let request = said.request.unwrap_or_default();
        if said.skipped > 0 {
            let (records, are) =
                (count(said.skipped, "record"), if said.skipped == 1 { "is" } else { "are" });
            note(&format!(
                "{records} {are} left out, more came at once than a tail shows; `rrctl request list` has them"
            ));
        }
        if !printed.contains(&id(&request)) {
            stream.line(&request)?;
        }
        if !print::is_read() {
            return Ok(());
        }
    }
    Err(fault::ended("the control plane ended the stream of records", "run it again"))
}
