//! Withdrawal: the version of a target or proxy that nodes do not take is followed by the one before it.
//!
//! No person asked for it, so it never allows more than the withdrawn version did: a version that would is left to a
//! person, and so is one that a withdrawal restored. The caller has counted the nodes; this file only checks that the
//! version is still the published one.
//!
//! The invariant: one version is withdrawn at most once, whichever replicas see that it is refused.

use std::collections::BTreeSet;

use prost::Message as _;
use rr_contract::model::invalid::Violations;
use rr_contract::model::keeping::ALL;
use rr_contract::wire::fleet::{self, Effect};
use rr_contract::wire::management::{self as wire, Document, Role, document};

use super::draft::{Draft, ready};
use super::scope::{Scope, live_org};
use super::{ServiceError, Services, directory};
use crate::authz::Principal;
use crate::document::{Resource, each};
use crate::notice::{self, Refused};
use crate::noun::Noun;
use crate::store::{self, Author, Consent, Put, StoreError, Txn, change_row, resource_row};

/// As the audit names it. No call of anybody is called so.
pub(crate) const CALL: &str = "rr-control withdraw";
/// How many versions are looked through for one to bring back.
const VERSIONS: u64 = 256;

/// How long after it was published a version may be withdrawn, in microseconds: nodes refuse a bad version soon.
/// A version that nodes accepted for longer is now refused by other nodes, or by another build.
const YOUNG: i64 = 3_600_000_000;

/// A version to withdraw, and the refusal that is the reason.
#[derive(Debug, Clone)]
pub(crate) struct Withdrawal {
    /// Target or proxy.
    pub(crate) noun: Noun,
    pub(crate) org: String,
    pub(crate) id: String,
    /// Hash of the payload that nodes were sent.
    pub(crate) wanted: Vec<u8>,
    /// Every version of it that some node refuses.
    pub(crate) refused: BTreeSet<Vec<u8>>,
    /// The versions that run in its place where it is refused.
    pub(crate) running: BTreeSet<Vec<u8>>,
    pub(crate) region: resource_row::Model,
    pub(crate) refusing: usize,
    /// Nodes of the region.
    pub(crate) nodes: usize,
    /// The refusal of one of them.
    pub(crate) refusal: fleet::Refusal,
}

/// The result of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// The older version is this revision.
    Done(u64),
    /// It is no longer the published version: another write came first.
    Passed,
    /// A person has to look: name of the resource, since when it is published, and why.
    Left {
        name: String,
        revision: u64,
        why: String,
        /// The obstacle is temporary.
        for_now: bool,
    },
}

/// The change to stage.
struct Plan {
    put: Put,
    /// Revision of the withdrawn version, and of the restored one.
    revision: u64,
    back: u64,
}

impl Services {
    /// Brings back the newest older version that nodes can be expected to take.
    pub(crate) async fn withdraw(&self, order: Withdrawal) -> Result<Withdrawn, ServiceError> {
        // Nodes that do not understand the older version refuse it, as they did when it was published first.
        let consent = Consent { partial: true, ..Consent::default() };
        let author = Author { consent, ..Author::system(CALL) };
        let named = order.clone();
        let written =
            self.store.write(author, move |txn| Box::pin(async move { withdraw(txn, &order).await })).await;
        match written {
            Ok(written) => Ok(match (written.value, written.revision) {
                (Some(left), _) => left,
                (None, Some(revision)) => Withdrawn::Done(revision),
                (None, None) => Withdrawn::Passed,
            }),
            Err(ServiceError::NotAdmitted(refusal)) => {
                let row = store::resource::by_id(&self.store, named.noun, &named.id).await?;
                let (name, revision) = row.map(|row| (row.name, row.rev.unsigned_abs())).unwrap_or_default();
                Ok(Withdrawn::Left { name, revision, why: refusal.to_string(), for_now: true })
            }
            Err(error) => Err(error),
        }
    }
}

