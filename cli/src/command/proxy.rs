//! `rrctl proxy`: the addresses that callers call.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;

use crate::command::credential::reseal::to_regions;
use crate::command::names;
use crate::connect::Connection;
use crate::flags::change::{Condition, Consent, DefaultEffect, Effect, Mask, Owner, default_effect};
use crate::flags::count;
use crate::flags::keeping::{self, KeepingArgs};
use crate::flags::key_file::SpareKeyArgs;
use crate::flags::limits::{self, KeyedLimitArgs, LimitArgs};
use crate::flags::page::Listing;
use crate::flags::plan::Yes;
use crate::flags::recording::{self, RecordingArgs};
use crate::flags::resilience::{self, Setting};
use crate::flags::shape::{self, ShapeArgs};
use crate::flags::size;
use crate::flags::validation::{self, ValidationArgs};
use crate::print::{Row, at_revision, time};
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Creates a proxy.
    #[command(
        mut_arg("callers", |arg| arg.required(true)),
        mut_arg("target", |arg| arg.required(true)),
        mut_arg("upstream", |arg| arg.required(true)),
        mut_arg("regions", |arg| arg.required(true))
    )]
    Create {
        /// Name: `a-z`, `0-9` and `-`, at most 63 characters. Cannot be changed.
        name: String,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        key: SpareKeyArgs,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists the proxies of the organization.
    List(Listing),
    /// Shows a proxy.
    Show {
        /// Name or id.
        proxy: String,
        /// Shows it as it was at this revision; as it is now when not given.
        #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION", value_parser = count::whole)]
        at: u64,
    },
    /// Changes a proxy.
    Update {
        /// Name or id.
        proxy: String,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        key: SpareKeyArgs,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        consent: Consent,
    },
    /// Deletes a proxy, with its rules, filters and meters. Asks first.
    Delete {
        /// Name or id.
        proxy: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Args)]
pub(crate) struct Settings {
    /// Caller credential that may use it, by name or id; can be repeated. Replaces the old list.
    #[arg(long = "caller", value_name = "CREDENTIAL")]
    callers: Vec<String>,
    /// Target that requests are sent to, by name or id.
    #[arg(long)]
    target: Option<String>,
    /// Upstream credential that is injected into requests, by name or id.
    #[arg(long = "upstream", value_name = "CREDENTIAL")]
    upstream: Option<String>,
    /// Region that serves it, by name or id; can be repeated. Replaces the old list.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// Whether it serves callers; an inactive proxy answers 403.
    #[arg(long)]
    active: Option<bool>,
    /// Status of a refusal by a rule: 400 or 403; 400 when never given.
    #[arg(long, value_name = "STATUS", value_parser = deny_status)]
    deny_status: Option<u32>,
    /// Whether paths may contain encoded slashes, backslashes and NUL.
    #[arg(long)]
    opaque_paths: Option<bool>,
    /// Whether requests can become WebSockets. If the proxy looks at bodies, --tunnels-unread is needed too.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    websocket: Option<bool>,
    /// Whether it is accepted that no rule, filter, meter or body limit sees what passes through WebSockets.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    tunnels_unread: Option<bool>,
    /// Whether callers have to show a client certificate, too. No authority is asked who they are: that they have its key is
    /// all that counts, and records name the key. Nodes have to speak TLS.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    client_certificates: Option<bool>,
    /// Has a node of each region test the target when a change of the proxy, its target or its upstream credential is in
    /// effect there; a test that fails is a notification. `rrctl target test TARGET --last` shows the last ones.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    test_after_change: Option<bool>,
    /// Limit of requests under way at a time at each node, WebSockets included; a further one gets 429. 0 means no limit.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(0..))]
    max_concurrent_requests: Option<u32>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    keyed: KeyedLimitArgs,
    /// Longest body of a request, as 8MiB; a longer one is refused with 413. 0 means no limit.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_request_bytes: Option<u64>,
    /// Longest body of a response, as 8MiB; a longer one is refused with 413 or broken off. 0 means no limit.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_response_bytes: Option<u64>,
    /// Sends requests again that failed, as `attempts=1,on=502+503+504,budget=20,backoff=25ms,max-backoff=2s`; these are
    /// the defaults. Only GET, HEAD, OPTIONS, PUT and DELETE. `default` is all of them, `none` switches it off.
    #[arg(long, value_name = "SETTING", value_parser = resilience::retry)]
    retry: Option<Setting<fleet::RetryPolicy>>,
    /// Whether the proxy's own rules and default effect only observe: records say what they would have decided. Rules
    /// of its target and credentials are not concerned.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    observe: Option<bool>,
    /// What becomes of answers in which the upstream sends back the secret that it was sent; mask when never given. Secrets
    /// of less than 24 bytes and passwords are not looked for.
    #[arg(long)]
    echo_guard: Option<Guard>,
    #[command(flatten)]
    keeping: KeepingArgs,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    recording: RecordingArgs,
    #[command(flatten)]
    validation: ValidationArgs,
    #[command(flatten)]
    default: DefaultEffect,
    #[command(flatten)]
    owner: Owner,
}

