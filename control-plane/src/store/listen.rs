//! Listens for revisions that other replicas commit, on PostgreSQL: `NOTIFY` with the commit, on a channel that nothing
//! else uses, and a connection of its own that listens.
//!
//! Only makes things faster. What is lost here, at a reconnect or behind a pooler that does not pass it on, is found
//! by the publisher's poll.

use std::time::Duration;

use rr_contract::runtime::Stop;
use sea_orm::sqlx;
use sea_orm::sqlx::postgres::PgListener;
use tracing::{debug, info};

use super::{DatabaseAddress, Store};

pub(super) const CHANNEL: &str = "requestrocket_revision";
/// How long is waited after a connection that failed: the first time, and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);

impl Store {
    /// Wakes the followers of [`committed`](Store::committed), until the stop. Ends at once on SQLite, which has one
    /// replica.
    pub(crate) async fn listen(self, stop: Stop) {
        let DatabaseAddress::Postgres(url) = &self.0.address else { return };
        let mut wait = RETRY;
        let mut told = false;
        loop {
            let Some(ended) = stop.cut(self.hear(url, &mut wait)).await else { return };
            if !told {
                told = true;
                info!(
                    error = %ended,
                    "cannot listen for revisions of other replicas; they are found by polling, up to a second later"
                );
            }
            if stop.cut(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(RETRY_MOST);
        }
    }

    /// Listens until the connection fails.
    async fn hear(&self, url: &str, wait: &mut Duration) -> sqlx::Error {
        let listening = async {
            let mut listener = PgListener::connect(url).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let mut listener = match listening.await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        *wait = RETRY;
        debug!("hearing of other replicas' revisions");
        loop {
            match listener.recv().await {
                Ok(heard) => {
                    if let Ok(revision) = heard.payload().parse() {
                        self.announce(revision);
                    }
                }
                Err(error) => return error,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rr_contract::runtime::{Shutdown, Tasks};
    use rr_contract::seam::SystemEntropy;
    use rr_contract::wire::management::Proxy;

    use crate::noun::Noun;
    use crate::store::Store;
    use crate::tests::postgres;
    use crate::tests::stores::{SetClock, put, write};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_revision_of_one_replica_wakes_another() {
        let Some(database) = postgres::database("listen") else { return };
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let address = database.address();
        let open = async || {
            let clock = Arc::new(SetClock::new());
            let opened = Store::open(&address, clock, tasks.clone(), shutdown.stop()).await;
            opened.expect("opens")
        };
        let (one, two) = (open().await, open().await);
        one.installation(&SystemEntropy).await.expect("has a head");
        let mut heard = two.committed();
        tasks.spawn("listen", two.clone().listen(shutdown.stop()));
        // What is written before the other listens is not heard, which the poll makes up for.
        let mut round = 0;
        let number = loop {
            let id = Noun::Proxy.id([1; 16]);
            let proxy = Proxy { id: id.clone(), name: format!("p{round}"), ..Proxy::default() };
            round += 1;
            let number = write(&one, vec![put(&Noun::Org.id([1; 16]), &id, "p", proxy, None)]).await;
            let wait = std::time::Duration::from_millis(100);
            if tokio::time::timeout(wait, heard.changed()).await.is_ok() {
                break number;
            }
        };
        let now = *heard.borrow_and_update();
        assert!((1..=number).contains(&now), "{now} of {number}");
        shutdown.begin();
        assert!(tasks.wait(std::time::Duration::from_secs(30)).await.is_empty());
        one.close().await;
        two.close().await;
    }
}
