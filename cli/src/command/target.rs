//! `rrctl target`: upstream APIs.

mod test;

use anyhow::Result;
use clap::{Args, Subcommand};
use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::target_service_client::TargetServiceClient;

use crate::authority;
use crate::connect::Connection;
use crate::flags::change::{Cascade, Condition, Consent, DefaultEffect, Effect, Mask, Owner, default_effect};
use crate::flags::count;
use crate::flags::page::Listing;
use crate::flags::plan::Agreement;
use crate::flags::resilience::{self, Balance, Setting};
use crate::flags::span;
use crate::flags::validation::{self, ValidationArgs};
use crate::print::{Row, note, time};
use crate::session::Session;

use self::test::TestArgs;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a target.
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
        name: String,
        /// Scheme, host, port and base path of the API, as `https://api.example.com/v1`.
        #[arg(long)]
        base_url: String,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the targets of the organization.
    List(Listing),
    /// Shows a target.
    Show {
        /// Name or id.
        target: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes a target.
    Update {
        /// Name or id.
        target: String,
        /// Scheme, host, port and base path of the API, as `https://api.example.com/v1`.
        #[arg(long)]
        base_url: Option<String>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
    /// Tests a target: a node of each region requests its test path with the upstream credential of a proxy. Ends with
    /// exit code 1 if a region fails.
    #[command(after_help = test::EXAMPLES)]
    Test(TestArgs),
    /// Deletes a target that no proxy uses, with its rules and filters. Asks first.
    Delete {
        /// Name or id.
        target: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        cascade: Cascade,
        #[command(flatten)]
        agreement: Agreement,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Allows a base URL of http: secrets are sent in the clear over the network.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    danger_plaintext: Option<bool>,
    /// Longest time for a connection, as 500ms or 5s; 5s when never given, 1m at most.
    #[arg(long, value_name = "DURATION", value_parser = span::or_seconds)]
    connect_timeout: Option<std::time::Duration>,
    /// Longest time from the end of the request's body until the head of the response, as 30s or 2m; 30s when never given,
    /// 15m at most.
    #[arg(long, value_name = "DURATION", value_parser = span::or_seconds)]
    response_timeout: Option<std::time::Duration>,
    /// Longest time between two parts of a response, or of a WebSocket without traffic; 5m when never given, 24h at most.
    #[arg(long, value_name = "DURATION", value_parser = span::or_seconds)]
    idle_timeout: Option<std::time::Duration>,
    /// Longest time for a request in all, its retries and the response included; 0 means no limit, 24h at most.
    #[arg(long, value_name = "DURATION", value_parser = span::or_seconds)]
    total_timeout: Option<std::time::Duration>,
    /// Further base URL of the same API, with the scheme and path of the first; can be repeated. Replaces the old list;
    /// `none` empties it. Secrets have to be sealed for the origin of each.
    #[arg(long = "more-base-url", value_name = "URL")]
    more_base_urls: Vec<String>,
    /// Spreads requests over the base URLs; round-robin when never given.
    #[arg(long, value_enum)]
    balance: Option<Balance>,
    /// Sends no request to the target for a while after failures in a row, as `failures=5,open=10s`; these are the
    /// defaults. `default` is all of them, `none` switches it off.
    #[arg(long, value_name = "SETTING", value_parser = resilience::circuit_breaker)]
    circuit_breaker: Option<Setting<fleet::CircuitBreaker>>,
    /// Sends no request to a base URL for a while after failures in a row, as `failures=5,time=30s,percent=50`; these
    /// are the defaults. `default` is all of them, `none` switches it off.
    #[arg(long, value_name = "SETTING", value_parser = resilience::outlier_ejection)]
    outlier_ejection: Option<Setting<fleet::OutlierEjection>>,
    /// Asks each base URL whether it works, as `path=/up,interval=10s,timeout=2s,unhealthy=3,healthy=2,max-status=499`;
    /// but for the path these are the defaults. `default` is all of them, `none` switches it off.
    #[arg(long, value_name = "SETTING", value_parser = resilience::health_check)]
    health_check: Option<Setting<fleet::HealthCheck>>,
    /// Path below the base URL that is requested when the target is tested.
    #[arg(long, value_name = "PATH")]
    test_path: Option<String>,
    /// File with the certificates (PEM) that alone vouch for the upstream; `none`: those that nodes trust.
    #[arg(long, value_name = "FILE")]
    ca: Option<authority::Source>,
    /// Lowest version of TLS; `none`: the lowest that there is, which is 1.2.
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3", "none"])]
    min_tls: Option<String>,
    /// Version of HTTP; what TLS agrees on when never given. 2 over http is spoken without asking.
    #[arg(long, value_name = "VERSION", value_parser = ["1.1", "2", "agreed"])]
    http_version: Option<String>,
    /// Tells the upstream which trace a request belongs to, in `traceparent` and `tracestate`; it gets neither when never
    /// given.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    trace_context: Option<bool>,
    #[command(flatten)]
    validation: ValidationArgs,
    #[command(flatten)]
    default: DefaultEffect,
    #[command(flatten)]
    owner: Owner,
}

impl Settings {
    fn put(self, target: &mut mg::Target, mask: &mut Mask) -> Result<()> {
        let duration =
            |given: Option<std::time::Duration>| given.map(|duration| Some(wire_duration(duration)));
        mask.put("danger_plaintext", &mut target.danger_plaintext, self.danger_plaintext);
        mask.put("connect_timeout", &mut target.connect_timeout, duration(self.connect_timeout));
        mask.put("response_timeout", &mut target.response_timeout, duration(self.response_timeout));
        mask.put("idle_timeout", &mut target.idle_timeout, duration(self.idle_timeout));
        let total =
            self.total_timeout.map(|total| Some(total).filter(|total| !total.is_zero()).map(wire_duration));
        mask.put("total_timeout", &mut target.total_timeout, total);
        if self.more_base_urls.iter().eq(["none"]) {
            mask.name("more_base_urls");
        } else {
            mask.put_all("more_base_urls", &mut target.more_base_urls, self.more_base_urls);
        }
        mask.put("balance", &mut target.balance, self.balance.map(Balance::to_wire));
        let breaker = self.circuit_breaker.map(|setting| setting.0);
        mask.put("circuit_breaker", &mut target.circuit_breaker, breaker);
        let ejection = self.outlier_ejection.map(|setting| setting.0);
        mask.put("outlier_ejection", &mut target.outlier_ejection, ejection);
        mask.put("health_check", &mut target.health_check, self.health_check.map(|setting| setting.0));
        mask.put("test_path", &mut target.test_path, self.test_path);
        mask.put("ca", &mut target.ca, self.ca.map(|ca| ca.text()).transpose()?);
        let unless =
            |said: Option<String>, unset| said.map(|said| if said == unset { String::new() } else { said });
        mask.put("min_tls", &mut target.min_tls, unless(self.min_tls, "none"));
        mask.put("http_version", &mut target.http_version, unless(self.http_version, "agreed"));
        mask.put("trace_context", &mut target.trace_context, self.trace_context);
        mask.put("validation", &mut target.validation, self.validation.given()?);
        let effect = self.default.default_effect.map(Effect::to_wire);
        mask.put("default_effect", &mut target.default_effect, effect);
        mask.put("owner", &mut target.owner, self.owner.owner);
        Ok(())
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut stub = TargetServiceClient::new(connection.clone());
        let print = session.print;
        match self {
            Self::Create { name, base_url, settings, consent } => {
                let mut target = mg::Target { name, base_url, ..mg::Target::default() };
                settings.put(&mut target, &mut Mask::default())?;
                let ask =
                    consent.with(mg::CreateTargetRequest { org, target: Some(target), ..Default::default() });
                let done = stub.create_target(ask).await?.into_inner();
                let target = done.target.unwrap_or_default();
                print.written(&target, &format!("created target {}", target.name), done.revision)
            }
            Self::List(listing) => {
                listing.print(print, "target", async || list(connection.clone(), &org, &listing).await).await
            }
            Self::Show { target, at } => {
                let ask = mg::GetTargetRequest { org, target, revision: at };
                print.one(&stub.get_target(ask).await?.into_inner().target.unwrap_or_default())
            }
            Self::Update { target: name, base_url, settings, condition, consent } => {
                let mut target = mg::Target { etag: condition.etag, ..mg::Target::default() };
                let mut mask = Mask::default();
                mask.put("base_url", &mut target.base_url, base_url);
                let has_ca = settings.ca.is_some();
                settings.put(&mut target, &mut mask)?;
                let update_mask = mask.finish()?;
                let ask = consent.with(mg::UpdateTargetRequest {
                    org,
                    name,
                    target: Some(target),
                    update_mask,
                    ..Default::default()
                });
                let done = stub.update_target(ask).await?.into_inner();
                let updated = done.target.unwrap_or_default();
                if has_ca {
                    note(&format!(
                        "a secret goes there only if it was sealed for these certificates; `rrctl credential \
                         replace-secret NAME --target {}` seals it anew",
                        updated.name
                    ));
                }
                print.written(&updated, &format!("updated target {}", updated.name), done.revision)
            }
            Self::Test(args) => args.run(&session).await,
            Self::Delete { target, condition, cascade, agreement, consent } => {
                let ask = consent.with(mg::DeleteTargetRequest {
                    org,
                    target,
                    etag: condition.etag,
                    cascade: cascade.users,
                    ..Default::default()
                });
                let delete = async |dry_run, expected_plan| {
                    let ask = mg::DeleteTargetRequest { dry_run, expected_plan, ..ask.clone() };
                    Ok(stub.delete_target(ask).await?.into_inner())
                };
                agreement.remove(print, "target", &ask.target, delete).await
            }
        }
    }
}

/// The targets of an organization.
pub(crate) async fn list(connection: Connection, org: &str, which: &Listing) -> Result<Vec<mg::Target>> {
    let mut stub = TargetServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (org, filter, order_by) = (org.to_owned(), which.filter.clone(), which.order_by.clone());
            let ask = mg::ListTargetsRequest { org, page_size, page_token, filter, order_by };
            let reply = stub.list_targets(ask).await?.into_inner();
            Ok((reply.targets, reply.next_page_token))
        })
        .await
}