/// Stages the withdrawal, or returns why not; stages nothing where the version is no longer published.
async fn withdraw(txn: &mut Txn, order: &Withdrawal) -> Result<Option<Withdrawn>, ServiceError> {
    let found = store::resource::find(txn, order.noun, &order.org, &order.id).await?;
    let Some(row) = found.filter(|row| row.payload.as_ref() == Some(&order.wanted)) else { return Ok(None) };
    let plan = match plan(txn, order, &row).await? {
        Ok(plan) => plan,
        Err((revision, why)) => {
            return Ok(Some(Withdrawn::Left { name: row.name, revision, why, for_now: false }));
        }
    };
    let of = Refused { org: &order.org, noun: order.noun, id: &order.id, name: &row.name };
    let counted = notice::Counted {
        region: &order.region.name,
        refusing: order.refusing,
        nodes: order.nodes,
        refusal: &order.refusal,
    };
    let told = notice::withdrawn(txn.now(), &of, &counted, [plan.revision, plan.back, txn.head() + 1]);
    let words = format!(
        "{}: revision {} of {} {} withdrawn to revision {}: {counted}",
        order.region.name,
        plan.revision,
        order.noun.title(),
        row.name,
        plan.back,
    );
    txn.put(plan.put);
    txn.decide(Noun::Region, order.region.clone(), words);
    store::notification::along(txn, told);
    Ok(None)
}

/// The change to stage, or why there is none; with the revision since when the refused version is published.
async fn plan(
    txn: &Txn,
    order: &Withdrawal,
    row: &resource_row::Model,
) -> Result<Result<Plan, (u64, String)>, ServiceError> {
    let versions = store::history::versions(txn, order.noun, &order.id, VERSIONS).await?;
    // Fields that nodes are not sent may have changed since.
    let same = |version: &&change_row::Model| version.payload.as_ref() == Some(&order.wanted);
    let Some(since) = versions.iter().take_while(same).last() else {
        return Err(StoreError::Damaged("change").into());
    };
    let revision = since.rev.unsigned_abs();
    let left = |why: &str| Ok(Err((revision, why.to_owned())));
    let written_by = store::history::revision(txn, revision).await?;
    if written_by.as_ref().is_some_and(|revision| revision.call == CALL) {
        return left("a withdrawal restored this version itself");
    }
    if written_by.is_none_or(|revision| txn.now().saturating_sub(revision.at) > YOUNG) {
        return left(
            "it has been published for more than an hour, so the nodes have changed and not the version",
        );
    }
    let Some(back) = earlier(&versions, since.rev, order) else {
        return left("no older version is kept that nodes do not refuse");
    };
    let (Some(then), now) = (&back.after, &row.doc) else { return left("the older version is not kept") };
    let blobs = store::resource::blobs(txn, vec![then.clone(), now.clone()]).await?;
    let document = |hash: &Vec<u8>| -> Result<document::Resource, StoreError> {
        let bytes = blobs.get(hash).ok_or(StoreError::Damaged("blob"))?;
        let document = Document::decode(bytes.as_slice()).map_err(|_| StoreError::Damaged("blob"))?;
        document.resource.ok_or(StoreError::Damaged("blob"))
    };
    let (older, newer) = (document(then)?, document(now)?);
    if let Some(more) = gives_more(&older, &newer) {
        return left(&format!("the older version, of revision {}, {more}", back.rev));
    }
    let put = each!(older, resource => put_of(txn, &order.org, row, resource).await?);
    let put = match put {
        Ok(put) => put,
        Err(why) => {
            return left(&format!("the older version, of revision {}, cannot be restored: {why}", back.rev));
        }
    };
    let hash = put.payload.as_ref().map(|payload| payload.hash().to_vec());
    if hash.is_none_or(|hash| order.refused.contains(&hash)) {
        return left("the older version compiles to a payload that nodes refuse");
    }
    Ok(Ok(Plan { put, revision, back: back.rev.unsigned_abs() }))
}

/// The newest older version that runs where the refused one does not; where none does, the newest that no node refuses.
fn earlier<'a>(
    versions: &'a [change_row::Model],
    since: i64,
    order: &Withdrawal,
) -> Option<&'a change_row::Model> {
    // Where it was not sent to anybody, it was hidden or gone.
    let sent = |version: &&change_row::Model| {
        version.rev < since
            && version.after.is_some()
            && version.payload.as_ref().is_some_and(|hash| !order.refused.contains(hash))
    };
    let runs = |version: &&change_row::Model| {
        version.payload.as_ref().is_some_and(|hash| order.running.contains(hash))
    };
    versions.iter().filter(sent).find(runs).or_else(|| versions.iter().find(sent))
}

