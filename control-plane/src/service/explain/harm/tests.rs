//! What was seen: what a node refuses, and what callers of the proxies got.

use rr_contract::model::effect::Effect;
use rr_contract::model::id::{CredentialId, FilterId, MeterId, OrgId, ProxyId, RegionId, RuleId, TargetId};
use rr_contract::model::keeping::Keeping;
use rr_contract::model::proxy::{DenyStatus, EchoGuard, Forwarded, Limits};

use super::*;

const ORG: OrgId = OrgId::from_random([1; 16]);

fn key(id: ResourceId) -> Key {
    Key::new(ORG, id)
}

fn credential(n: u8) -> ResourceId {
    ResourceId::Credential(CredentialId::from_random([n; 16]))
}

fn target(n: u8) -> ResourceId {
    ResourceId::Target(TargetId::from_random([n; 16]))
}

fn proxy_id(n: u8) -> ResourceId {
    ResourceId::Proxy(ProxyId::from_random([n; 16]))
}

/// Target 1, upstream credential 1, callers 2 and 3.
fn proxy() -> Proxy {
    let id = |n: u8| CredentialId::from_random([n; 16]);
    Proxy {
        name: "pay".parse().expect("a name"),
        active: true,
        caller_credentials: vec![id(2), id(3)],
        target: TargetId::from_random([1; 16]),
        upstream_credential: id(1),
        regions: vec![RegionId::from_random([1; 16])],
        default_effect: Effect::Allow,
        deny_status: DenyStatus::default(),
        opaque_paths: false,
        limits: Limits::default(),
        limits_per_caller: Limits::default(),
        limits_per_address: Limits::default(),
        observe: false,
        max_request_bytes: None,
        max_response_bytes: None,
        retry: None,
        max_concurrent: None,
        websocket: false,
        tunnels_unread: false,
        client_certificates: false,
        test_after_change: false,
        rewrite: None,
        cors: None,
        forwarded: Forwarded::default(),
        echo_guard: EchoGuard::default(),
        keeping: Keeping::default(),
        recording: None,
        validation: None,
    }
}

#[test]
fn a_refusal_closes_what_it_bears_on_by_whichever_scope_and_nothing_else() {
    let rule = ResourceId::Rule(RuleId::from_random([9; 16]));
    let filter = ResourceId::Filter(FilterId::from_random([9; 16]));
    let meter = ResourceId::Meter(MeterId::from_random([9; 16]));
    // What is refused, what it belongs to, what callers get where no version of it runs, and where one does.
    let cases = [
        // A limit, a default of deny or opaque paths on the proxy itself.
        (proxy_id(1), None, Some(Harm::Absent), Some(Harm::Older)),
        (proxy_id(2), None, None, None),
        // A default of deny on the target.
        (target(1), None, Some(Harm::Closed), Some(Harm::Older)),
        (target(2), None, None, None),
        (ResourceId::Org, None, Some(Harm::Closed), Some(Harm::Older)),
        (credential(1), None, Some(Harm::Unusable), Some(Harm::Older)),
        // A bearer or verified JWT, a header of one's own, or a default of deny on a caller.
        (credential(2), None, Some(Harm::Denied), Some(Harm::Older)),
        (credential(3), None, Some(Harm::Denied), Some(Harm::Older)),
        (credential(4), None, None, None),
        (rule, Some(proxy_id(1)), Some(Harm::Closed), Some(Harm::Closed)),
        (rule, Some(target(1)), Some(Harm::Closed), Some(Harm::Closed)),
        (rule, Some(credential(1)), Some(Harm::Closed), Some(Harm::Closed)),
        (rule, Some(credential(3)), Some(Harm::Closed), Some(Harm::Closed)),
        (rule, Some(proxy_id(2)), None, None),
        (rule, Some(target(2)), None, None),
        (rule, Some(credential(4)), None, None),
        (rule, None, None, None),
        (filter, Some(proxy_id(1)), Some(Harm::Closed), Some(Harm::Closed)),
        (filter, Some(target(1)), Some(Harm::Closed), Some(Harm::Closed)),
        (meter, Some(proxy_id(1)), Some(Harm::Closed), Some(Harm::Closed)),
        (meter, Some(proxy_id(2)), None, None),
    ];
    let (here, proxy) = (key(proxy_id(1)), proxy());
    for (cause, bears, none_runs, one_runs) in cases {
        let bears = bears.map(key);
        let harm = |runs_another| of((&here, &proxy), &key(cause), bears.as_ref(), runs_another);
        assert_eq!((harm(false), harm(true)), (none_runs, one_runs), "{cause:?} of {bears:?}");
    }
    let foreign = Key::new(OrgId::from_random([2; 16]), target(1));
    assert_eq!(of((&here, &proxy), &foreign, None, false), None);
}

fn harmed(harms: &[(&str, &str, Harm, &str)]) -> fleet::ExplainResourceResponse {
    let harms = harms.iter().map(|(proxy, node, harm, cause)| fleet::ProxyHarm {
        name: (*proxy).to_owned(),
        node: (*node).to_owned(),
        harm: (*harm).into(),
        cause_kind: "rule".to_owned(),
        cause_name: (*cause).to_owned(),
        why: fleet::Why::UnknownFeature.into(),
        detail: "needs feature \"rules.v1\"".to_owned(),
        ..Default::default()
    });
    fleet::ExplainResourceResponse {
        name: "pay".to_owned(),
        regions: vec![fleet::ResourceInRegion { connected: 3, harms: harms.collect(), ..Default::default() }],
        ..Default::default()
    }
}

#[test]
fn the_sentence_names_the_worst_with_its_node_resource_and_reason() {
    let one = harmed(&[
        ("pay", "nd_1", Harm::Older, "r0"),
        ("pay", "nd_1", Harm::Closed, "r1"),
        ("pay", "nd_2", Harm::Absent, "r2"),
    ]);
    assert_eq!(
        sentence(Noun::Proxy, &one).as_deref(),
        Some(
            "callers of proxy \"pay\" get 503 proxy-closed on 2 of 3 connected nodes: nd_1 refuses rule \"r1\" \
             (unknown-feature: needs feature \"rules.v1\") and 1 more of what it needs"
        )
    );
    let other = harmed(&[("pay", "nd_1", Harm::Denied, "r1"), ("buy", "nd_1", Harm::Denied, "r1")]);
    assert_eq!(
        sentence(Noun::Credential, &other).as_deref(),
        Some(
            "nd_1 refuses rule \"r1\" (unknown-feature: needs feature \"rules.v1\"), so callers of proxy \"pay\" and 1 \
             more get 503 proxy-closed with that credential, or 401 where the node cannot tell whose it is, on 1 of 3 connected \
             nodes"
        )
    );
    assert_eq!(sentence(Noun::Proxy, &harmed(&[])), None);
}
