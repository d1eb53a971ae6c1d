//! Says that proxies want client certificates, or know callers by them, which this node cannot ask for: it speaks no TLS with
//! callers.
//!
//! Changes nothing: here a proxy that wants one refuses all callers, and one that knows callers by them those callers. The invariant: it is said again only when there are
//! more of them than were said, and seldom, however often organizations change their minds.

use std::cell::Cell;
use std::time::Duration;

use rr_contract::runtime::Seldom;
use tracing::warn;

use crate::snapshot::Snapshot;

const SAID_EVERY: Duration = Duration::from_secs(60);

/// What was said.
pub(super) struct Unasked {
    proxies: Cell<usize>,
    lines: Seldom,
}

impl Unasked {
    pub(super) fn new() -> Self {
        Self { proxies: Cell::default(), lines: Seldom::every(SAID_EVERY) }
    }

    /// This version is in force from now on.
    pub(super) fn look(&self, snapshot: &Snapshot) {
        let proxies = snapshot.asking_proxies();
        if proxies > self.proxies.get() {
            let Some(held) = self.lines.may() else { return };
            warn!(
                proxies,
                held,
                "proxies want client certificates or have callers of that kind, and this node asks for none, since it speaks no TLS with callers: a proxy that wants them refuses all its callers, and another one those of kind certificate; pass --tls-certificate and --tls-key"
            );
        }
        self.proxies.set(proxies);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rr_contract::wire::fleet;

    use crate::fixture::{self, Region, log_of};

    use super::*;

    #[test]
    fn proxies_that_want_certificates_of_callers_without_tls_are_told_of_once() {
        let with = |asking: u8| {
            let region = Region::new();
            let mut all = vec![
                fixture::org(false),
                fixture::target(1, "https://upstream.example"),
                fixture::caller(1, 1, &[1]),
                fixture::open_upstream(2),
            ];
            all.extend((1..=3).map(|n| {
                let client_certificates = n <= asking;
                let proxy =
                    fleet::ProxyResource { client_certificates, ..fixture::proxy_message(n, &[1], 1, 2) };
                fixture::resource(fixture::proxy_key(n), proxy.encode_to_vec())
            }));
            region.snapshot(&all)
        };
        let log = log_of(|| {
            let unasked = Unasked::new();
            for asking in [0, 2, 2, 1, 3, 3] {
                unasked.look(&with(asking));
            }
        });
        assert_eq!(log.matches("--tls-certificate").count(), 1, "{log}");
        assert!(log.contains("proxies=2"), "{log}");
        assert!(log_of(|| Unasked::new().look(&with(0))).is_empty());
    }
}
