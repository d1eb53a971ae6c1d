//! `rrctl meter`: counts at a proxy, and limits on them.

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::wire::fleet::{MeterFold, MeterReading, MeterRequests, MeterValue, meter_value::Location};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::meter::Counts;
use rr_contract::wire::management::meter_service_client::MeterServiceClient;

use crate::command::{attached, names};
use crate::connect::Connection;
use crate::fault;
use crate::flags::change::{Condition, Consent, Mask, Owner};
use crate::flags::count;
use crate::flags::limits;
use crate::flags::matching::{self, OnlyWhen, Typed};
use crate::flags::page::Listing;
use crate::flags::parent::{self, Parent};
use crate::flags::reading::{self, Tokens};
use crate::print::{Row, at_revision};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a meter.
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters; made from the id when not given. Cannot be changed.
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
        /// Parent of the meter: proxy/NAME. Cannot be changed.
        #[arg(long, value_name = "KIND/NAME", value_parser = parent::proxy)]
        on: String,
        #[command(flatten)]
        counts: Counted,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the meters of the organization.
    List {
        /// Lists only those of this parent: proxy/NAME.
        #[arg(long, value_name = "KIND/NAME", value_parser = parent::proxy)]
        on: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Shows a meter.
    Show {
        /// Name or id.
        meter: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes a meter. Conditions change one by one: a flag that is not given leaves its condition as it is.
    Update {
        /// Name or id.
        meter: String,
        #[command(flatten)]
        counts: CountedNow,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
    /// Deletes a meter.
    Delete {
        /// Name or id.
        meter: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The count of a new meter.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Counted {
    /// Counts requests.
    #[arg(long, conflicts_with_all = ["tokens", "value_path", "value_header"])]
    requests: bool,
    /// Adds up the tokens that an API of models says a request took, in its answer or in the events of a stream.
    #[arg(long, value_name = "API", value_enum, conflicts_with_all = ["value_path", "value_header"])]
    tokens: Option<Tokens>,
    /// Adds up a number in a JSON response or stream, as `usage.total_tokens`. Of several paths with commas the first with
    /// a number counts. Behind `=`, what several numbers of a stream come to: last, max or sum; last when not given. Can be
    /// given several times: all of them are added.
    #[arg(long, value_name = "PATH[,PATH]...[=FOLD]", value_parser = reading::of_path)]
    value_path: Vec<MeterReading>,
    /// Adds up a number in a header of the response. Can be given several times, and beside --value-path.
    #[arg(long, value_name = "HEADER[=FOLD]", value_parser = reading::of_header)]
    value_header: Vec<MeterReading>,
}

/// A new count, or none.
#[derive(Args)]
#[group(multiple = true)]
pub(crate) struct CountedNow {
    /// Counts requests.
    #[arg(long, conflicts_with_all = ["tokens", "value_path", "value_header"])]
    requests: bool,
    /// Adds up the tokens that an API of models says a request took, in its answer or in the events of a stream.
    #[arg(long, value_name = "API", value_enum, conflicts_with_all = ["value_path", "value_header"])]
    tokens: Option<Tokens>,
    /// Adds up a number in a JSON response or stream, as `usage.total_tokens`. Of several paths with commas the first with
    /// a number counts. Behind `=`, what several numbers of a stream come to: last, max or sum; last when not given. Can be
    /// given several times: all of them are added.
    #[arg(long, value_name = "PATH[,PATH]...[=FOLD]", value_parser = reading::of_path)]
    value_path: Vec<MeterReading>,
    /// Adds up a number in a header of the response. Can be given several times, and beside --value-path.
    #[arg(long, value_name = "HEADER[=FOLD]", value_parser = reading::of_header)]
    value_header: Vec<MeterReading>,
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Charged when a request is admitted, and settled when its number is known; 0 means nothing. Only with
    /// --tokens, --value-path or --value-header.
    #[arg(long, value_name = "COUNT", value_parser = count::whole)]
    reserve: Option<u64>,
    /// Charged where a response does not have the number. Required where such a meter has a limit.
    #[arg(long, value_name = "COUNT", value_parser = count::whole)]
    on_missing: Option<u64>,
    /// Limit per minute at each node; 0 means no limit.
    #[arg(long, value_name = "COUNT", value_parser = count::whole)]
    per_minute: Option<u64>,
    /// Limit per hour at each node; 0 means no limit.
    #[arg(long, value_name = "COUNT", value_parser = count::whole)]
    per_hour: Option<u64>,
    /// Limit per day at each node; 0 means no limit.
    #[arg(long, value_name = "COUNT", value_parser = count::whole)]
    per_day: Option<u64>,
    /// Limit per month at each node; 0 means no limit.
    #[arg(long, value_name = "COUNT", value_parser = count::whole)]
    per_month: Option<u64>,
    /// Whether each caller is counted apart, and has the limits for itself; of a credential with --identity-claim, each who
    /// holds its tokens. A change of it begins counts anew.
    #[arg(long)]
    per_caller: Option<bool>,
    /// Whether it counts and limits.
    #[arg(long)]
    active: Option<bool>,
    #[command(flatten)]
    only_when: OnlyWhen,
    #[command(flatten)]
    owner: Owner,
}

impl From<Counted> for CountedNow {
    fn from(Counted { requests, tokens, value_path, value_header }: Counted) -> Self {
        Self { requests, tokens, value_path, value_header }
    }
}

impl CountedNow {
    const fn is_value(&self) -> bool {
        self.tokens.is_some() || !self.value_path.is_empty() || !self.value_header.is_empty()
    }

    /// Sets what is counted, and keeps what is charged for it.
    fn put(self, meter: &mut mg::Meter, mask: &mut Mask) {
        if self.requests {
            meter.counts = Some(Counts::Requests(MeterRequests {}));
            mask.name("requests");
        } else if self.is_value() {
            let there = match meter.counts.take() {
                Some(Counts::Value(value)) => value,
                Some(Counts::Requests(_)) | None => MeterValue::default(),
            };
            let of_tokens = self.tokens.map(Tokens::readings).unwrap_or_default();
            let readings: Vec<_> =
                of_tokens.into_iter().chain(self.value_path).chain(self.value_header).collect();
            let (location, readings) = match short(&readings) {
                Some(location) => (Some(location), Vec::new()),
                None => (None, readings),
            };
            meter.counts = Some(Counts::Value(MeterValue { location, readings, ..there }));
            mask.name("value");
        }
    }
}

/// The only place of a number, where nothing more is said of it: as older nodes know it.
fn short(readings: &[MeterReading]) -> Option<Location> {
    match readings {
        [reading] if reading.fold() != MeterFold::Unspecified => None,
        [MeterReading { body_paths, header, .. }] => match &**body_paths {
            [] => Some(Location::Header(header.clone())),
            [path] => Some(Location::BodyPath(path.clone())),
            _ => None,
        },
        _ => None,
    }
}

impl Settings {
    /// Whether only a part of a field was given, so that the rest of it has to be read.
    fn is_partial(&self) -> bool {
        self.charges() || Typed::from(self.only_when.clone()).is_given()
    }

    const fn charges(&self) -> bool {
        self.reserve.is_some() || self.on_missing.is_some()
    }

    /// Sets the fields whose flags were given, and names them in the mask. What is counted is set already.
    fn put(self, meter: &mut mg::Meter, mask: &mut Mask) -> Result<()> {
        if self.charges() {
            let Some(Counts::Value(value)) = &mut meter.counts else {
                return Err(fault::usage(
                    "--reserve and --on-missing are about a number of responses, and the meter counts requests",
                    "give --tokens, --value-path or --value-header too, or leave them out",
                ));
            };
            value.reserve = self.reserve.unwrap_or(value.reserve);
            value.on_missing = self.on_missing.or(value.on_missing);
            mask.name("value");
        }
        mask.put("per_minute_per_node", &mut meter.per_minute_per_node, self.per_minute);
        mask.put("per_hour_per_node", &mut meter.per_hour_per_node, self.per_hour);
        mask.put("per_day_per_node", &mut meter.per_day_per_node, self.per_day);
        mask.put("per_month_per_node", &mut meter.per_month_per_node, self.per_month);
        mask.put("per_caller", &mut meter.per_caller, self.per_caller);
        mask.put("active", &mut meter.active, self.active.map(Some));
        let only_when = Typed::from(self.only_when);
        if only_when.is_given() {
            meter.only_when = only_when.over(meter.only_when.take())?;
            mask.name("only_when");
        }
        mask.put("owner", &mut meter.owner, self.owner.owner);
        Ok(())
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut stub = MeterServiceClient::new(connection.clone());
        let print = session.print;
        let mut mask = Mask::default();
        match self {
            Self::Create { name, on, counts, settings, consent } => {
                let mut meter = mg::Meter { name, proxy: on, ..mg::Meter::default() };
                CountedNow::from(counts).put(&mut meter, &mut mask);
                settings.put(&mut meter, &mut mask)?;
                let ask = consent.with(mg::CreateMeterRequest {
                    org: org.clone(),
                    meter: Some(meter),
                    ..Default::default()
                });
                let done = stub.create_meter(ask).await?.into_inner();
                let meter = names::of_one(print, &connection, &org, done.meter).await?;
                print.written(&meter, &format!("created meter {}", meter.name), done.revision)
            }
            Self::List { on, listing } => {
                let listing = attached::narrowed(&connection, &org, listing, on.map(Parent::Proxy)).await?;
                let found = async || {
                    names::of(print, &connection, &org, list(connection.clone(), &org, &listing).await?).await
                };
                listing.print(print, "meter", found).await
            }
            Self::Show { meter, at } => {
                let ask = mg::GetMeterRequest { org: org.clone(), meter, revision: at };
                print.one(
                    &names::of_one(print, &connection, &org, stub.get_meter(ask).await?.into_inner().meter)
                        .await?,
                )
            }
            Self::Update { meter: name, counts, settings, condition, consent } => {
                let mut meter = mg::Meter::default();
                if settings.is_partial() || counts.is_value() {
                    let ask = mg::GetMeterRequest { org: org.clone(), meter: name.clone(), revision: 0 };
                    meter = stub.get_meter(ask).await?.into_inner().meter.unwrap_or_default();
                }
                counts.put(&mut meter, &mut mask);
                settings.put(&mut meter, &mut mask)?;
                meter.etag = condition.or(meter.etag);
                let update_mask = mask.finish()?;
                let ask = consent.with(mg::UpdateMeterRequest {
                    org: org.clone(),
                    name,
                    meter: Some(meter),
                    update_mask,
                    ..Default::default()
                });
                let done = stub.update_meter(ask).await?.into_inner();
                let meter = names::of_one(print, &connection, &org, done.meter).await?;
                print.written(&meter, &format!("updated meter {}", meter.name), done.revision)
            }
            Self::Delete { meter, condition, consent } => {
                let what = format!("deleted meter {meter}");
                let ask = consent.with(mg::DeleteMeterRequest {
                    org,
                    meter,
                    etag: condition.etag,
                    ..Default::default()
                });
                let done = stub.delete_meter(ask).await?.into_inner();
                print.done(&at_revision(&what, done.revision), &done)
            }
        }
    }
}

/// The meters of an organization.
pub(crate) async fn list(connection: Connection, org: &str, which: &Listing) -> Result<Vec<mg::Meter>> {
    let mut stub = MeterServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (org, filter, order_by) = (org.to_owned(), which.filter.clone(), which.order_by.clone());
            let ask = mg::ListMetersRequest { org, page_size, page_token, filter, order_by };
            let reply = stub.list_meters(ask).await?.into_inner();
            Ok((reply.meters, reply.next_page_token))
        })
        .await
}

impl Row for mg::Meter {
    const COLUMNS: &'static [&'static str] =
        &["name", "id", "proxy", "active", "counts", "limits", "only when", "owner"];
    const WIDE: &'static [&'static str] = &["id"];

    fn cells(&self) -> Vec<String> {
        let counts = match &self.counts {
            Some(Counts::Requests(_)) => "requests".to_owned(),
            Some(Counts::Value(value)) => valued(value),
            None => String::new(),
        };
        let counts = if self.per_caller { format!("{counts}, each caller") } else { counts };
        vec![
            self.name.clone(),
            self.id.clone(),
            self.proxy.clone(),
            self.active().to_string(),
            counts,
            limits::text(&[
                (self.per_minute_per_node, "minute"),
                (self.per_hour_per_node, "hour"),
                (self.per_day_per_node, "day"),
                (self.per_month_per_node, "month"),
            ]),
            matching::text(self.only_when.as_ref()),
            self.owner.clone(),
        ]
    }
}

