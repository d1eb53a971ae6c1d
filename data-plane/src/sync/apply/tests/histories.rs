//! Whatever way leads to a state, it is the same state.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::fixture::{caller, credential_key, proxy_key, resource, rule, target_key};

type View = BTreeMap<Key, fleet::Resource>;

/// One edit of a history.
#[derive(Debug, Clone)]
enum Edit {
    RenameOrg(bool),
    Target(u8, u8),
    /// Which, and with which keys.
    Caller(u8, u8),
    Upstream(u8),
    /// Which, who calls it, where it leads.
    Proxy(u8, u8, u8),
    /// Which, and on what it bears.
    Rule(u8, u8),
    DropProxy(u8),
    DropRule(u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        any::<bool>().prop_map(Edit::RenameOrg),
        (0..3_u8, 0..4_u8).prop_map(|(n, to)| Edit::Target(n, to)),
        (0..3_u8, 0..4_u8).prop_map(|(n, keys)| Edit::Caller(n, keys)),
        (0..2_u8).prop_map(Edit::Upstream),
        (0..4_u8, 0..3_u8, 0..3_u8).prop_map(|(n, caller, target)| Edit::Proxy(n, caller, target)),
        (0..2_u8, 0..7_u8).prop_map(|(n, parent)| Edit::Rule(n, parent)),
        (0..4_u8).prop_map(Edit::DropProxy),
        (0..2_u8).prop_map(Edit::DropRule),
    ]
}

fn put(view: &mut View, resource: fleet::Resource) {
    view.insert(Key::try_from(resource.key.as_ref().expect("a key")).expect("a key"), resource);
}

fn upstream(n: u8, version: u64) -> fleet::Resource {
    let kind = fleet::upstream_credential::Kind::None(fleet::UpstreamNone {});
    let message = fleet::CredentialResource {
        name: format!("credential-{n}"),
        version,
        usage: Some(fleet::credential_resource::Usage::Upstream(fleet::UpstreamCredential {
            kind: Some(kind),
            ..fleet::UpstreamCredential::default()
        })),
        ..fleet::CredentialResource::default()
    };
    resource(credential_key(n), message.encode_to_vec())
}

/// What a proxy names is in the view: a control plane publishes nothing else.
fn edited(view: &mut View, edit: &Edit, version: u64) {
    match *edit {
        Edit::RenameOrg(renamed) => {
            let name = if renamed { "globex" } else { "acme" }.to_owned();
            let payload = fleet::OrgResource { name, suspended: renamed };
            put(view, resource(Key::org(fixture::ORG), payload.encode_to_vec()));
        }
        Edit::Target(n, to) => put(view, target(n, &format!("https://{to}.example"))),
        Edit::Caller(n, keys) => put(view, caller(10 + n, version, &[10 * n + keys, 100 + n])),
        Edit::Upstream(n) => put(view, upstream(20 + n, version)),
        Edit::Proxy(n, of, to) => {
            view.entry(Key::org(fixture::ORG)).or_insert_with(|| org(false));
            view.entry(target_key(to)).or_insert_with(|| target(to, "https://new.example"));
            view.entry(credential_key(10 + of)).or_insert_with(|| caller(10 + of, version, &[10 * of]));
            view.entry(credential_key(20)).or_insert_with(|| upstream(20, version));
            put(view, fixture::proxy(n, &[10 + of], to, 20));
        }
        Edit::Rule(n, parent) => {
            let parent = if parent < 4 { proxy_key(parent) } else { target_key(parent - 4) };
            put(view, rule(n, parent));
        }
        Edit::DropProxy(n) => {
            view.remove(&proxy_key(n));
        }
        Edit::DropRule(n) => {
            let key = rule(n, proxy_key(0)).key.expect("a key");
            view.remove(&Key::try_from(&key).expect("a key"));
        }
    }
}

/// The state after each edit. Versions of credentials only go up within a history.
fn states(edits: &[Edit], first_version: u64) -> Vec<View> {
    let mut view = View::new();
    put(&mut view, org(false));
    let mut states = vec![view.clone()];
    for (n, edit) in edits.iter().enumerate() {
        edited(&mut view, edit, first_version + n as u64);
        states.push(view.clone());
    }
    states
}

