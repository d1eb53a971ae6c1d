//! Views by reach: whatever the history, the incremental view is the one made from nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use rr_contract::digest::{ViewDigest, resource_hash};
use rr_contract::model::id::{
    CredentialId, FilterId, InstallationId, MeterId, OrgId, ProxyId, RuleId, TargetId,
};
use rr_contract::model::resource::ResourceId;

use super::*;
use crate::publish::parsed::ParsedBefore;
use crate::store::history::{News, PublishedChange};

const HEAD: Head = Head {
    installation: InstallationId::from_random([1; 16]),
    lineage: [2; 16],
    revision: 0,
    audit: [0; 32],
    floor: 0,
    authority: None,
};

fn org(n: u8) -> OrgId {
    OrgId::from_random([n; 16])
}

fn region(n: u8) -> RegionId {
    RegionId::from_random([n; 16])
}

/// One step of a history: a resource of a small world is written with some content, or removed.
#[derive(Debug, Clone)]
enum Step {
    Org {
        n: u8,
        suspended: bool,
    },
    Target {
        n: u8,
        content: u8,
    },
    Credential {
        n: u8,
        version: u64,
    },
    Proxy {
        n: u8,
        target: u8,
        credential: u8,
        callers: Vec<u8>,
        regions: Vec<u8>,
    },
    /// A rule, filter or meter of one of the above; a meter is always a proxy's.
    Child {
        kind: u8,
        n: u8,
        parent: u8,
        of: u8,
        content: u8,
    },
    Remove {
        kind: u8,
        n: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let small = 0_u8..3;
    prop_oneof![
        1 => (0_u8..2, any::<bool>()).prop_map(|(n, suspended)| Step::Org { n, suspended }),
        2 => (small.clone(), 0_u8..3).prop_map(|(n, content)| Step::Target { n, content }),
        2 => (small.clone(), 1_u64..4).prop_map(|(n, version)| Step::Credential { n, version }),
        4 => (
            small.clone(),
            small.clone(),
            small.clone(),
            prop::collection::btree_set(0_u8..3, 1..3),
            prop::collection::btree_set(0_u8..3, 1..4),
        )
            .prop_map(|(n, target, credential, callers, regions)| Step::Proxy {
                n,
                target,
                credential,
                callers: callers.into_iter().collect(),
                regions: regions.into_iter().collect(),
            }),
        4 => (0_u8..3, 0_u8..2, 1_u8..4, small.clone(), 0_u8..3)
            .prop_map(|(kind, n, parent, of, content)| Step::Child { kind, n, parent, of, content }),
        2 => (0_u8..7, small).prop_map(|(kind, n)| Step::Remove { kind, n }),
    ]
}

fn target_key(n: u8) -> Key {
    Key::new(org(0), ResourceId::Target(TargetId::from_random([n; 16])))
}

fn credential_key(n: u8) -> Key {
    Key::new(org(0), ResourceId::Credential(CredentialId::from_random([n; 16])))
}

fn proxy_key(n: u8) -> Key {
    Key::new(org(0), ResourceId::Proxy(ProxyId::from_random([n; 16])))
}

fn child_key(kind: u8, n: u8) -> Key {
    let id = match kind {
        0 => ResourceId::Rule(RuleId::from_random([n; 16])),
        1 => ResourceId::Filter(FilterId::from_random([n; 16])),
        _ => ResourceId::Meter(MeterId::from_random([n; 16])),
    };
    Key::new(org(0), id)
}

fn child(kind: u8, n: u8, parent: u8, of: u8, content: u8) -> Vec<u8> {
    let parent = match parent {
        1 => target_key(of),
        2 => credential_key(of),
        _ => proxy_key(of),
    };
    let (parent, name) = (Some(parent.to_wire()), format!("child-{n}"));
    match kind {
        0 => {
            let effect = fleet::Effect::Deny.into();
            let priority = content.into();
            fleet::RuleResource { parent, name, effect, priority, ..Default::default() }.encode_to_vec()
        }
        1 => {
            let action = fleet::FilterAction::Destroy.into();
            let paths = vec![format!("a{content}")];
            fleet::FilterResource { parent, name, action, paths, ..Default::default() }.encode_to_vec()
        }
        _ => fleet::MeterResource {
            proxy: proxy_key(of).id_text(),
            name,
            active: true,
            counts: Some(fleet::meter_resource::Counts::Requests(fleet::MeterRequests {})),
            per_hour_per_node: u64::from(content) + 1,
            ..Default::default()
        }
        .encode_to_vec(),
    }
}

fn change(step: &Step, revision: u64) -> PublishedChange {
    let (key, payload) = match step {
        Step::Org { n, suspended } => {
            let wire = fleet::OrgResource { name: format!("org-{n}"), suspended: *suspended };
            (Key::org(org(*n)), Some(wire.encode_to_vec()))
        }
        Step::Target { n, content } => {
            let wire = fleet::TargetResource {
                name: format!("target-{n}"),
                base_url: format!("https://{content}.example.com"),
                ..Default::default()
            };
            (target_key(*n), Some(wire.encode_to_vec()))
        }
        Step::Credential { n, version } => {
            let none = fleet::upstream_credential::Kind::None(fleet::UpstreamNone {});
            let wire = fleet::CredentialResource {
                name: format!("credential-{n}"),
                version: *version,
                not_after: None,
                usage: Some(fleet::credential_resource::Usage::Upstream(fleet::UpstreamCredential {
                    kind: Some(none),
                    ..fleet::UpstreamCredential::default()
                })),
                ..Default::default()
            };
            (credential_key(*n), Some(wire.encode_to_vec()))
        }
        Step::Proxy { n, target, credential, callers, regions } => {
            let wire = fleet::ProxyResource {
                name: format!("proxy-{n}"),
                active: true,
                caller_credentials: callers.iter().map(|n| credential_key(*n).id_text()).collect(),
                target: target_key(*target).id_text(),
                upstream_credential: credential_key(*credential).id_text(),
                regions: regions.iter().map(|n| region(*n).to_string()).collect(),
                ..Default::default()
            };
            (proxy_key(*n), Some(wire.encode_to_vec()))
        }
        Step::Child { kind, n, parent, of, content } => {
            (child_key(*kind, *n), Some(child(*kind, *n, *parent, *of, *content)))
        }
        Step::Remove { kind, n } => {
            let key = match kind {
                0 => Key::org(org(*n)),
                1 => target_key(*n),
                2 => credential_key(*n),
                3 => proxy_key(*n),
                child => child_key(*child - 4, *n),
            };
            (key, None)
        }
    };
    PublishedChange { key, revision, payload: payload.map(Bytes::from) }
}

/// What a region should hold, computed from the whole: no counting, no deltas.
fn reached(world: &BTreeMap<Key, Bytes>, wanted: RegionId) -> BTreeMap<Key, Bytes> {
    let mut view = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for (key, payload) in world {
        let model = Model::parse(key, payload).expect("our own payloads");
        let Model::Proxy(proxy) = &model else { continue };
        if proxy.regions.contains(&wanted) {
            keys.insert(*key);
            keys.extend(model.refs(key));
        }
    }
    for key in &keys {
        view.extend(world.get(key).map(|payload| (*key, payload.clone())));
    }
    // What belongs to something goes wherever that goes.
    for (key, payload) in world {
        let model = Model::parse(key, payload).expect("our own payloads");
        let is_child = matches!(model, Model::Rule(_) | Model::Filter(_) | Model::Meter(_));
        let parent = |held: &Key| held.id != ResourceId::Org && keys.contains(held);
        if is_child && model.refs(key).iter().any(parent) {
            view.insert(*key, payload.clone());
        }
    }
    view
}

/// What the store tells of a revision.
fn news(changes: Vec<PublishedChange>) -> ParsedNews {
    let revision = changes.first().expect("there are some").revision;
    let news = News {
        changes,
        removals: Vec::new(),
        regions: Vec::new(),
        to: Some((revision, [revision as u8; 32])),
    };
    ParsedNews::of(news, &ParsedBefore::new())
}

fn digest(view: &BTreeMap<Key, Bytes>) -> Vec<u8> {
    let mut digest = ViewDigest::default();
    for (key, payload) in view {
        digest.add(key, &resource_hash(payload));
    }
    digest.digest().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// protocol.md D, I2 and I4: applying changes one by one gives what computing the view anew gives, and
    /// a node that applies the deltas ends up with the same.
    #[test]
    fn a_view_kept_up_by_changes_is_the_view_computed_from_scratch(
        revisions in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..25),
        stops in prop::collection::vec(any::<bool>(), 25),
    ) {
        let mut index = Index::load(HEAD, 0, Vec::new());
        let mut world: BTreeMap<Key, Bytes> = BTreeMap::new();
        let mut nodes: BTreeMap<u8, (u64, BTreeMap<Key, Bytes>)> =
            (0..3).map(|n| (n, (0, BTreeMap::new()))).collect();
        for (i, steps) in revisions.iter().enumerate() {
            let revision = i as u64 + 1;
            // One key once a revision, as the store has it.
            let changes: BTreeMap<Key, PublishedChange> =
                steps.iter().map(|step| change(step, revision)).map(|change| (change.key, change)).collect();
            for change in changes.values() {
                match &change.payload {
                    Some(payload) => world.insert(change.key, payload.clone()),
                    None => world.remove(&change.key),
                };
            }
            index.apply(news(changes.into_values().collect()));
            for (n, (at, held)) in &mut nodes {
                let want = reached(&world, region(*n));
                let position = index.position(region(*n));
                prop_assert_eq!(&position.digest, &digest(&want));
                prop_assert_eq!(position.count, want.len() as u64);
                // A node now and then catches up from where it last stood.
                if stops[i] {
                    let cut = index.cut(region(*n), &Start::At(*at)).expect("is remembered");
                    prop_assert!(!cut.snapshot);
                    for (key, entry) in cut.upserts {
                        held.insert(key, entry.payload.bytes().clone());
                    }
                    for key in cut.removals {
                        held.remove(&key);
                    }
                    *at = position.revision;
                    prop_assert_eq!(&*held, &want);
                }
            }
        }
        // Loaded anew, as after a restart, it is the same again.
        let resources = world
            .iter()
            .map(|(key, payload)| PublishedResource { key: *key, revision: 1, payload: payload.clone() })
            .collect();
        let audit = [index.head() as u8; 32];
        let again = Index::load(Head { revision: index.head(), audit, ..HEAD }, 1, resources);
        for n in 0..3 {
            prop_assert_eq!(again.position(region(n)), index.position(region(n)));
        }
    }
}

