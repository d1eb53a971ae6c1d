//! Roots of the authority: which of them issues, and which replica has their keys, as all replicas read it.

use super::*;
use crate::store::authority_root::{self, Model};

const OLD: &str = "aa";
const NEXT: &str = "bb";

async fn write(store: &Store, change: impl FnOnce(&mut Txn) + Send + 'static) -> Option<u64> {
    let written = store.write(Author::system("test"), move |txn| {
        Box::pin(async move {
            change(txn);
            Ok::<_, StoreError>(())
        })
    });
    written.await.expect("is written").revision
}

async fn trusted(store: &Store) -> Vec<String> {
    let all = authority_root::all(store).await.expect("is read");
    authority_root::trusted(all).into_iter().map(|root| root.pin).collect()
}

#[tokio::test]
async fn a_root_is_added_switched_to_and_removed_each_by_a_revision() {
    on_both("roots of the authority", async |store| {
        authority_root::first(&store, OLD.to_owned(), vec![1]).await.expect("is written");
        // Each start says it again.
        authority_root::first(&store, OLD.to_owned(), vec![2]).await.expect("is written");
        assert_eq!(authority_root::all(&store).await.expect("is read")[0].certificate, [1]);
        let added = write(&store, |txn| {
            let root = Model {
                pin: NEXT.to_owned(),
                certificate: vec![3],
                cross: Some(vec![4]),
                added_at: txn.now(),
                issues_since: None,
                removed_at: None,
            };
            authority_root::add(txn, root, OLD.to_owned(), vec![5]);
        });
        let added = added.await;
        assert_eq!(trusted(&store).await, [OLD, NEXT]);
        let all = authority_root::all(&store).await.expect("is read");
        assert_eq!(
            all.iter().find(|root| root.pin == OLD).and_then(|root| root.cross.clone()),
            Some(vec![5])
        );
        let switched = write(&store, |txn| authority_root::issue_by(txn, NEXT.to_owned(), [9; 32])).await;
        assert_eq!(trusted(&store).await, [NEXT, OLD]);
        let removed = write(&store, |txn| authority_root::remove(txn, OLD.to_owned())).await;
        assert_eq!(trusted(&store).await, [NEXT]);
        assert!(added < switched && switched < removed && added.is_some());
        let head = installation::head(&store).await.expect("is read").expect("is there");
        assert_eq!(head.authority, Some([9; 32]), "what a start compares keys with");
    })
    .await;
}

#[tokio::test]
async fn replicas_that_lack_a_key_are_named_until_they_are_gone() {
    on_both("holders of keys", async |store| {
        let now = store.now();
        for (replica, pins) in [("one", vec![OLD, NEXT]), ("two", vec![OLD]), ("two", vec![OLD])] {
            let pins = pins.into_iter().map(str::to_owned).collect();
            authority_root::hold(&store, replica.to_owned(), pins).await.expect("is written");
        }
        let without =
            async |pin: &str, now| authority_root::without(&store, pin, now).await.expect("is read");
        assert_eq!(without(NEXT, now).await, ["two"]);
        assert_eq!(without(OLD, now).await, [""; 0]);
        assert_eq!(without(NEXT, now + 60_000_000).await, [""; 0], "a replica that is gone needs no key");
        authority_root::release(&store, "two".to_owned()).await.expect("is written");
        assert_eq!(without(NEXT, now).await, [""; 0], "a replica that has ended needs no key");
    })
    .await;
}