/// A stored version, checked as if it were written now.
pub(super) async fn put_of<R: Resource>(
    txn: &Txn,
    org: &str,
    row: &resource_row::Model,
    mut resource: R,
) -> Result<Result<Put, String>, ServiceError> {
    let owner = live_org(txn, org).await?;
    let directory = directory::around(txn, org, &mut resource).await?;
    let system = Principal {
        name: "system".to_owned(),
        orgs: vec![(org.to_owned(), Role::Owner)],
        ..Principal::default()
    };
    // What is older lets nobody do more than what is newer, and so is above no ceiling that this is not above.
    let scope = Scope { org, principal: &system, ceilings: None };
    let secret = match R::NOUN {
        Noun::Credential => store::secret::of(txn, &row.id).await?,
        _ => None,
    };
    let draft = Draft { wire: resource, secret, before: Some(row.clone()) };
    let mut faults = Violations::default();
    let found = ready(scope, Some(&owner.document), &directory, draft, R::NOUN.text(), &mut faults);
    let ready = match found {
        Ok(ready) => ready,
        Err(ServiceError::Store(error)) => return Err(error.into()),
        Err(fault) => return Ok(Err(fault.to_string())),
    };
    if let Err(invalid) = faults.finish(|| Some(())) {
        return Ok(Err(invalid.to_string()));
    }
    Ok(ready.and_then(|ready| ready.put).ok_or_else(|| "it equals the current version".to_owned()))
}

/// What an older version would allow that the newer one does not.
fn gives_more(older: &document::Resource, newer: &document::Resource) -> Option<&'static str> {
    match (older, newer) {
        (document::Resource::Target(older), document::Resource::Target(newer)) => {
            more_of_target(older, newer)
        }
        (document::Resource::Proxy(older), document::Resource::Proxy(newer)) => more_of_proxy(older, newer),
        _ => Some("is of another kind"),
    }
}

fn allows(effect: i32) -> bool {
    effect != i32::from(Effect::Deny)
}

const OTHERWISE: &str = "lets requests through that the newer schema refuses; a person decides that";

/// Whether an older validation may let through what the newer one refuses.
fn validates_otherwise(older: Option<&fleet::Validation>, newer: Option<&fleet::Validation>) -> bool {
    newer.is_some() && older != newer
}

fn more_of_target(older: &wire::Target, newer: &wire::Target) -> Option<&'static str> {
    // Named one by one, as the fields of a proxy are.
    let wire::Target {
        base_url,
        default_effect,
        more_base_urls,
        ca,
        min_tls,
        trace_context,
        validation,
        connect_timeout: _,
        response_timeout: _,
        danger_plaintext: _,
        test_path: _,
        balance: _,
        idle_timeout: _,
        total_timeout: _,
        outlier_ejection: _,
        circuit_breaker: _,
        health_check: _,
        http_version: _,
        id: _,
        org: _,
        name: _,
        owner: _,
        etag: _,
        created_at: _,
        updated_at: _,
        created_by: _,
    } = newer;
    if older.base_url.starts_with("http:") && !base_url.starts_with("http:") {
        return Some("is reached over plain HTTP; a person decides that");
    }
    let now = |url: &String| url == base_url || more_base_urls.contains(url);
    if !older.more_base_urls.iter().all(now) {
        return Some("has more base URLs; a person decides that");
    }
    if older.ca != *ca {
        return Some("trusts other certificates; a person decides that");
    }
    if older.min_tls != "1.3" && min_tls == "1.3" {
        return Some("speaks TLS 1.2; a person decides that");
    }
    if older.trace_context && !trace_context {
        return Some("tells its upstream of traces; a person decides that");
    }
    if validates_otherwise(older.validation.as_ref(), validation.as_ref()) {
        return Some(OTHERWISE);
    }
    let allows_more = allows(older.default_effect) && !allows(*default_effect);
    allows_more.then_some("allows requests that no rule matches; a person decides that")
}