fn proxied(revision: u64) -> Vec<PublishedChange> {
    [
        Step::Org { n: 0, suspended: false },
        Step::Target { n: 0, content: 0 },
        Step::Credential { n: 0, version: 1 },
        Step::Proxy { n: 0, target: 0, credential: 0, callers: vec![0], regions: vec![0] },
    ]
    .iter()
    .map(|step| change(step, revision))
    .collect()
}

#[test]
fn a_node_stands_where_its_content_was_ours_and_nowhere_else() {
    let mut index = Index::load(HEAD, 0, Vec::new());
    index.apply(news(proxied(1)));
    let first = index.position(region(0));
    index.apply(news(vec![change(&Step::Target { n: 0, content: 1 }, 2)]));
    let second = index.position(region(0));
    let standing = |at: &fleet::Position| index.standing(region(0), at);
    assert_eq!(standing(&first), Standing::At(1));
    assert_eq!(standing(&second), Standing::At(2));
    assert_eq!(standing(&fleet::Position { digest: vec![0; 32], ..first.clone() }), Standing::Unknown);
    assert_eq!(standing(&fleet::Position { lineage: vec![9; 16], ..first.clone() }), Standing::Elsewhere);
    assert_eq!(standing(&fleet::Position { revision: 3, ..second.clone() }), Standing::Ahead);
    assert_eq!(index.standing(region(1), &first), Standing::Unknown);
}

