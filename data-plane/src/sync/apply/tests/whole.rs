//! What others see while transactions are taken.

use std::thread;

use crate::fixture::{caller, caller_key, proxy};

use super::*;

/// I3: a transaction that changes three kinds is seen with all of them or with none.
#[test]
fn i3_whoever_reads_meanwhile_sees_each_transaction_whole() {
    const LAST: u64 = 400;
    let key_of = |n: u64| (n % 200) as u8;
    let content =
        |n: u64| [org(n % 2 == 1), target(1, &format!("https://v{n}.example")), caller(1, n, &[key_of(n)])];
    let mut node = Node::new();
    let reader = node.readers.remove(0);
    let upstream = node.region.upstream(2, 2, "s", "x-key", &["https://v6.example"]);
    let first: Vec<_> = content(6).into_iter().chain([upstream, proxy(1, &[1], 1, 2)]).collect();
    assert_eq!(node.delta(6, &first, &[]).outcome(), Outcome::Active);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (reader, mut newest) = (reader.start(), 0);
            let hash = |n| api_key::hash(KeyKind::Caller, caller_key(key_of(n)).as_bytes()).expect("a key");
            while newest < LAST {
                {
                    let view = reader.view();
                    assert!(view.revision >= newest);
                    newest = view.revision;
                    if newest >= 6 {
                        let route = view.proxy("acme.proxy-1").and_then(|proxy| proxy.route.as_ref());
                        let route = route.expect("whatever it names is there");
                        assert_eq!(route.target.base.to_string(), format!("https://v{newest}.example"));
                        assert_eq!(route.org.suspended, newest % 2 == 1);
                        assert!(view.caller(fixture::ORG, &hash(newest)).is_some());
                        assert!(view.caller(fixture::ORG, &hash(newest - 1)).is_none());
                    }
                }
                reader.tick();
            }
        });
        for n in 7..=LAST {
            assert_eq!(node.delta(n, &content(n), &[]).outcome(), Outcome::Active);
            wait(node.applier.tend());
        }
        reader.join().expect("it saw nothing torn");
    });
}
