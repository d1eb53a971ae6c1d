//! What a change does to what runs.

mod poison;

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::feature;
use rr_contract::model::id::TargetId;
use rr_contract::wire::fleet;

use crate::fixture::{
    self, Region, body, caller, caller_key, credential_key, future_rule, org, proxy, proxy_key, resource,
    rule, target, target_key,
};
use crate::quota::Metered;

use super::tell::TOLD_MAX;
use super::*;

struct Node {
    region: Region,
    inventory: Inventory,
    snapshot: Snapshot,
}

impl Node {
    /// Org, target 1, caller 1, upstream credential 2, proxy 1.
    fn new() -> Self {
        let region = Region::new();
        let first = [
            org(false),
            target(1, "https://a.example"),
            caller(1, 2, &[1]),
            region.upstream(2, 2, "s", "x-key", &["https://a.example"]),
            proxy(1, &[1], 1, 2),
        ];
        let mut node = Self { inventory: region.inventory(), region, snapshot: Snapshot::default() };
        node.apply(Mode::Snapshot, &first, &[]);
        assert!(node.standing().is_empty() && node.is_open(), "{:?}", node.standing());
        node
    }

    fn apply(&mut self, mode: Mode, upserts: &[fleet::Resource], removals: &[Key]) {
        let changes = crate::sync::changes(&body(upserts, removals));
        let expected = self.inventory.after(mode, &changes);
        self.inventory.apply(mode, changes, &mut self.snapshot);
        assert_eq!(self.inventory.after(Mode::Delta, &Changes::new()), expected, "the digest was foretold");
    }

    fn change(&mut self, upserts: &[fleet::Resource]) {
        self.apply(Mode::Delta, upserts, &[]);
    }

    fn standing(&self) -> Vec<(String, Why, bool)> {
        let said = |refusal: fleet::Refusal| {
            (refusal.key.clone().expect("a key").id, refusal.why(), refusal.fails_closed)
        };
        self.inventory.standing().into_iter().map(said).collect()
    }

    fn is_open(&self) -> bool {
        self.snapshot.proxy("acme.proxy-1").is_some_and(|proxy| proxy.route.is_some())
    }

    fn base(&self) -> String {
        let proxy = self.snapshot.proxy("acme.proxy-1").expect("it is there");
        proxy.route.as_ref().expect("it is open").target.base.to_string()
    }

    fn accepts(&self, n: u8) -> bool {
        let hash = api_key::hash(KeyKind::Caller, caller_key(n).as_bytes()).expect("a key");
        self.snapshot.caller(fixture::ORG, &hash).is_some_and(|caller| !caller.is_refused)
    }
}

fn broken(key: Key) -> fleet::Resource {
    resource(key, vec![0xff, 0xff])
}

#[test]
fn a_change_of_what_a_proxy_uses_reaches_the_proxy() {
    let mut node = Node::new();
    node.change(&[target(1, "https://b.example")]);
    assert_eq!(node.base(), "https://b.example");
    node.change(&[org(true)]);
    let proxy = node.snapshot.proxy("acme.proxy-1").expect("it is there");
    assert!(proxy.route.as_ref().is_some_and(|route| route.org.suspended));
}

#[test]
fn a_refused_target_or_proxy_keeps_its_previous_version() {
    let mut node = Node::new();
    node.change(&[broken(target_key(1)), broken(proxy_key(1))]);
    assert_eq!(node.base(), "https://a.example");
    let refused =
        [(target_key(1).id_text(), Why::Decode, false), (proxy_key(1).id_text(), Why::Decode, false)];
    assert_eq!(node.standing(), refused);
    // The old content again clears it.
    node.change(&[target(1, "https://a.example"), proxy(1, &[1], 1, 2)]);
    assert!(node.standing().is_empty() && node.is_open());
}

#[test]
fn a_refused_resource_that_never_ran_stands_in_nobodys_way() {
    let mut node = Node::new();
    node.change(&[broken(target_key(5)), broken(proxy_key(5)), target(1, "https://b.example")]);
    assert_eq!(node.base(), "https://b.example");
    assert!(node.standing().iter().all(|(_, _, closed)| *closed));
    let closed = node.snapshot.proxy(&fixture::proxy_id(5).to_string()).expect("it is there");
    assert!(closed.route.is_none() && closed.address.is_none());
    node.apply(Mode::Delta, &[], &[proxy_key(5)]);
    assert!(node.snapshot.proxy(&fixture::proxy_id(5).to_string()).is_none());
}