fn more_of_proxy(older: &wire::Proxy, newer: &wire::Proxy) -> Option<&'static str> {
    // Named one by one: a new field does not compile before somebody has decided whether an older value of it lets
    // more through.
    let wire::Proxy {
        active,
        caller_credentials,
        target,
        upstream_credential,
        regions,
        default_effect,
        opaque_paths,
        limits,
        observe,
        max_request_bytes,
        max_response_bytes,
        limits_per_caller,
        limits_per_address,
        max_concurrent_requests_per_node,
        websocket,
        tunnels_unread,
        client_certificates,
        rewrite,
        cors,
        forwarded,
        recording,
        validation,
        test_after_change: _,
        echo_guard: _,
        retry: _,
        deny_status: _,
        id: _,
        org: _,
        name: _,
        urls: _,
        nodes: _,
        owner: _,
        etag: _,
        created_at: _,
        updated_at: _,
        created_by: _,
        over_ceiling: _,
    } = newer;
    if older.active.unwrap_or(true) && !active.unwrap_or(true) {
        return Some("is active; a person decides that");
    }
    if !older.caller_credentials.iter().all(|id| caller_credentials.contains(id)) {
        return Some("has more callers; a person decides that");
    }
    if !older.regions.iter().all(|region| regions.contains(region)) {
        return Some("is served in more regions; a person decides that");
    }
    if older.target != *target {
        return Some("has another target; a person decides that");
    }
    if older.upstream_credential != *upstream_credential {
        return Some("uses another upstream credential; a person decides that");
    }
    if allows(older.default_effect) && !allows(*default_effect) {
        return Some("allows requests that no rule matches; a person decides that");
    }
    if validates_otherwise(older.validation.as_ref(), validation.as_ref()) {
        return Some(OTHERWISE);
    }
    if older.opaque_paths && !opaque_paths {
        return Some("accepts opaque paths; a person decides that");
    }
    if older.observe && !observe {
        return Some("only observes its rules; a person decides that");
    }
    // 0 is no limit.
    let raised = |then: u64, now: u64| now != 0 && (then == 0 || then > now);
    let pairs = [
        (older.limits, limits),
        (older.limits_per_caller, limits_per_caller),
        (older.limits_per_address, limits_per_address),
    ];
    let has_raised = pairs.into_iter().any(|(then, now)| {
        let (then, now) = (then.unwrap_or_default(), now.unwrap_or_default());
        raised(then.per_minute_per_node, now.per_minute_per_node)
            || raised(then.per_day_per_node, now.per_day_per_node)
    });
    if has_raised {
        return Some("has higher limits; a person decides that");
    }
    if raised(older.max_request_bytes, *max_request_bytes)
        || raised(older.max_response_bytes, *max_response_bytes)
    {
        return Some("takes longer bodies; a person decides that");
    }
    if raised(older.max_concurrent_requests_per_node.into(), (*max_concurrent_requests_per_node).into()) {
        return Some("takes more requests at a time; a person decides that");
    }
    if (older.websocket && !websocket) || (older.tunnels_unread && !tunnels_unread) {
        return Some("lets WebSockets through; a person decides that");
    }
    if *client_certificates && !older.client_certificates {
        return Some("takes callers without a client certificate; a person decides that");
    }
    if older.rewrite != *rewrite {
        return Some("changes requests or responses in another way; a person decides that");
    }
    if older.cors.is_some() && older.cors != *cors {
        return Some("takes calls from other web pages; a person decides that");
    }
    if older.forwarded != 0 && older.forwarded != *forwarded {
        return Some("tells the upstream about callers; a person decides that");
    }
    // How many records there are is looked at below.
    let parts = |it: &Option<fleet::Recording>| fleet::Recording {
        sample_per_thousand: None,
        durable: false,
        ..it.clone().unwrap_or_default()
    };
    if parts(&older.recording) != parts(recording) {
        return Some("records other parts of requests; a person decides that");
    }
    let strictness = |proxy: &wire::Proxy| match proxy.echo_guard() {
        fleet::EchoGuard::Off => 0,
        fleet::EchoGuard::Unspecified | fleet::EchoGuard::Mask => 1,
        fleet::EchoGuard::Refuse => 2,
    };
    if strictness(older) < strictness(newer) {
        return Some("guards less against a secret that the upstream sends back; a person decides that");
    }
    let recorded = |proxy: &wire::Proxy| {
        let recording = proxy.recording.clone().unwrap_or_default();
        (recording.sample_per_thousand.unwrap_or(ALL.into()), recording.durable)
    };
    let (then, now) = (recorded(older), recorded(newer));
    if then.0 < now.0 || (!then.1 && now.1) {
        return Some("keeps fewer records of its requests, or less surely; a person decides that");
    }
    None
}

#[cfg(test)]
mod tests;