/// What becomes of a secret that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Guard {
    /// Each byte of it becomes `*`.
    Mask,
    /// The answer is refused with 502; one that has begun to go out is broken off.
    Refuse,
    /// It is passed on, and not looked for.
    Off,
}

impl Guard {
    fn to_wire(self) -> i32 {
        match self {
            Self::Mask => fleet::EchoGuard::Mask.into(),
            Self::Refuse => fleet::EchoGuard::Refuse.into(),
            Self::Off => fleet::EchoGuard::Off.into(),
        }
    }
}

fn deny_status(text: &str) -> Result<u32, String> {
    match text {
        "400" => Ok(400),
        "403" => Ok(403),
        _ => Err("the status is 400 or 403".to_owned()),
    }
}

impl Settings {
    fn has_part_of_a_field(&self) -> bool {
        self.limits.is_given()
            || self.keyed.is_given()
            || self.shape.is_given()
            || self.keeping.is_given()
            || self.recording.is_given()
    }

    /// Sets the fields whose flags were given, and names them in the mask.
    fn put(self, proxy: &mut mg::Proxy, mask: &mut Mask) -> Result<()> {
        mask.put_all("caller_credentials", &mut proxy.caller_credentials, self.callers);
        mask.put("target", &mut proxy.target, self.target);
        mask.put("upstream_credential", &mut proxy.upstream_credential, self.upstream);
        mask.put_all("regions", &mut proxy.regions, self.regions);
        mask.put("active", &mut proxy.active, self.active.map(Some));
        mask.put("deny_status", &mut proxy.deny_status, self.deny_status);
        mask.put("opaque_paths", &mut proxy.opaque_paths, self.opaque_paths);
        mask.put("websocket", &mut proxy.websocket, self.websocket);
        mask.put("tunnels_unread", &mut proxy.tunnels_unread, self.tunnels_unread);
        mask.put("client_certificates", &mut proxy.client_certificates, self.client_certificates);
        mask.put("test_after_change", &mut proxy.test_after_change, self.test_after_change);
        let most = &mut proxy.max_concurrent_requests_per_node;
        mask.put("max_concurrent_requests_per_node", most, self.max_concurrent_requests);
        let limits = self.limits.over(proxy.limits);
        mask.put("limits", &mut proxy.limits, limits.map(Some));
        let limits = self.keyed.over_callers(proxy.limits_per_caller);
        mask.put("limits_per_caller", &mut proxy.limits_per_caller, limits.map(Some));
        let limits = self.keyed.over_addresses(proxy.limits_per_address);
        mask.put("limits_per_address", &mut proxy.limits_per_address, limits.map(Some));
        mask.put("max_request_bytes", &mut proxy.max_request_bytes, self.max_request_bytes);
        mask.put("max_response_bytes", &mut proxy.max_response_bytes, self.max_response_bytes);
        mask.put("retry", &mut proxy.retry, self.retry.map(|setting| setting.0));
        mask.put("observe", &mut proxy.observe, self.observe);
        let rewrite = self.shape.over_rewrite(proxy.rewrite.take());
        mask.put("rewrite", &mut proxy.rewrite, rewrite.map(Some));
        let cors = self.shape.over_cors(proxy.cors.take());
        mask.put("cors", &mut proxy.cors, cors);
        mask.put("forwarded", &mut proxy.forwarded, self.shape.forwarded());
        mask.put("echo_guard", &mut proxy.echo_guard, self.echo_guard.map(Guard::to_wire));
        let there = proxy.recording.take();
        let parts = self.keeping.is_given() || self.recording.is_given();
        let kept = self.keeping.over(there.clone()).or(there);
        let recording = self.recording.over(kept.clone()).unwrap_or(kept);
        mask.put("recording", &mut proxy.recording, parts.then_some(recording));
        mask.put("validation", &mut proxy.validation, self.validation.given()?);
        let effect = self.default.default_effect.map(Effect::to_wire);
        mask.put("default_effect", &mut proxy.default_effect, effect);
        mask.put("owner", &mut proxy.owner, self.owner.owner);
        Ok(())
    }
}