#[test]
fn a_position_reaches_as_far_as_its_content_stays_what_the_region_has() {
    let mut index = Index::load(HEAD, 0, Vec::new());
    index.apply(news(proxied(1)));
    let first = index.position(region(0));
    let other = Step::Proxy { n: 1, target: 0, credential: 0, callers: vec![0], regions: vec![1] };
    index.apply(news(vec![change(&other, 4)]));
    assert_eq!(index.reached(region(0), &first), 4, "revision 4 is about another region");
    index.apply(news(vec![change(&Step::Target { n: 0, content: 1 }, 6)]));
    assert_eq!(index.reached(region(0), &first), 5, "and does not fall back when something else is there");
    assert_eq!(index.reached(region(0), &index.position(region(0))), 6);
    let elsewhere = fleet::Position { lineage: vec![9; 16], ..first.clone() };
    assert_eq!(index.reached(region(0), &elsewhere), 1);
    assert_eq!(index.reached(region(0), &fleet::Position { digest: vec![0; 32], ..first }), 1);
}

#[test]
fn nothing_has_reached_a_revision_that_is_not_taken_in_yet() {
    let mut index = Index::load(HEAD, 0, Vec::new());
    index.apply(news(proxied(1)));
    let here = index.position(region(0));
    assert!(index.has_reached(region(0), &here, 1));
    assert!(!index.has_reached(region(0), &here, 2), "it may bring something");
    assert!(!index.has_reached(region(7), &here, 2), "to a region without anything, too");
    let other = Step::Proxy { n: 1, target: 0, credential: 0, callers: vec![0], regions: vec![1] };
    index.apply(news(vec![change(&other, 2)]));
    assert!(index.has_reached(region(0), &here, 2), "it brought nothing here");
}

