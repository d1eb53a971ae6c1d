//! The issuers that credentials name, and the fetches of their keys: on the control thread, never on a request's.
//!
//! The invariants: keys belong to the organization whose credential names their URL, whoever else names the same; as long
//! as a credential holds an issuer it is fetched, and no longer; what one organization's issuers do, silence above all,
//! takes no fetch of another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue};
use rr_contract::model::caller::jwt::JwksUrl;
use rr_contract::model::id::OrgId;
use rr_contract::outbound::Fetch;
use rr_contract::outbound::fetch::{Bounds, FetchError};
use rr_contract::policy::key_set::{DOCUMENT_MAX, KeySet, KeySetError};
use rr_contract::runtime::{Stop, Tasks, chain};
use rr_contract::seam::{Seams, draw};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::fetches::{Register, due};
use crate::shelf::{Kept, Purpose, Shelf};

use super::issuer::{Away, Issuer, Name};
use super::keys::PublicKeys;

/// Where keys are kept on disk.
pub(crate) const SHELF: Purpose = Purpose { folder: "issuers", what: "keys of issuers" };
/// Issuers of one organization whose keys are kept on disk.
pub(super) const KEPT_MAX: usize = 64;
/// Issuers that are away of which the control plane is told at once.
const TOLD_MAX: usize = 20;
/// How often somebody looks what is due, where nobody asks.
const LOOK: Duration = Duration::from_secs(1);
/// When files of issuers that nobody names are removed: after a start, once the configuration is there.
const TIDY: Duration = Duration::from_secs(600);
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(5), bytes: DOCUMENT_MAX };

/// The issuers of a process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Issuers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    by: Register<Name, Issuer>,
    wake: Arc<Notify>,
}

/// Where keys come from.
pub(crate) struct Sources {
    pub(crate) fetch: Arc<Fetch>,
    pub(crate) shelf: Shelf,
    pub(crate) seams: Seams,
    /// How long the keys of an issuer count that cannot be asked.
    pub(crate) lasts: Duration,
}