impl Verb {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut stub = ProxyServiceClient::new(connection.clone());
        let print = session.print;
        match self {
            Self::Create { name, settings, key, consent } => {
                let credentials = [&settings.callers[..], settings.upstream.as_slice()].concat();
                let sealing = to_regions(
                    &connection,
                    &org,
                    &credentials,
                    &settings.regions,
                    key,
                    session.regions_file(),
                    consent,
                );
                sealing.await?;
                let mut proxy = mg::Proxy { name, ..mg::Proxy::default() };
                settings.put(&mut proxy, &mut Mask::default())?;
                let ask = consent.with(mg::CreateProxyRequest {
                    org: org.clone(),
                    proxy: Some(proxy),
                    ..Default::default()
                });
                let done = stub.create_proxy(ask).await?.into_inner();
                let proxy = names::of_one(print, &connection, &org, done.proxy).await?;
                print.written(&proxy, &format!("created proxy {}", proxy.name), done.revision)
            }
            Self::List(listing) => {
                let found = async || {
                    names::of(print, &connection, &org, list(connection.clone(), &org, &listing).await?).await
                };
                listing.print(print, "proxy", found).await
            }
            Self::Show { proxy, at } => {
                let ask = mg::GetProxyRequest { org: org.clone(), proxy, revision: at };
                print.one(
                    &names::of_one(print, &connection, &org, stub.get_proxy(ask).await?.into_inner().proxy)
                        .await?,
                )
            }
            Self::Update { proxy: name, settings, key, condition, consent } => {
                let mut proxy = mg::Proxy::default();
                let seals = key.is_there() && !settings.regions.is_empty();
                // A limit is a part of a field, and so is a change: the other parts are read, so that they stay.
                if settings.has_part_of_a_field() || seals {
                    let ask = mg::GetProxyRequest { org: org.clone(), proxy: name.clone(), revision: 0 };
                    proxy = stub.get_proxy(ask).await?.into_inner().proxy.unwrap_or_default();
                }
                let mut mask = Mask::default();
                settings.put(&mut proxy, &mut mask)?;
                proxy.etag = condition.or(proxy.etag);
                if seals {
                    let credentials =
                        [&proxy.caller_credentials[..], &[proxy.upstream_credential.clone()]].concat();
                    let (file, regions) = (session.regions_file(), &proxy.regions);
                    to_regions(&connection, &org, &credentials, regions, key, file, consent).await?;
                }
                let update_mask = mask.finish()?;
                let ask = consent.with(mg::UpdateProxyRequest {
                    org: org.clone(),
                    name,
                    proxy: Some(proxy),
                    update_mask,
                    ..Default::default()
                });
                let done = stub.update_proxy(ask).await?.into_inner();
                let proxy = names::of_one(print, &connection, &org, done.proxy).await?;
                print.written(&proxy, &format!("updated proxy {}", proxy.name), done.revision)
            }
            Self::Delete { proxy, condition, yes, consent } => {
                yes.ask(&format!("delete proxy {proxy}, with its rules, filters and meters"))?;
                let what = format!("deleted proxy {proxy}");
                let ask = consent.with(mg::DeleteProxyRequest {
                    org,
                    proxy,
                    etag: condition.etag,
                    ..Default::default()
                });
                let done = stub.delete_proxy(ask).await?.into_inner();
                print.done(&at_revision(&what, done.revision), &done)
            }
        }
    }
}