#[test]
fn what_another_region_changes_settles_nothing_new_here() {
    let mut index = Index::load(HEAD, 0, Vec::new());
    index.apply(news(proxied(1)));
    let other = Step::Proxy { n: 1, target: 0, credential: 0, callers: vec![0], regions: vec![1] };
    index.apply(news(vec![change(&other, 2)]));
    assert!(index.settled(region(0), 1));
    assert!(!index.settled(region(1), 1));
    assert_eq!(index.position(region(0)).revision, 2, "its position follows the head all the same");
}

#[test]
fn what_belongs_to_another_comes_and_goes_with_it_and_says_what_a_reader_must_understand() {
    let mut index = Index::load(HEAD, 0, Vec::new());
    let rule = Step::Child { kind: 0, n: 0, parent: 1, of: 0, content: 0 };
    index.apply(news(vec![change(&rule, 1)]));
    assert_eq!(
        index.cut(region(0), &Start::Nothing).expect("is everything").upserts.len(),
        0,
        "nothing reaches its target yet"
    );
    index.apply(news(proxied(2)));
    let cut = index.cut(region(0), &Start::Nothing).expect("is everything");
    let (_, entry) = cut.upserts.iter().find(|(key, _)| *key == child_key(0, 0)).expect("went along");
    assert!(!entry.payload.needs().is_empty());
    // In the hands of another target, which nothing reaches.
    let moved = Step::Child { kind: 0, n: 0, parent: 1, of: 1, content: 0 };
    index.apply(news(vec![change(&moved, 3)]));
    assert_eq!(index.cut(region(0), &Start::At(2)).expect("is remembered").removals, [child_key(0, 0)]);
    index.apply(news(vec![
        change(&rule, 4),
        change(&Step::Child { kind: 2, n: 0, parent: 3, of: 0, content: 0 }, 4),
    ]));
    assert_eq!(index.cut(region(0), &Start::At(3)).expect("is remembered").upserts.len(), 2);
    index.apply(news(vec![change(&Step::Remove { kind: 3, n: 0 }, 5)]));
    let cut = index.cut(region(0), &Start::At(4)).expect("is remembered");
    assert!(cut.removals.contains(&child_key(0, 0)) && cut.removals.contains(&child_key(2, 0)));
    assert_eq!(index.position(region(0)).count, 0);
}