#[test]
fn a_rule_that_is_not_understood_closes_the_proxies_that_it_bears_on() {
    for parent in [proxy_key(1), target_key(1), credential_key(1), credential_key(2)] {
        let mut node = Node::new();
        let rule = future_rule(1, parent);
        let key = Key::try_from(rule.key.as_ref().expect("a key")).expect("a key");
        node.change(&[rule]);
        assert!(!node.is_open(), "{parent}");
        assert_eq!(node.standing(), [(key.id_text(), Why::UnknownFeature, true)]);
        node.apply(Mode::Delta, &[], &[key]);
        assert!(node.is_open(), "{parent}");
    }
}

#[test]
fn a_rule_that_cannot_be_read_closes_its_whole_organization_and_no_more() {
    let mut node = Node::new();
    let rule = rule(1, target_key(7));
    let key = Key::try_from(rule.key.as_ref().expect("a key")).expect("a key");
    node.change(&[rule]);
    assert!(node.is_open(), "it bears on another target");
    node.change(&[broken(key)]);
    assert!(!node.is_open());
}

#[test]
fn a_refused_caller_credential_is_accepted_no_longer() {
    let mut node = Node::new();
    node.change(&[broken(credential_key(1))]);
    assert!(!node.accepts(1));
    assert_eq!(node.standing(), [(credential_key(1).id_text(), Why::Decode, true)]);
    node.change(&[caller(1, 3, &[1, 4])]);
    assert!(node.accepts(1) && node.accepts(4));
    node.change(&[caller(1, 4, &[4])]);
    assert!(!node.accepts(1) && node.accepts(4));
}

#[test]
fn an_upstream_credential_that_does_not_open_leaves_the_one_before() {
    let mut node = Node::new();
    node.change(&[Region::new().upstream(2, 3, "s3", "x-key", &["https://a.example"])]);
    assert_eq!(node.standing(), [(credential_key(2).id_text(), Why::Unseal, false)]);
    let proxy = node.snapshot.proxy("acme.proxy-1").expect("it is there");
    assert!(proxy.route.as_ref().is_some_and(|route| route.upstream.is_some()));
    node.change(&[node.region.upstream(2, 3, "s3", "x-key", &["https://a.example"])]);
    assert!(node.standing().is_empty());
}

#[test]
fn an_older_version_of_a_secret_is_refused_even_after_it_was_gone() {
    let mut node = Node::new();
    node.change(&[node.region.upstream(2, 1, "s1", "x-key", &["https://a.example"]), caller(1, 1, &[9])]);
    let refused: Vec<Why> = node.standing().into_iter().map(|(_, why, _)| why).collect();
    assert_eq!(refused, [Why::Stale, Why::Stale]);
    assert!(node.accepts(1) && !node.accepts(9) && node.is_open());
    node.apply(Mode::Delta, &[], &[credential_key(1)]);
    node.change(&[caller(1, 1, &[9])]);
    assert!(!node.accepts(9));
}

#[test]
fn a_proxy_that_names_what_is_not_there_waits_for_it() {
    let mut node = Node::new();
    node.change(&[proxy(1, &[1], 8, 2)]);
    assert_eq!(node.standing(), [(proxy_key(1).id_text(), Why::DanglingRef, false)]);
    assert_eq!(node.base(), "https://a.example", "the version before runs");
    node.change(&[target(8, "https://c.example")]);
    assert!(node.standing().is_empty());
    assert_eq!(node.base(), "https://c.example");
    node.apply(Mode::Delta, &[], &[target_key(8)]);
    assert!(!node.is_open(), "a removal is never refused");
}

#[test]
fn a_feature_that_is_not_had_refuses_the_resource_alone() {
    let mut node = Node::new();
    let mut future = target(1, "https://b.example");
    future.needs = vec!["teleport".to_owned()];
    node.change(&[future]);
    assert_eq!(node.standing(), [(target_key(1).id_text(), Why::UnknownFeature, false)]);
    assert_eq!(node.base(), "https://a.example");
}