/// The proxies of an organization.
pub(crate) async fn list(connection: Connection, org: &str, which: &Listing) -> Result<Vec<mg::Proxy>> {
    let mut stub = ProxyServiceClient::new(connection);
    which
        .all(async |page_size, page_token| {
            let (org, filter, order_by) = (org.to_owned(), which.filter.clone(), which.order_by.clone());
            let ask = mg::ListProxiesRequest { org, page_size, page_token, filter, order_by };
            let reply = stub.list_proxies(ask).await?.into_inner();
            Ok((reply.proxies, reply.next_page_token))
        })
        .await
}

impl Row for mg::Proxy {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "id",
        "active",
        "target",
        "upstream",
        "callers",
        "regions",
        "limits",
        "nodes",
        "urls",
        "observe",
        "default",
        "bodies",
        "deny",
        "opaque paths",
        "websocket",
        "client certificates",
        "test after change",
        "retry",
        "rewrite",
        "cors",
        "forwarded",
        "echo guard",
        "records",
        "recorded",
        "validated",
        "owner",
        "updated",
    ];
    const WIDE: &'static [&'static str] = &[
        "id",
        "opaque paths",
        "websocket",
        "client certificates",
        "test after change",
        "retry",
        "rewrite",
        "cors",
        "forwarded",
        "echo guard",
        "records",
        "recorded",
        "validated",
    ];

    fn cells(&self) -> Vec<String> {
        let bodies = [("request", self.max_request_bytes), ("response", self.max_response_bytes)];
        let bodies = bodies.iter().filter(|(_, most)| *most > 0);
        vec![
            self.name.clone(),
            self.id.clone(),
            self.active().to_string(),
            self.target.clone(),
            self.upstream_credential.clone(),
            self.caller_credentials.join(" "),
            self.regions.join(" "),
            limits::of_proxy(self),
            self.nodes.to_string(),
            self.urls.join(" "),
            if self.observe { "observe" } else { "" }.to_owned(),
            default_effect(self.default_effect()),
            bodies.map(|(what, most)| format!("{what} {}", size::text(*most))).collect::<Vec<_>>().join(" "),
            if self.deny_status == 0 { 400 } else { self.deny_status }.to_string(),
            if self.opaque_paths { "taken" } else { "" }.to_owned(),
            match (self.websocket, self.tunnels_unread) {
                (false, false) => "",
                (true, false) => "taken",
                (_, true) => "taken unread",
            }
            .to_owned(),
            if self.client_certificates { "wanted" } else { "" }.to_owned(),
            if self.test_after_change { "yes" } else { "" }.to_owned(),
            self.retry.as_ref().map(resilience::retry_of).unwrap_or_default(),
            shape::rewrite_of(self),
            shape::cors_of(self),
            shape::forwarded_of(self),
            match self.echo_guard() {
                fleet::EchoGuard::Unspecified | fleet::EchoGuard::Mask => "mask",
                fleet::EchoGuard::Refuse => "refuse",
                fleet::EchoGuard::Off => "off",
            }
            .to_owned(),
            keeping::text(self.recording.as_ref()),
            recording::text(self),
            validation::text(self.validation.as_ref()),
            self.owner.clone(),
            time(self.updated_at.as_ref()),
        ]
    }
}
