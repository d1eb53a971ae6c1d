//! A resource that breaks the compiler, and what becomes of the others.

use proptest::prelude::*;
use rr_contract::model::resource::PAYLOAD_MAX;

use super::*;
use crate::fixture::target_with_timeouts;

/// What a poisoned payload bears somewhere.
const POISON: &[u8] = b"poison";

fn is_poisoned(offered: &Offered) -> bool {
    offered.payload.windows(POISON.len()).any(|bytes| bytes == POISON)
}

/// A compiler that breaks on poison.
fn fragile(mut node: Node) -> Node {
    node.inventory.isolation.set_trap(|_, offered| {
        assert!(!is_poisoned(offered), "this is what the test wants");
    });
    node
}

fn named(key: Key, name: &str) -> fleet::Resource {
    match key.id {
        ResourceId::Target(_) => {
            let payload = fleet::TargetResource {
                name: name.to_owned(),
                base_url: "https://poisoned.example".to_owned(),
                ..fleet::TargetResource::default()
            };
            resource(key, payload.encode_to_vec())
        }
        ResourceId::Proxy(_) => {
            let payload =
                fleet::ProxyResource { name: name.to_owned(), ..fixture::proxy_message(1, &[1], 1, 2) };
            resource(key, payload.encode_to_vec())
        }
        ResourceId::Credential(_) => {
            let payload =
                fleet::CredentialResource { name: name.to_owned(), ..fixture::caller_message(1, 3, &[1]) };
            resource(key, payload.encode_to_vec())
        }
        _ => unreachable!("no test names it"),
    }
}

// I9
#[test]
fn one_resource_on_which_the_compiler_breaks_holds_up_no_other() {
    let mut node = fragile(Node::new());
    let mut many: Vec<_> = (10..109).map(|n| target(n, "https://good.example")).collect();
    many.insert(50, named(target_key(9), "poison"));
    many.push(target(1, "https://b.example"));
    node.change(&many);
    assert_eq!(node.standing(), [(target_key(9).id_text(), Why::Crashed, true)]);
    assert_eq!(node.base(), "https://b.example");
    assert_eq!(node.inventory.count(), 5 + 100);
}

// I9, I10: as with any other refusal, by kind.
#[test]
fn what_breaks_the_compiler_closes_or_keeps_what_its_kind_says() {
    let mut node = fragile(Node::new());
    node.change(&[named(target_key(1), "poison"), named(proxy_key(1), "poison")]);
    assert_eq!(node.base(), "https://a.example", "the versions before run");
    let kept =
        [(target_key(1).id_text(), Why::Crashed, false), (proxy_key(1).id_text(), Why::Crashed, false)];
    assert_eq!(node.standing(), kept);
    node.change(&[named(credential_key(1), "poison")]);
    assert!(!node.accepts(1), "a caller credential closes");
    // The old content again clears it.
    node.change(&[target(1, "https://a.example"), proxy(1, &[1], 1, 2), caller(1, 3, &[1])]);
    assert!(node.standing().is_empty() && node.is_open() && node.accepts(1));
}

// I10
#[test]
fn a_poison_rule_closes_what_it_bears_on_and_others_serve() {
    let mut node = fragile(Node::new());
    node.change(&[proxy(2, &[1], 1, 2)]);
    let mut rule = fleet::RuleResource::decode(&*rule(1, proxy_key(1)).payload).expect("it is one");
    rule.name = "poison".to_owned();
    let key = Key::new(fixture::ORG, ResourceId::Rule(rr_contract::model::id::RuleId::from_random([1; 16])));
    node.change(&[resource(key, rule.encode_to_vec())]);
    assert!(!node.is_open());
    assert!(node.snapshot.proxy("acme.proxy-2").is_some_and(|proxy| proxy.route.is_some()));
    assert_eq!(node.standing().len(), 1);
    assert!(node.standing()[0].2, "it closes");
}

#[test]
fn however_long_a_starved_node_takes_to_compile_a_resource_it_does_not_refuse_it() {
    /// Another has the processor. Nobody sends anything: the time is what is waited for.
    fn starve() {
        let (_sender, receiver) = std::sync::mpsc::sync_channel::<()>(1);
        receiver.recv_timeout(std::time::Duration::from_millis(60)).ok();
    }
    let mut node = Node::new();
    node.inventory.isolation.set_trap(|_, _| starve());
    node.change(&[target(1, "https://b.example")]);
    assert!(node.standing().is_empty());
    assert_eq!(node.base(), "https://b.example");
}

#[test]
fn what_is_too_large_is_refused_and_the_rest_of_its_transaction_runs() {
    let mut node = Node::new();
    let large = resource(target_key(1), vec![0; PAYLOAD_MAX + 1]);
    node.change(&[large, target_with_timeouts(2, "https://b.example", 1, 1)]);
    assert_eq!(node.standing(), [(target_key(1).id_text(), Why::Limit, false)]);
    assert!(node.is_open());
}

proptest! {
    // Hostile bytes end in a refusal, and the compiler itself never breaks on them.
    #[test]
    fn no_bytes_break_the_compiler(
        kind in 0..5_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let mut node = Node::new();
        let upstream = node.region.upstream(2, 3, "s", "x-key", &["https://a.example"]);
        let good =
            [org(false), target(1, "https://b.example"), caller(1, 3, &[1]), upstream, proxy(1, &[1], 1, 2)];
        let key = Key::try_from(good[kind].key.as_ref().expect("a key")).expect("a key");
        let mut bent = good[kind].payload.to_vec();
        let at = place.index(bent.len());
        bent[at] ^= flip;
        let rule = Key::try_from(rule(1, proxy_key(1)).key.as_ref().expect("a key")).expect("a key");
        for payload in [bytes, bent] {
            node.change(&[resource(key, payload.clone()), resource(rule, payload)]);
            prop_assert!(node.standing().iter().all(|(_, why, _)| *why != Why::Crashed));
        }
        // Nothing of it sticks.
        node.apply(Mode::Delta, &[], &[rule]);
        node.change(&good);
        prop_assert!(node.standing().iter().all(|(_, why, _)| *why == Why::Stale), "{:?}", node.standing());
    }

    // Nor do any that are no transaction.
    #[test]
    fn no_bytes_break_the_reader_of_chunks(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::sync::transaction::read_body(&bytes, &mut Changes::new()).ok();
    }
}