#[test]
fn a_revision_that_no_node_is_sent_moves_the_position_and_the_audit() {
    let mut index = Index::load(HEAD, 0, Vec::new());
    index.apply(news(proxied(1)));
    let news = News { to: Some((4, [9; 32])), ..News::default() };
    index.apply(ParsedNews::of(news, &ParsedBefore::new()));
    let position = index.position(region(0));
    assert_eq!((position.revision, position.audit), (4, vec![9; 32]));
    assert!(index.settled(region(0), 1));
}

#[test]
fn what_revisions_were_agreed_to_take_is_remembered_of_the_newest_and_asked_of_the_log_for_more() {
    let mut index = Index::load(HEAD, 0, Vec::new());
    let newest = REMOVALS_MOST as u64 + 100;
    for revision in 1..=newest {
        let removals = vec![(revision, 2)];
        let news = News { removals, to: Some((revision, [0; 32])), ..News::default() };
        index.apply(ParsedNews::of(news, &ParsedBefore::new()));
    }
    assert_eq!(index.removals.len(), REMOVALS_MOST);
    assert_eq!((index.removals(0), index.removals(99)), (None, None));
    assert_eq!(index.removals(100), Some(2 * REMOVALS_MOST as u64));
    assert_eq!((index.removals(newest - 1), index.removals(newest)), (Some(2), Some(0)));
}

/// What regions hold before and after, told apart from the whole.
fn compared(
    before: &BTreeMap<Key, Bytes>,
    after: &BTreeMap<Key, Bytes>,
) -> BTreeMap<RegionId, (u64, u64, u64, u64)> {
    let mut effects = BTreeMap::new();
    for n in 0..3 {
        let (had, has) = (reached(before, region(n)), reached(after, region(n)));
        let added = has.keys().filter(|key| !had.contains_key(*key)).count() as u64;
        let removed = had.keys().filter(|key| !has.contains_key(*key)).count() as u64;
        let changed =
            has.iter().filter(|(key, payload)| had.get(*key).is_some_and(|old| old != *payload)).count();
        if added + removed + changed as u64 > 0 {
            effects.insert(region(n), (added, changed as u64, removed, had.len() as u64));
        }
    }
    effects
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However far the index is behind what was written, a write is judged by what is below it.
    #[test]
    fn what_a_write_would_do_is_what_it_does(
        revisions in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..25),
        catches_up in prop::collection::vec(any::<bool>(), 25),
    ) {
        let mut index = Index::load(HEAD, 0, Vec::new());
        let mut world: BTreeMap<Key, Bytes> = BTreeMap::new();
        let mut below = overlay::Layer::default();
        let mut behind = Vec::new();
        for (i, steps) in revisions.iter().enumerate() {
            let revision = i as u64 + 1;
            let changes: BTreeMap<Key, PublishedChange> =
                steps.iter().map(|step| change(step, revision)).map(|change| (change.key, change)).collect();
            let before = world.clone();
            for change in changes.values() {
                match &change.payload {
                    Some(payload) => world.insert(change.key, payload.clone()),
                    None => world.remove(&change.key),
                };
            }
            let proposed: Vec<overlay::ProposedChange> = changes
                .values()
                .map(|it| {
                    let entry = it.payload.clone().map(|payload| Arc::new(ParsedResource::of(&it.key, revision, payload)));
                    (it.key, entry)
                })
                .collect();
            let (top, effects) = index.effects(&below, &proposed);
            let told: BTreeMap<RegionId, (u64, u64, u64, u64)> = effects
                .into_iter()
                .map(|(region, it)| (region, (it.added, it.changed, it.removed, it.held)))
                .collect();
            prop_assert_eq!(told, compared(&before, &world));
            below.absorb(top);
            behind.push(news(changes.into_values().collect()));
            if catches_up[i] {
                behind.drain(..).for_each(|news| index.apply(news));
                below = overlay::Layer::default();
            }
        }
    }
}