/// Why there are no newer keys.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error("fetch the keys")]
    Fetch(#[from] FetchError),
    #[error("answer has status {0}")]
    Status(u16),
    #[error("answer {0}")]
    Document(#[from] KeySetError),
    #[error("answer has no key that lies on its curve")]
    Points,
}

impl Issuers {
    /// The issuer behind a URL; from now on its keys are fetched, until nothing holds it any longer.
    pub(crate) fn get(&self, org: OrgId, url: &JwksUrl) -> Arc<Issuer> {
        let make = || Issuer::new(org, url.clone(), Arc::clone(&self.0.wake));
        self.0.by.get((org, url.as_str().into()), make)
    }

    /// Those that are away, or have been lately, the first ones first, and no more than are told: where these are not all, the
    /// organizations share the places.
    pub(crate) fn away(&self, now: SystemTime) -> Vec<(OrgId, JwksUrl, Away)> {
        let found = |issuer: Arc<Issuer>| Some((issuer.org, issuer.url.clone(), issuer.away(now)?));
        let mut away: Vec<_> = self.issuers().into_iter().filter_map(found).collect();
        // Those that are back give way.
        away.sort_by_key(|(_, _, away)| (away.back_at.is_some(), away.since));
        let mut by_org: HashMap<OrgId, usize> = HashMap::new();
        let number = |one: (OrgId, JwksUrl, Away)| {
            let of_org = by_org.entry(one.0).or_default();
            *of_org += 1;
            (*of_org, one)
        };
        let mut numbered: Vec<_> = away.into_iter().map(number).collect();
        numbered.sort_by_key(|(of_org, (_, _, away))| (away.back_at.is_some(), *of_org));
        numbered.into_iter().map(|(_, one)| one).take(TOLD_MAX).collect()
    }

    /// How many are away.
    pub(crate) fn away_count(&self) -> u64 {
        self.issuers().iter().filter(|issuer| issuer.is_away()).count() as u64
    }

    fn issuers(&self) -> Vec<Arc<Issuer>> {
        self.0.by.all()
    }

    /// Fetches what is due, until the stop.
    pub(crate) async fn follow(self, sources: Sources, tasks: Tasks, stop: Stop) {
        let (sources, started, mut is_tidy) = (Arc::new(sources), Instant::now(), false);
        loop {
            let (held, gone) = self.0.by.held();
            // Beside the fetches, which wait for no disk.
            let is_time = !is_tidy && started.elapsed() >= TIDY;
            if is_time || !gone.is_empty() {
                is_tidy |= is_time;
                let named = is_time.then(|| held.iter().map(|issuer| issuer.name()).collect());
                let (sources, ends) = (Arc::clone(&sources), stop.clone());
                tasks.spawn("keys on disk", async move {
                    ends.cut(sources.clear(gone, named)).await;
                });
            }
            for issuer in due(&held) {
                let (sources, ends) = (Arc::clone(&sources), stop.clone());
                let is_kept = count(&held, |other| other.org == issuer.org) <= KEPT_MAX;
                let fetch = async move {
                    ends.cut(sources.fetch(&issuer, is_kept)).await;
                };
                tasks.spawn("key set", fetch);
            }
            // It is shorter where somebody asks.
            if stop.cut(timeout(LOOK, self.0.wake.notified())).await.is_none() {
                return;
            }
            // What many ask for at once is looked for once.
            sleep(Duration::from_millis(1)).await;
        }
    }
}

fn count(held: &[Arc<Issuer>], is_one: impl Fn(&Issuer) -> bool) -> usize {
    held.iter().filter(|issuer| is_one(issuer)).count()
}

impl Sources {
    /// Removes what is kept of those that are gone, and of all that are not named, where names are given.
    async fn clear(&self, gone: Vec<Name>, named: Option<Vec<Name>>) {
        for (org, url) in gone {
            self.shelf.forget(&on_disk(org, &url)).await;
        }
        if let Some(named) = named {
            self.shelf.tidy(named.iter().map(|(org, url)| on_disk(*org, url))).await;
        }
    }

    async fn fetch(&self, issuer: &Arc<Issuer>, is_kept: bool) {
        if issuer.reads_disk()
            && let Some(Kept { content: document, at: fetched_at }) =
                self.shelf.read(&on_disk(issuer.org, issuer.url.as_str())).await
            && let Ok(keys) = keys_of(&document)
        {
            // A node that was off for long would go by them until its first fetch has failed.
            let age = self.seams.clock.now().duration_since(fetched_at).unwrap_or_default();
            if age > self.lasts {
                issuer.had(fetched_at);
            } else {
                issuer.take(keys, *blake3::hash(&document).as_bytes(), fetched_at);
            }
        }
        let (org, url) = (issuer.org, issuer.url.as_str());
        match self.ask(issuer).await {
            Ok((keys, document, holds_for)) => {
                let now = self.seams.clock.now();
                issuer.take(keys, *blake3::hash(&document).as_bytes(), now);
                let chance = f64::from(u32::from_be_bytes(draw(&*self.seams.entropy))) / f64::from(u32::MAX);
                if issuer.succeeded(now, holds_for, chance) {
                    info!(%org, url, "keys of an issuer are there again");
                }
                if is_kept {
                    let kept = Kept { content: Zeroizing::new(document), at: now };
                    self.shelf.write(&on_disk(org, url), kept).await;
                }
            }
            Err(error) => {
                debug!(%org, url, error = %chain(&error), "keys of an issuer cannot be fetched");
                if let Some(away) = issuer.failed(self.seams.clock.now(), self.lasts) {
                    warn!(
                        %org,
                        url,
                        error = %chain(&error),
                        never_there = away.never_there,
                        "keys of an issuer are too old or were never there: its tokens are refused; check that this node reaches the URL"
                    );
                }
            }
        }
    }

    async fn ask(&self, issuer: &Issuer) -> Result<(PublicKeys, Vec<u8>, Option<Duration>), NoKeys> {
        let url = issuer.url.as_str().parse().map_err(FetchError::Url)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/jwk-set+json, application/json"));
        let fetched = self.fetch.get(issuer.org, &url, headers, BOUNDS).await?;
        if fetched.status != http::StatusCode::OK {
            return Err(NoKeys::Status(fetched.status.as_u16()));
        }
        let keys = keys_of(&fetched.body)?;
        Ok((keys, fetched.body.to_vec(), holds_for(&fetched.headers)))
    }
}

/// By what name the keys of an issuer are kept.
fn on_disk(org: OrgId, url: &str) -> Vec<u8> {
    [org.as_bytes(), url.as_bytes()].concat()
}

fn keys_of(document: &[u8]) -> Result<PublicKeys, NoKeys> {
    PublicKeys::of(KeySet::parse(document)?).ok_or(NoKeys::Points)
}

/// How long an answer says that it holds.
fn holds_for(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(CACHE_CONTROL)?.to_str().ok()?;
    let seconds = said.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
pub(crate) mod tests;