#[test]
fn what_restricts_more_than_this_node_can_closes_and_the_version_before_goes_too() {
    let off = fleet::ProxyResource { active: false, ..fixture::proxy_message(1, &[1], 1, 2) };
    let mut future = resource(proxy_key(1), off.encode_to_vec());
    future.needs = vec!["teleport".to_owned()];
    let mut node = Node::new();
    node.change(&[future]);
    assert_eq!(node.standing(), [(proxy_key(1).id_text(), Why::UnknownFeature, true)]);
    // Requests find it all the same: whoever may call it is told that it is closed.
    assert!(node.snapshot.proxy("acme.proxy-1").expect("it is there").route.is_none());
}

#[test]
fn what_a_version_before_this_one_cannot_run_it_closes_whether_or_not_it_is_told_what_that_needs() {
    let mut message = fixture::caller_message(1, 3, &[1]);
    if let Some(fleet::credential_resource::Usage::Caller(caller)) = &mut message.usage {
        caller.header = "x-key".to_owned();
    }
    let had: Vec<&str> =
        FEATURES.iter().copied().filter(|feature| *feature != feature::CALLER_HEADER).collect();
    for needs in [vec![], vec![feature::CALLER_HEADER.to_owned()]] {
        let said = fleet::Resource { needs, ..resource(credential_key(1), message.encode_to_vec()) };
        let changes = crate::sync::changes(&body(std::slice::from_ref(&said), &[]));
        let Some(Change::Upsert(offered)) = changes.get(&credential_key(1)) else { panic!("it is set") };
        let read = judge::parse_with(&had, &credential_key(1), offered).ok().expect("it can be read");
        let lacks = read.lacks.expect("it cannot be run");
        assert_eq!((lacks.why, lacks.closes), (Why::UnknownFeature, true));
        let read = judge::parse(&credential_key(1), offered).ok().expect("it can be read");
        assert!(read.lacks.is_none(), "this version runs it");
    }
}

#[test]
fn a_version_that_cannot_redact_or_validate_closes_what_it_bears_on_whether_or_not_it_is_told() {
    let redacts = |direction| fixture::redacts(1, proxy_key(1), direction, &[fleet::Detector::Email]);
    let what = fleet::validation::What::JsonSchema("{}".to_owned());
    let validation = Some(fleet::Validation { what: Some(what), ..Default::default() });
    let proxy =
        fleet::ProxyResource { validation: validation.clone(), ..fixture::proxy_message(1, &[1], 1, 2) };
    let target = fleet::TargetResource { validation, ..fixture::target_message(1, "https://a.example") };
    for (resource, feature) in [
        (redacts(fleet::FilterDirection::Response), feature::FILTER_REDACT),
        (redacts(fleet::FilterDirection::Request), feature::FILTER_REQUEST),
        (resource(proxy_key(1), proxy.encode_to_vec()), feature::VALIDATION),
        (fixture::target_of(1, &target), feature::VALIDATION),
    ] {
        let key = Key::try_from(resource.key.as_ref().expect("a key")).expect("a key");
        let had: Vec<&str> = FEATURES.iter().copied().filter(|one| *one != feature).collect();
        for needs in [vec![], vec![feature.to_owned()]] {
            let said = fleet::Resource { needs, ..resource.clone() };
            let changes = crate::sync::changes(&body(std::slice::from_ref(&said), &[]));
            let Some(Change::Upsert(offered)) = changes.get(&key) else { panic!("it is set") };
            // What is told of a policy is refused unread, and a policy that is refused closes in any case.
            let (lacks, is_unread) = match judge::parse_with(&had, &key, offered) {
                Ok(read) => (read.lacks.unwrap_or_else(|| panic!("{feature} is lacked")), false),
                Err(reason) => (reason, true),
            };
            let is_policy = matches!(key.id, ResourceId::Filter(_));
            assert_eq!((lacks.why, is_unread), (Why::UnknownFeature, is_policy && !said.needs.is_empty()));
            assert!(lacks.closes || is_unread, "{feature}");
            assert!(judge::parse(&key, offered).ok().expect("it can be read").lacks.is_none(), "{feature}");
        }
    }
}

