//! The issuers that credentials name, and the fetches of their keys: on the control thread, never on a request's.
//!
//! The invariants: keys belong to the organization whose credential names their URL, whoever else names the same; as long
//! as a credential holds an issuer it is fetched, and no longer; what one organization's issuers do, silence above all,
//! takes no fetch of another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
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

use super::issuer::{Away, Issuer, Name, Turn};
use super::keys::PublicKeys;
use super::shelf::{Kept, Shelf};

/// Fetches under way, of one organization and of all.
const FETCHES_ONE: usize = 2;
const FETCHES_ALL: usize = 64;
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
    by: Mutex<HashMap<Name, Weak<Issuer>>>,
    wake: Arc<Notify>,
}

/// Where keys come from.
pub(crate) struct Sources {
    pub(crate) fetch: Fetch,
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
        let name = (org, url.as_str().into());
        let mut by = self.0.by.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = by.get(&name).and_then(Weak::upgrade) {
            return held;
        }
        let issuer = Arc::new(Issuer::new(org, url.clone(), Arc::clone(&self.0.wake)));
        by.insert(name, Arc::downgrade(&issuer));
        issuer
    }

    /// Those that credentials name, and the names of those that none names any more.
    fn held(&self) -> (Vec<Arc<Issuer>>, Vec<Name>) {
        let (mut held, mut gone) = (Vec::new(), Vec::new());
        let mut by = self.0.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.retain(|name, issuer| match issuer.upgrade() {
            Some(issuer) => {
                held.push(issuer);
                true
            }
            None => {
                gone.push(name.clone());
                false
            }
        });
        (held, gone)
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
        let by = self.0.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.values().filter_map(Weak::upgrade).collect()
    }

    /// Fetches what is due, until the stop.
    pub(crate) async fn follow(self, sources: Sources, tasks: Tasks, stop: Stop) {
        let (sources, started, mut is_tidy) = (Arc::new(sources), Instant::now(), false);
        loop {
            let (held, gone) = self.held();
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

/// Of an organization's fetches.
#[derive(Default)]
struct OfOrg {
    under_way: usize,
    /// The last one.
    begun: Option<Instant>,
}

/// Those whose fetch begins now: where there is not room for all, the organizations take turns, and in each of them those
/// come first for which a request waits, and then those that have been due for longest.
fn due(held: &[Arc<Issuer>]) -> Vec<Arc<Issuer>> {
    let (mut by_org, mut waiting, now) = (HashMap::<OrgId, OfOrg>::new(), Vec::new(), Instant::now());
    for issuer in held {
        let of_org = by_org.entry(issuer.org).or_default();
        let Turn { is_waited_for, begun, due } = issuer.turn();
        of_org.begun = of_org.begun.max(begun);
        match due {
            Some(due) if due <= now => waiting.push(((!is_waited_for, due), issuer)),
            Some(_) => {}
            None => of_org.under_way += 1,
        }
    }
    waiting.sort_by_cached_key(|(turn, issuer)| (by_org.get(&issuer.org).and_then(|it| it.begun), *turn));
    let mut all: usize = by_org.values().map(|of_org| of_org.under_way).sum();
    let mut due = Vec::new();
    for under_way in 0..FETCHES_ONE {
        for (_, issuer) in &waiting {
            let of_org = by_org.entry(issuer.org).or_default();
            if all < FETCHES_ALL && of_org.under_way == under_way && issuer.begins(now) {
                (all, of_org.under_way) = (all + 1, of_org.under_way + 1);
                due.push(Arc::clone(issuer));
            }
        }
    }
    due
}

fn count(held: &[Arc<Issuer>], is_one: impl Fn(&Issuer) -> bool) -> usize {
    held.iter().filter(|issuer| is_one(issuer)).count()
}

impl Sources {
    /// Removes what is kept of those that are gone, and of all that are not named, where names are given.
    async fn clear(&self, gone: Vec<Name>, named: Option<Vec<Name>>) {
        for (org, url) in gone {
            self.shelf.forget(org, &url).await;
        }
        if let Some(named) = named {
            self.shelf.tidy(named).await;
        }
    }

    async fn fetch(&self, issuer: &Arc<Issuer>, is_kept: bool) {
        if issuer.reads_disk()
            && let Some(Kept { document, fetched_at }) =
                self.shelf.read(issuer.org, issuer.url.as_str()).await
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
                    self.shelf.write(issuer.org, url, Kept { document, fetched_at: now }).await;
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
