//! What is kept and what goes, on both engines.

use rr_contract::digest::resource_hash;
use rr_contract::wire::management::Proxy;

use super::*;
use crate::noun::Noun;
use crate::store::{Author, Written, history, micros, resource as current};
use crate::tests::stores::{DAY, on_both, put, write};

fn org() -> String {
    Noun::Org.id([0; 16])
}

/// A version of a proxy that nodes are sent as `payload`.
async fn version(store: &Store, n: u8, payload: &str) -> u64 {
    let id = Noun::Proxy.id([n; 16]);
    let proxy = Proxy { id: id.clone(), name: format!("p{n} {payload}"), ..Proxy::default() };
    write(store, vec![put(&org(), &id, &format!("p{n}"), proxy, Some(payload))]).await
}

async fn removal(store: &Store, n: u8) {
    let written: Result<Written<()>, StoreError> = store
        .write(Author::system("test"), move |txn| {
            Box::pin(async move {
                let id = Noun::Proxy.id([n; 16]);
                let row = current::by_id(txn, Noun::Proxy, &id).await?.expect("is there");
                txn.remove(Noun::Proxy, row);
                Ok(())
            })
        })
        .await;
    written.expect("writes");
}

async fn kept(store: &Store, payload: &str) -> bool {
    let hash = resource_hash(payload.as_bytes()).to_vec();
    !current::blobs(store, vec![hash]).await.expect("reads").is_empty()
}

/// All steps, for what is older than a time.
async fn retain(store: &Store, at: i64) -> (u64, u64) {
    let mut dropped = 0;
    loop {
        let step = step(store, at).await.expect("steps");
        dropped += step.dropped;
        if !step.more {
            return (step.floor, dropped);
        }
    }
}

fn days_ago(store: &Store, days: u32) -> i64 {
    store.now() - micros(std::time::UNIX_EPOCH + DAY * days)
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_that_were_followed_before_the_floor_go_and_all_others_stay() {
    on_both("retention", async |store, clock| {
        version(&store, 1, "one").await;
        version(&store, 2, "same").await;
        version(&store, 3, "gone").await;
        version(&store, 1, "two").await;
        removal(&store, 3).await;
        let floor = version(&store, 4, "still").await;
        clock.pass(DAY * 100);
        version(&store, 1, "three").await;
        version(&store, 2, "other").await;
        // What one let go of is another's now.
        version(&store, 5, "one again").await;
        let documents = documents(&store).await;

        assert_eq!(retain(&store, days_ago(&store, 90)).await, (floor, 2));
        for (payload, stays) in [
            ("one", false),
            ("gone", false),
            // In force at the floor.
            ("two", true),
            ("same", true),
            // In force now.
            ("still", true),
            ("three", true),
            ("other", true),
            ("one again", true),
        ] {
            assert_eq!(kept(&store, payload).await, stays, "{payload}");
        }
        assert_eq!(self::documents(&store).await, documents, "the audit refers to them");
        assert_eq!(retain(&store, days_ago(&store, 90)).await, (floor, 0), "nothing is left to do");
        let (head, published) = store.published().await.expect("reads");
        assert_eq!((head.floor, published.len()), (floor, 4));
        let news = history::since(&store, floor, 100).await.expect("what is above is whole");
        assert_eq!(news.changes.len(), 3);
    })
    .await;
}

/// Hashes of documents that history names and that are there.
async fn documents(store: &Store) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for number in 1..=installation::head(store).await.expect("reads").expect("is there").revision {
        let changes = history::changes(store, number, None, None, 100).await.expect("reads");
        let wanted: Vec<Vec<u8>> =
            changes.into_iter().flat_map(|row| [row.before, row.after]).flatten().collect();
        found.extend(current::blobs(store, wanted).await.expect("reads").into_keys());
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_came_back_or_that_another_resource_has_stays() {
    on_both("shared payloads", async |store, clock| {
        version(&store, 1, "a").await;
        version(&store, 1, "b").await;
        version(&store, 1, "a").await;
        version(&store, 2, "c").await;
        version(&store, 2, "d").await;
        version(&store, 3, "c").await;
        clock.pass(DAY * 2);
        assert_eq!(retain(&store, days_ago(&store, 1)).await, (6, 1));
        let there = [kept(&store, "a").await, kept(&store, "b").await, kept(&store, "c").await];
        assert_eq!(there, [true, false, true]);

        // In time they go as well.
        version(&store, 1, "x").await;
        version(&store, 3, "y").await;
        clock.pass(DAY * 2);
        assert_eq!(retain(&store, days_ago(&store, 1)).await, (8, 2));
        assert!(!kept(&store, "a").await && !kept(&store, "c").await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_with_a_time_that_was_set_wrong_makes_nothing_before_it_older() {
    on_both("wrong clock", async |store, clock| {
        version(&store, 1, "a").await;
        clock.pass(DAY * 100);
        version(&store, 1, "b").await;
        // As if the clock had been set back between the two.
        let at = days_ago(&store, 200);
        let set: Result<(), StoreError> = store
            .note(move |txn| {
                Box::pin(async move {
                    revision::Entity::insert(revision::ActiveModel {
                        rev: sea_orm::ActiveValue::Set(3),
                        at: sea_orm::ActiveValue::Set(at),
                        token: sea_orm::ActiveValue::Set(String::new()),
                        user: sea_orm::ActiveValue::Set(String::new()),
                        actor: sea_orm::ActiveValue::Set(String::new()),
                        address: sea_orm::ActiveValue::Set(String::new()),
                        user_agent: sea_orm::ActiveValue::Set(String::new()),
                        call: sea_orm::ActiveValue::Set(String::new()),
                        changes: sea_orm::ActiveValue::Set(0),
                        audit: sea_orm::ActiveValue::Set(vec![0; 32]),
                        removals: sea_orm::ActiveValue::Set(0),
                    })
                    .exec_without_returning(txn.tx())
                    .await
                    .map_err(StoreError::statement("test"))?;
                    Ok(())
                })
            })
            .await;
        set.expect("writes");
        assert_eq!(retain(&store, days_ago(&store, 90)).await.0, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_short_and_together_go_all_the_way_whoever_takes_them() {
    on_both("steps", async |store, clock| {
        // More changes in one revision than a transaction is about, and more revisions than a step.
        for round in 0..2 {
            let puts = (0..700_u16).map(|n| {
                let id = Noun::Proxy.id(u128::from(n).to_be_bytes());
                let proxy = Proxy { id: id.clone(), name: format!("{round}"), ..Proxy::default() };
                put(&org(), &id, &format!("b{n}"), proxy, Some(&format!("{round} {n}")))
            });
            write(&store, puts.collect()).await;
        }
        for n in 0..3 {
            version(&store, 200, &format!("v{n}")).await;
        }
        clock.pass(DAY * 2);
        let at = days_ago(&store, 1);
        let first = step(&store, at).await.expect("steps");
        assert_eq!(first, Step { floor: 1, dropped: 0, more: true });
        // Two replicas at once.
        let (one, two) = tokio::join!(retain(&store, at), retain(&store, at));
        assert_eq!((one.0, two.0), (5, 5));
        assert_eq!(one.1 + two.1, 700 + 2);
    })
    .await;
}

#[test]
fn bytes_that_may_be_a_document_are_told_from_payloads() {
    use crate::document::{Resource as _, encode};

    let document = encode(&Proxy { name: "p".to_owned(), ..Proxy::default() }.wrap());
    assert!(is_document(document.bytes()));
    assert!(!is_document(b""));
    assert!(!is_document(b"payload"));
}
