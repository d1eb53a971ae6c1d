//! The sources of tokens that credentials name, and the questions to their issuers: on the control thread, never on a request's.
//!
//! The invariants: tokens belong to the version of a credential whose seal says how they are got; as long as it is held a
//! source is kept, and no longer; what one organization's issuers do, silence above all, takes no question of another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rr_contract::outbound::Fetch;
use rr_contract::outbound::fetch::{Bounds, FetchError};
use rr_contract::runtime::{Stop, Tasks, chain};
use rr_contract::seam::{Seams, draw};
use rr_contract::secret::Secret;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::fetches::{Register, due};
use crate::open_secrets::OpenSecrets;
use crate::shelf::{Kept, Purpose, Shelf};
use crate::values::Values;

use super::answer::{ANSWER_MAX, Granted, Refusal, granted};
use super::request::{Unaskable, question};
use super::source::{SourceName, TokenSource, Way};

/// Where tokens are kept on disk.
pub(crate) const SHELF: Purpose = Purpose { folder: "upstream-tokens", what: "tokens for upstreams" };
/// Sources of one organization whose tokens are kept on disk.
pub(super) const KEPT_MAX: usize = 256;
/// How often somebody looks what is due, where nobody asks.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// When files of sources that nobody names are removed: after a start, once the configuration is there.
pub(super) const TIDY: Duration = Duration::from_secs(600);
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(8), bytes: ANSWER_MAX };

/// The sources of a process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct TokenSources(Arc<Shared>);

#[derive(Default)]
struct Shared {
    by: Register<SourceName, TokenSource>,
    wake: Arc<Notify>,
    got: AtomicU64,
    failed: AtomicU64,
    opened: OpenSecrets,
}

/// What tokens are asked for with.
pub(crate) struct Answerer {
    pub(crate) fetch: Arc<Fetch>,
    pub(crate) shelf: Shelf,
    pub(crate) seams: Seams,
}

/// Why there is no newer token.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoToken {
    #[error("make the request for a token")]
    Question(#[from] Unaskable),
    #[error("ask the issuer")]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Refusal(#[from] Refusal),
}

impl TokenSources {
    /// The source by this name; it stays until nothing holds it any longer.
    pub(crate) fn source(&self, name: SourceName) -> Arc<TokenSource> {
        let make = || TokenSource::new(name.clone(), Arc::clone(&self.0.wake));
        self.0.by.get(name.clone(), make)
    }

    /// What is open: a token is closed with the secret that it was got with.
    pub(crate) fn opened(&self) -> &OpenSecrets {
        &self.0.opened
    }