#[test]
fn absence_deletes_in_a_snapshot_only() {
    let mut node = Node::new();
    node.change(&[target(2, "https://b.example")]);
    assert!(node.is_open());
    node.apply(Mode::Snapshot, &[org(false)], &[]);
    assert!(node.snapshot.proxy("acme.proxy-1").is_none() && !node.accepts(1));
}

#[test]
fn of_many_refusals_some_are_told_and_those_of_a_change_always_are() {
    let mut node = Node::new();
    let bad = |n: u32| {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        resource(Key::new(fixture::ORG, ResourceId::Target(TargetId::from_random(id))), vec![0xff])
    };
    let many: Vec<_> = (0..3_000).map(bad).collect();
    node.change(&many);
    assert_eq!((node.inventory.refusals(), node.standing().len()), (3_000, TOLD_MAX));
    let last = bad(u32::MAX);
    let changes = crate::sync::changes(&body(std::slice::from_ref(&last), &[]));
    let foretold = node.inventory.foretell(Mode::Delta, &changes);
    let terms = Terms { mode: Mode::Delta, adopted: None, again: false };
    let refused = node.inventory.take(terms, foretold, changes, &mut node.snapshot);
    let told = node.inventory.told(refused.iter());
    assert_eq!(told.iter().map(|refusal| refusal.key.clone()).collect::<Vec<_>>(), [last.key]);
}

#[test]
fn another_key_of_a_caller_moves_no_proxy_but_its_going_and_coming_does() {
    let mut node = Node::new();
    let at = |node: &Node| node.snapshot.proxy("acme.proxy-1").map(std::ptr::from_ref);
    let before = at(&node);
    node.change(&[caller(1, 3, &[2])]);
    assert!(node.accepts(2) && at(&node) == before);
    node.apply(Mode::Delta, &[], &[credential_key(1)]);
    assert_eq!(node.standing(), [(proxy_key(1).id_text(), Why::DanglingRef, false)]);
    node.change(&[caller(1, 4, &[3])]);
    assert!(node.standing().is_empty() && node.is_open());
}

#[test]
fn what_is_read_back_ahead_is_what_one_change_after_the_other_would_be() {
    let node = Node::new();
    let upserts = [
        org(false),
        target(1, "https://a.example"),
        caller(1, 2, &[1]),
        node.region.upstream(2, 2, "s", "x-key", &["https://a.example"]),
        proxy(1, &[1], 1, 2),
        proxy(2, &[9], 1, 2),
        resource(target_key(8), vec![0xff]),
    ];
    let mut ahead = Node { inventory: node.region.inventory(), region: Region::new(), ..Node::new() };
    ahead.snapshot = Snapshot::default();
    let mut other = Node::new();
    other.inventory = node.region.inventory();
    other.snapshot = Snapshot::default();
    // Twice: what is there already is taken in as a change.
    for _ in 0..2 {
        let changes = crate::sync::changes(&body(&upserts, &[]));
        other.inventory.apply(Mode::Unspecified, changes.clone(), &mut other.snapshot);
        let load = ahead.inventory.parser().load(changes).expect("no removals");
        ahead.inventory.restore(load, &mut ahead.snapshot);
    }
    ahead.inventory.restored();
    let none = Changes::new();
    assert_eq!(ahead.inventory.after(Mode::Delta, &none), other.inventory.after(Mode::Delta, &none));
    assert_eq!((ahead.snapshot.dump(), ahead.standing()), (other.snapshot.dump(), other.standing()));
    // The missing caller is heard of, and so is a target that goes.
    for node in [&mut ahead, &mut other] {
        node.change(&[caller(9, 1, &[9])]);
        assert_eq!(node.standing(), [(target_key(8).id_text(), Why::Decode, true)]);
        let all = [proxy_key(1), proxy_key(2), target_key(1), target_key(8), credential_key(1)];
        node.apply(Mode::Delta, &[], &all);
        node.apply(Mode::Delta, &[], &[credential_key(2), credential_key(9), Key::org(fixture::ORG)]);
        assert!(node.inventory.index.is_empty());
    }
}

#[test]
fn removed_is_removed() {
    let mut node = Node::new();
    node.apply(Mode::Delta, &[], &[proxy_key(1), credential_key(1), credential_key(2), target_key(1)]);
    assert!(node.snapshot.proxy("acme.proxy-1").is_none() && !node.accepts(1));
    assert!(node.standing().is_empty());
    node.apply(Mode::Delta, &[], &[Key::org(fixture::ORG)]);
    assert!(node.inventory.index.is_empty());
}