fn certificates(text: &str) -> String {
    match authority::of(text) {
        Ok(certificates) => certificates.iter().flat_map(authority::lines).collect::<Vec<_>>().join("; "),
        Err(error) => format!("{error:#}"),
    }
}

fn timeouts(target: &mg::Target) -> String {
    let said = [
        ("connect", &target.connect_timeout),
        ("response", &target.response_timeout),
        ("idle", &target.idle_timeout),
        ("total", &target.total_timeout),
    ];
    let said =
        said.into_iter().filter_map(|(what, time)| Some(format!("{what} {}", span::text(time.as_ref()?))));
    said.collect::<Vec<_>>().join(", ")
}

impl Row for mg::Target {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "id",
        "base url",
        "more base urls",
        "balance",
        "plaintext",
        "timeouts",
        "outlier ejection",
        "circuit breaker",
        "health check",
        "test path",
        "default",
        "certificates",
        "min tls",
        "http",
        "traces",
        "validated",
        "owner",
        "updated",
    ];
    const WIDE: &'static [&'static str] = &[
        "id",
        "more base urls",
        "balance",
        "plaintext",
        "timeouts",
        "outlier ejection",
        "circuit breaker",
        "health check",
        "test path",
        "certificates",
        "min tls",
        "http",
        "traces",
        "validated",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            match self.more_base_urls.len() {
                0 => self.base_url.clone(),
                more => format!("{} +{more}", self.base_url),
            },
            self.more_base_urls.join(" "),
            resilience::balance_of(self.balance()),
            if self.danger_plaintext { "plaintext" } else { "" }.to_owned(),
            timeouts(self),
            self.outlier_ejection.as_ref().map(resilience::outlier_ejection_of).unwrap_or_default(),
            self.circuit_breaker.as_ref().map(resilience::circuit_breaker_of).unwrap_or_default(),
            self.health_check.as_ref().map(resilience::health_check_of).unwrap_or_default(),
            self.test_path.clone(),
            default_effect(self.default_effect()),
            certificates(&self.ca),
            self.min_tls.clone(),
            self.http_version.clone(),
            if self.trace_context { "told" } else { "" }.to_owned(),
            validation::text(self.validation.as_ref()),
            self.owner.clone(),
            time(self.updated_at.as_ref()),
        ]
    }
}
