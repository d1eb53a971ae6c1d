//! `rrctl filter`: which fields of a response callers see, and what is taken out of texts of requests and responses.

use std::sync::LazyLock;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use rr_contract::wire::fleet::{Detector, FilterAction, FilterDirection};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::filter_service_client::FilterServiceClient;

use crate::command::{attached, names};
use crate::connect::Connection;
use crate::flags::change::{Condition, Consent, Mask, Owner};
use crate::flags::count;
use crate::flags::page::Listing;
use crate::flags::parent::{self, Parent};
use crate::print::{Row, at_revision, plain};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a filter of JSON responses or requests.
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters; made from the id when not given. Cannot be changed.
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
        /// Parent of the filter: proxy/NAME, target/NAME or credential/NAME. Cannot be changed.
        #[arg(long, value_name = "KIND/NAME")]
        on: Parent,
        #[command(flatten)]
        does: Does,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the filters of the organization.
    List {
        /// Lists only those of this parent: proxy/NAME, target/NAME or credential/NAME.
        #[arg(long, value_name = "KIND/NAME")]
        on: Option<Parent>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Shows a filter.
    Show {
        /// Name or id.
        filter: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes a filter.
    Update {
        /// Name or id.
        filter: String,
        #[command(flatten)]
        does: DoesNow,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
    /// Deletes a filter.
    Delete {
        /// Name or id.
        filter: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The action of a new filter, and its fields.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Does {
    /// Keeps this field, as `id` or `items[*].name`, and removes all others; can be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["destroy", "mask", "detect", "pattern"])]
    retain: Vec<String>,
    /// Removes this field; can be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["mask", "detect", "pattern"])]
    destroy: Vec<String>,
    /// Replaces the values of this field with a text; can be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["detect", "pattern"])]
    mask: Vec<String>,
    /// Replaces what looks like this within texts, numbers and keys: `email,card,iban`; can be repeated.
    #[arg(long, value_name = "DETECTOR", value_delimiter = ',', value_parser = detectors())]
    detect: Vec<i32>,
    /// The same for what this regular expression finds: 1 to 256 bytes, so `{1,20}` in the place of `+`; can be repeated.
    #[arg(long, value_name = "REGEX")]
    pattern: Vec<String>,
}

/// A new action, or none.
#[derive(Args)]
pub(crate) struct DoesNow {
    /// Keeps this field, as `id` or `items[*].name`, and removes all others; can be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["destroy", "mask", "detect", "pattern"])]
    retain: Vec<String>,
    /// Removes this field; can be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["mask", "detect", "pattern"])]
    destroy: Vec<String>,
    /// Replaces the values of this field with a text; can be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["detect", "pattern"])]
    mask: Vec<String>,
    /// Replaces what looks like this within texts, numbers and keys: `email,card,iban`; can be repeated.
    #[arg(long, value_name = "DETECTOR", value_delimiter = ',', value_parser = detectors())]
    detect: Vec<i32>,
    /// The same for what this regular expression finds: 1 to 256 bytes, so `{1,20}` in the place of `+`; can be repeated.
    #[arg(long, value_name = "REGEX")]
    pattern: Vec<String>,
}

/// All detectors, with their names.
static DETECTORS: LazyLock<Vec<(String, Detector)>> = LazyLock::new(|| {
    let all = (1..).map_while(|number| Detector::try_from(number).ok());
    all.map(|detector| (plain(detector.as_str_name(), PREFIX), detector)).collect()
});

fn detectors() -> impl TypedValueParser<Value = i32> {
    PossibleValuesParser::new(DETECTORS.iter().map(|(name, _)| &**name)).map(|name| {
        let known = DETECTORS.iter().find(|(known, _)| *known == name);
        known.map_or(0, |(_, detector)| i32::from(*detector))
    })
}

const PREFIX: &str = "DETECTOR_";

/// Which bodies a filter goes over.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// What callers get.
    Response,
    /// What upstreams get.
    Request,
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Looks with --detect and --pattern only at this field and below it; everywhere when never given; can be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["retain", "destroy", "mask"])]
    within: Vec<String>,
    /// Goes over bodies of this direction; `response` when never given.
    #[arg(long, value_enum)]
    direction: Option<Direction>,
    /// 0 to 1000. The filters of a parent run in ascending order.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1000))]
    order: Option<u32>,
    /// Text that --mask, --detect and --pattern put in place of what goes; `***` when never given.
    #[arg(long, value_name = "TEXT")]
    mask_with: Option<String>,
    #[command(flatten)]
    owner: Owner,
}

impl From<Does> for DoesNow {
    fn from(Does { retain, destroy, mask, detect, pattern }: Does) -> Self {
        Self { retain, destroy, mask, detect, pattern }
    }
}

impl DoesNow {
    fn put(self, filter: &mut mg::Filter, mask: &mut Mask) {
        for (action, paths) in [
            (FilterAction::Retain, self.retain),
            (FilterAction::Destroy, self.destroy),
            (FilterAction::Mask, self.mask),
        ] {
            if !paths.is_empty() {
                filter.action = action.into();
                mask.name("action");
                mask.put_all("paths", &mut filter.paths, paths);
            }
        }
        if !self.detect.is_empty() || !self.pattern.is_empty() {
            filter.action = FilterAction::Redact.into();
            mask.name("action");
        } else if filter.action != 0 {
            // One that redacted until now looks for nothing any more.
            mask.name("detectors");
            mask.name("patterns");
        }
        mask.put_all("detectors", &mut filter.detectors, self.detect);
        mask.put_all("patterns", &mut filter.patterns, self.pattern);
    }
}

impl Settings {
    fn put(self, filter: &mut mg::Filter, mask: &mut Mask) {
        mask.put_all("paths", &mut filter.paths, self.within);
        let direction = self.direction.map(|direction| match direction {
            Direction::Response => FilterDirection::Response.into(),
            Direction::Request => FilterDirection::Request.into(),
        });
        mask.put("direction", &mut filter.direction, direction);
        mask.put("order", &mut filter.order, self.order);
        mask.put("mask", &mut filter.mask, self.mask_with);
        mask.put("owner", &mut filter.owner, self.owner.owner);
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut stub = FilterServiceClient::new(connection.clone());
        let print = session.print;
        let mut mask = Mask::default();
        match self {
            Self::Create { name, on, does, settings, consent } => {
                let mut filter = mg::Filter { name, parent: Some(on.into()), ..mg::Filter::default() };
                DoesNow::from(does).put(&mut filter, &mut mask);
                settings.put(&mut filter, &mut mask);
                let ask = consent.with(mg::CreateFilterRequest {
                    org: org.clone(),
                    filter: Some(filter),
                    ..Default::default()
                });
                let done = stub.create_filter(ask).await?.into_inner();
                let filter = names::of_one(print, &connection, &org, done.filter).await?;
                print.written(&filter, &format!("created filter {}", filter.name), done.revision)
            }
            Self::List { on, listing } => {
                let listing = attached::narrowed(&connection, &org, listing, on).await?;
                let found = async || {
                    names::of(print, &connection, &org, list(connection.clone(), &org, &listing).await?).await
                };
                listing.print(print, "filter", found).await
            }
            Self::Show { filter, at } => {
                let ask = mg::GetFilterRequest { org: org.clone(), filter, revision: at };
                print.one(
                    &names::of_one(print, &connection, &org, stub.get_filter(ask).await?.into_inner().filter)
                        .await?,
                )
            }
            Self::Update { filter: name, does, settings, condition, consent } => {
                let mut filter = mg::Filter { etag: condition.etag, ..mg::Filter::default() };
                does.put(&mut filter, &mut mask);
                settings.put(&mut filter, &mut mask);
                let update_mask = mask.finish()?;
                let ask = consent.with(mg::UpdateFilterRequest {
                    org: org.clone(),
                    name,
                    filter: Some(filter),
                    update_mask,
                    ..Default::default()
                });
                let done = stub.update_filter(ask).await?.into_inner();
                let filter = names::of_one(print, &connection, &org, done.filter).await?;
                print.written(&filter, &format!("updated filter {}", filter.name), done.revision)
            }
            Self::Delete { filter, condition, consent } => {
                let what = format!("deleted filter {filter}");
                let ask = consent.with(mg::DeleteFilterRequest {
                    org,
                    filter,
                    etag: condition.etag,
                    ..Default::default()
                });
                let done = stub.delete_filter(ask).await?.into_inner();
                print.done(&at_revision(&what, done.revision), &done)
            }
        }
    }
}

/// The filters of an organization.
pub(crate) async fn list(connection: Connection, org: &str, which: &Listing) -> Result<Vec<mg::Filter>> {
    let mut stub = FilterServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (org, filter, order_by) = (org.to_owned(), which.filter.clone(), which.order_by.clone());
            let ask = mg::ListFiltersRequest { org, page_size, page_token, filter, order_by };
            let reply = stub.list_filters(ask).await?.into_inner();
            Ok((reply.filters, reply.next_page_token))
        })
        .await
}

impl Row for mg::Filter {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "id",
        "on",
        "action",
        "direction",
        "paths",
        "detectors",
        "patterns",
        "order",
        "mask",
        "owner",
    ];
    const WIDE: &'static [&'static str] = &["id", "patterns"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            parent::text(self.parent.as_ref().map(Parent::from)),
            plain(self.action().as_str_name(), "FILTER_ACTION_"),
            match self.direction() {
                FilterDirection::Unspecified | FilterDirection::Response => "response".to_owned(),
                FilterDirection::Request => "request".to_owned(),
            },
            self.paths.join(" "),
            self.detectors().map(|it| plain(it.as_str_name(), PREFIX)).collect::<Vec<_>>().join(" "),
            self.patterns.join(" "),
            self.order.to_string(),
            self.mask.clone(),
            self.owner.clone(),
        ]
    }
}