#[test]
fn a_renamed_organization_moves_its_proxies() {
    let mut node = Node::new();
    let renamed = fleet::OrgResource { name: "globex".to_owned(), suspended: false };
    node.change(&[resource(Key::org(fixture::ORG), renamed.encode_to_vec())]);
    assert!(node.snapshot.proxy("acme.proxy-1").is_none());
    assert!(node.snapshot.proxy("globex.proxy-1").is_some());
}

#[test]
fn rules_filters_and_meters_of_all_parents_run_and_end_with_them() {
    let mut node = Node::new();
    let policies = |node: &Node| {
        let proxy = node.snapshot.proxy("acme.proxy-1").expect("it is there");
        let route = proxy.route.as_ref().expect("it is open");
        let hash = api_key::hash(KeyKind::Caller, caller_key(1).as_bytes()).expect("a key");
        let caller = node.snapshot.caller(fixture::ORG, &hash).expect("it is accepted");
        [&caller.policy, &route.upstream_policy, &route.policy, &route.target_policy].map(Arc::clone)
    };
    let parents = [credential_key(1), credential_key(2), proxy_key(1), target_key(1)];
    assert!(
        policies(&node).iter().all(|policy| policy.rules.allows_all() && policy.filters.filters().is_empty())
    );
    let mut rules = Vec::new();
    for (n, parent) in (1..).zip(parents) {
        rules.push(fixture::deny_path(n, parent, "^/x"));
        rules.push(fixture::filter(n, parent, fleet::FilterAction::Destroy, &["x"]));
    }
    rules.push(fixture::meter(1, &fixture::meter_message(1, 1)));
    node.change(&rules);
    assert!(node.standing().is_empty(), "{:?}", node.standing());
    let all = policies(&node);
    assert!(all.iter().all(|policy| !policy.rules.allows_all() && !policy.filters.filters().is_empty()));
    assert_eq!(all.map(|policy| policy.meters.len()), [0, 0, 1, 0]);
    let gone: Vec<Key> =
        rules.iter().map(|rule| Key::try_from(rule.key.as_ref().expect("a key")).expect("a key")).collect();
    node.apply(Mode::Delta, &[], &gone);
    assert!(
        policies(&node).iter().all(|policy| policy.rules.allows_all() && policy.filters.filters().is_empty())
    );
}

#[test]
fn a_default_effect_is_followed_with_and_without_rules() {
    let deny = i32::from(fleet::Effect::Deny);
    for rules in [vec![], vec![fixture::deny_path(1, target_key(1), "^/x")]] {
        let mut node = Node::new();
        node.change(&rules);
        let mut denies =
            fleet::TargetResource::decode(&*target(1, "https://a.example").payload).expect("one");
        denies.default_effect = deny;
        node.change(&[resource(target_key(1), denies.encode_to_vec())]);
        let denying = fleet::ProxyResource { default_effect: deny, ..fixture::proxy_message(1, &[1], 1, 2) };
        node.change(&[resource(proxy_key(1), denying.encode_to_vec())]);
        let proxy = node.snapshot.proxy("acme.proxy-1").expect("it is there");
        let route = proxy.route.as_ref().expect("it is open");
        for policy in [&route.policy, &route.target_policy] {
            assert!(policy.describe().contains("Deny"), "{}", policy.describe());
        }
    }
}

#[test]
fn a_meter_goes_on_counting_when_it_changes() {
    let mut node = Node::new();
    let counter = |node: &Node| {
        let proxy = node.snapshot.proxy("acme.proxy-1").expect("it is there");
        match &proxy.route.as_ref().expect("it is open").policy.meters[0].counts {
            Metered::Whole(counter) => Arc::clone(counter),
            Metered::ByCaller(_) => panic!("it counts callers together"),
        }
    };
    node.change(&[fixture::meter(1, &fixture::meter_message(1, 1))]);
    let before = counter(&node);
    let limited = fleet::MeterResource { per_day_per_node: 5, ..fixture::meter_message(1, 1) };
    node.change(&[fixture::meter(1, &limited)]);
    assert!(Arc::ptr_eq(&before, &counter(&node)));
}