    /// How many questions got a token, and how many did not, since the start.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.0.got.load(Ordering::Relaxed), self.0.failed.load(Ordering::Relaxed))
    }

    /// With another bound of open secrets.
    #[cfg(test)]
    pub(crate) fn opening_at_most(most: usize) -> Self {
        Self(Arc::new(Shared { opened: OpenSecrets::at_most(most), ..Shared::default() }))
    }

    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<Arc<TokenSource>> {
        self.0.by.all()
    }

    /// Asks for what is due, until the stop.
    pub(crate) async fn follow(self, answerer: Answerer, tasks: Tasks, stop: Stop) {
        let (answerer, started, mut is_tidy) = (Arc::new(answerer), Instant::now(), false);
        loop {
            let (held, mut gone) = self.0.by.held();
            gone.extend(held.iter().filter(|it| it.leaves_disk()).map(|it| it.name.clone()));
            // Beside the questions, which wait for no disk.
            let is_time = !is_tidy && started.elapsed() >= TIDY;
            if is_time || !gone.is_empty() {
                is_tidy |= is_time;
                let named = is_time.then(|| held.iter().map(|source| source.name.on_disk()).collect());
                let (answerer, ends) = (Arc::clone(&answerer), stop.clone());
                tasks.spawn("tokens on disk", async move {
                    ends.cut(answerer.clear(gone, named)).await;
                });
            }
            for source in due(&held) {
                let (answerer, shared, ends) = (Arc::clone(&answerer), Arc::clone(&self.0), stop.clone());
                let is_kept =
                    held.iter().filter(|other| other.name.org == source.name.org).count() <= KEPT_MAX;
                tasks.spawn("token for an upstream", async move {
                    ends.cut(answerer.get(&source, is_kept, &shared)).await;
                });
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

impl Answerer {
    /// Removes what is kept of those that are gone, and of all that are not named, where names are given.
    async fn clear(&self, gone: Vec<SourceName>, named: Option<Vec<Vec<u8>>>) {
        for name in gone {
            self.shelf.forget(&name.on_disk()).await;
        }
        if let Some(named) = named {
            self.shelf.tidy(named).await;
        }
    }

    async fn get(&self, source: &Arc<TokenSource>, is_kept: bool, shared: &Shared) {
        // It is due once its way is known.
        let Some(way) = source.way() else { return source.succeeded() };
        let way = &*way;
        let SourceName { org, credential, version, .. } = source.name;
        if source.reads_disk() && self.takes_kept(source, way).await {
            return source.succeeded();
        }
        match self.ask(source, way).await {
            Ok(Granted { token, lasts }) => {
                shared.got.fetch_add(1, Ordering::Relaxed);
                let now = self.seams.clock.now();
                debug!(%org, %credential, version, seconds = lasts.as_secs(), "token for an upstream is there");
                if !self.gives(source, way, &token, now, lasts) {
                    return;
                }
                if is_kept {
                    let kept = Kept { content: Zeroizing::new(token.expose().to_vec()), at: now + lasts };
                    self.shelf.write(&source.name.on_disk(), kept).await;
                }
            }
            Err(error) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
                let (failures, error) = (source.failed(), chain(&error));
                let still_there = source.has_token(self.seams.clock.now());
                // Not once for each try.
                if failures.is_power_of_two() {
                    warn!(
                        %org,
                        %credential,
                        version,
                        %error,
                        failures,
                        still_there,
                        "issuer gives no token for an upstream; check the client, the secret and that this node reaches the URL"
                    );
                }
            }
        }
    }

    /// Has the source take what it got before a start, if that still counts.
    async fn takes_kept(&self, source: &Arc<TokenSource>, way: &Way) -> bool {
        let Some(Kept { content, at }) = self.shelf.read(&source.name.on_disk()).await else { return false };
        let now = self.seams.clock.now();
        let Ok(lasts) = at.duration_since(now) else { return false };
        self.gives(source, way, &Secret::new(content.to_vec()), now, lasts) && source.has_token(now)
    }

    /// Whether the source has it.
    fn gives(
        &self,
        source: &Arc<TokenSource>,
        way: &Way,
        token: &Secret,
        now: SystemTime,
        lasts: Duration,
    ) -> bool {
        let Some(values) = Values::of(std::iter::once((token, &way.slot))) else {
            source.failed();
            return false;
        };
        let chance = f64::from(u32::from_be_bytes(draw(&*self.seams.entropy))) / f64::from(u32::MAX);
        let taken = source.take(values, now, lasts, chance);
        if taken == Some(true) {
            let SourceName { org, credential, .. } = source.name;
            info!(%org, %credential, "issuer gives tokens for an upstream again");
        }
        source.succeeded();
        taken.is_some()
    }

    pub(super) async fn ask(&self, source: &TokenSource, way: &Way) -> Result<Granted, NoToken> {
        let question = question(&way.asked, &way.secret, &self.seams)?;
        let url = way.asked.url().as_str().parse().map_err(FetchError::Url)?;
        let org = source.name.org;
        let fetched = match question.method {
            http::Method::GET => self.fetch.get(org, &url, question.headers, BOUNDS).await?,
            _ => self.fetch.post(org, &url, question.headers, question.body, BOUNDS).await?,
        };
        Ok(granted(&way.asked, &fetched)?)
    }
}