fn difference(from: &View, to: &View) -> (Vec<fleet::Resource>, Vec<Key>) {
    let differs = |(key, resource): &(&Key, &fleet::Resource)| {
        from.get(key).is_none_or(|before| before.hash != resource.hash)
    };
    let upserts = to.iter().filter(differs).map(|(_, resource)| resource.clone()).collect();
    (upserts, from.keys().filter(|key| !to.contains_key(key)).copied().collect())
}

/// A node on which this state came as a snapshot.
fn snapshot_of(state: &View, revision: u64) -> Node {
    let (disk, region) = (SharedDisk::default(), Region::new());
    let (applier, readers) = boot(&disk, &region);
    let mut node = Node { disk, region, applier, readers };
    let all: Vec<_> = state.values().cloned().collect();
    let position = node.after(revision, &all);
    assert_ne!(node.snapshot(position.to_wire(), &all).outcome(), Outcome::Refused);
    node
}

fn step(node: &mut Node, begin: fleet::Begin, from: &View, to: &View, revision: u64) {
    let (upserts, removals) = difference(from, to);
    let verdict = node.offer(begin, revision, &upserts, &removals);
    assert_ne!(verdict.outcome(), Outcome::Refused, "{verdict:?}");
}

type Compared = (Vec<(Key, Vec<u8>)>, String, Vec<fleet::Refusal>, [u8; 32]);

/// What there is to compare: all but the revision at which each resource came, which a snapshot resets.
fn outcome(node: &Node) -> Compared {
    let (held, runs, refusals) = node.holds();
    let held = held.into_iter().map(|(key, offered)| (key, offered.payload.to_vec())).collect();
    (held, runs, refusals, node.running().digest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    // I2
    #[test]
    fn every_way_to_a_state_leads_to_the_same_state(
        edits in prop::collection::vec(edit(), 1..14),
        foreign in prop::collection::vec(edit(), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        // The other history is of older versions: a newer one of a secret is never given up for an older.
        let (states, foreign) = (states(&edits, 1_000), states(&foreign, 1));
        let (last, cut) = (states.len() - 1, cut.index(states.len()));
        let (target, revision) = (&states[last], 100 + last as u64);
        let by_snapshot = outcome(&snapshot_of(target, revision));

        let mut by_deltas = snapshot_of(&states[0], 100);
        for (n, pair) in states.windows(2).enumerate() {
            step(&mut by_deltas, begin(Mode::Delta), &pair[0], &pair[1], 101 + n as u64);
        }
        prop_assert_eq!(&outcome(&by_deltas), &by_snapshot);
        by_deltas.kill();
        prop_assert_eq!(&outcome(&by_deltas), &by_snapshot, "after a restart");

        let mut from_a_cut = snapshot_of(&states[cut], 100 + cut as u64);
        step(&mut from_a_cut, begin(Mode::Delta), &states[cut], target, revision);
        prop_assert_eq!(&outcome(&from_a_cut), &by_snapshot, "all deltas since {} in one", cut);

        let mut reconciled = snapshot_of(&states[cut], 100 + cut as u64);
        step(&mut reconciled, begin(Mode::Reconcile), &states[cut], target, revision);
        prop_assert_eq!(&outcome(&reconciled), &by_snapshot, "reconciled from {}", cut);
        reconciled.kill();
        prop_assert_eq!(&outcome(&reconciled), &by_snapshot, "reconciled from {}, after a restart", cut);

        let stranger = foreign.last().expect("there is a first state");
        let mut adopted = snapshot_of(stranger, 5_000);
        let adopting = fleet::Begin { adopted: true, ..begin(Mode::Reconcile) };
        step(&mut adopted, adopting, stranger, target, revision);
        prop_assert_eq!(&outcome(&adopted), &by_snapshot, "from another history");
        adopted.kill();
        prop_assert_eq!(&outcome(&adopted), &by_snapshot, "from another history, after a restart");
    }
}