/// A number of responses, and what is charged for it.
fn valued(value: &MeterValue) -> String {
    let mut text = match &value.location {
        Some(Location::BodyPath(path)) => format!("body {path}"),
        Some(Location::Header(header)) => format!("header {header}"),
        None => value.readings.iter().map(reading::text).collect::<Vec<_>>().join(" + "),
    };
    if value.reserve > 0 {
        text.push_str(&format!(", reserves {}", value.reserve));
    }
    if let Some(missing) = value.on_missing {
        text.push_str(&format!(", {missing} if missing"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(reserve: Option<u64>, on_missing: Option<u64>) -> Settings {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            settings: Settings,
        }
        let line = <Line as clap::Parser>::parse_from(["meter"]);
        Settings { reserve, on_missing, ..line.settings }
    }

    fn there() -> mg::Meter {
        let location = Some(Location::Header("x-cost".to_owned()));
        let value = MeterValue { location, reserve: 5, on_missing: Some(0), ..Default::default() };
        mg::Meter { counts: Some(Counts::Value(value)), ..mg::Meter::default() }
    }

    fn updated(mut meter: mg::Meter, counts: CountedNow, settings: Settings) -> Result<String> {
        let mut mask = Mask::default();
        counts.put(&mut meter, &mut mask);
        settings.put(&mut meter, &mut mask)?;
        Ok(meter.cells()[4].clone())
    }

    fn counts(value_path: Option<&str>, requests: bool) -> CountedNow {
        let value_path = value_path.into_iter().map(|path| reading::of_path(path).expect("a path")).collect();
        CountedNow { requests, tokens: None, value_path, value_header: Vec::new() }
    }

    #[test]
    fn numbers_of_an_api_are_added_and_older_nodes_know_a_single_place() {
        let tokens = |api| CountedNow { tokens: Some(api), ..counts(None, false) };
        let shown = |counts| updated(mg::Meter::default(), counts, settings(None, None)).expect("is good");
        assert_eq!(shown(tokens(Tokens::Openai)), "body usage.total_tokens or response.usage.total_tokens");
        assert!(shown(tokens(Tokens::Anthropic)).contains(" + body usage.output_tokens or message."));
        for (api, wanted) in
            [(Tokens::Gemini, "usageMetadata.totalTokenCount"), (Tokens::Bedrock, "usage.totalTokens")]
        {
            let mut meter = mg::Meter::default();
            tokens(api).put(&mut meter, &mut Mask::default());
            let Some(Counts::Value(value)) = meter.counts else { panic!("a value") };
            assert_eq!(value.location, Some(Location::BodyPath(wanted.to_owned())));
            assert!(value.readings.is_empty());
        }
        assert_eq!(shown(counts(Some("n=max"), false)), "body n (max)");
    }

    #[test]
    fn a_part_of_the_value_changes_and_the_rest_of_it_stays() {
        for (given, charges, shown) in [
            (counts(None, false), settings(Some(9), None), "header x-cost, reserves 9, 0 if missing"),
            (counts(None, false), settings(None, Some(3)), "header x-cost, reserves 5, 3 if missing"),
            (counts(Some("usage"), false), settings(None, None), "body usage, reserves 5, 0 if missing"),
            (counts(Some("usage"), false), settings(Some(0), None), "body usage, 0 if missing"),
            (counts(None, true), settings(None, None), "requests"),
        ] {
            assert_eq!(updated(there(), given, charges).expect("is good"), shown);
        }
    }

    #[test]
    fn a_meter_of_requests_has_nothing_to_reserve() {
        let error = updated(there(), counts(None, true), settings(Some(1), None)).expect_err("no value");
        assert!(error.to_string().contains("--reserve"), "{error}");
    }
}
