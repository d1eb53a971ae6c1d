//! Follows the files of certificates: looks at them each second, and has the workers serve what is new.
//!
//! Runs beside the workers. What is new is served, or refused, once two looks in turn have found the same in both files:
//! whoever writes two files, or a chain of certificates, writes one part first. The invariants: what one look alone has
//! found changes nothing; a refused pair changes nothing, and the other pairs go on without it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rr_contract::runtime::{Stop, chain};
use rr_contract::seam::Seams;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::current::Activator;

use super::pair::{CertificateError, Content, Loaded, Pair};
use super::{CertificateBoard, CertificateFacts, Maker, ServerTls};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows the files.
pub(crate) struct Watch {
    pairs: Vec<Watched>,
    maker: Maker,
    activator: Activator<ServerTls>,
    seams: Seams,
    board: CertificateBoard,
}

struct Watched {
    pair: Pair,
    served: Arc<Loaded>,
    /// Of what is served.
    content: blake3::Hash,
    /// Of what was found last and is not served; inside, `None`: it cannot even be read.
    found: Option<Option<blake3::Hash>>,
    /// The one of those that the log has told of.
    told: Option<Option<blake3::Hash>>,
    refused_since: Option<SystemTime>,
}

/// What is in the files, and what can be made of it where it is new.
enum Look {
    Same,
    New(blake3::Hash, Loaded),
    Bad(Option<blake3::Hash>, CertificateError),
}

impl Watch {
    pub(super) fn new(
        pairs: Vec<Pair>,
        loaded: Vec<(blake3::Hash, Arc<Loaded>)>,
        maker: Maker,
        activator: Activator<ServerTls>,
        seams: Seams,
        board: CertificateBoard,
    ) -> Self {
        let watched = |(pair, (content, served))| Watched {
            pair,
            served,
            content,
            found: None,
            told: None,
            refused_since: None,
        };
        let pairs = pairs.into_iter().zip(loaded).map(watched).collect();
        let watch = Self { pairs, maker, activator, seams, board };
        watch.tell();
        watch
    }

    /// Follows the files until `stop`.
    pub(crate) async fn run(mut self, stop: Stop) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.cut(looks.tick()).await.is_some() {
            // A disk may hang, and a stop does not wait for it.
            if stop.cut(self.look()).await.is_none() {
                return;
            }
        }
    }

    /// Reads all files, and puts what is new in force.
    pub(crate) async fn look(&mut self) {
        let files: Vec<(Pair, blake3::Hash)> =
            self.pairs.iter().map(|watched| (watched.pair.clone(), watched.content)).collect();
        let seams = self.seams.clone();
        let looked = tokio::task::spawn_blocking(move || {
            files.iter().map(|(pair, content)| look(pair, *content, &seams)).collect::<Vec<_>>()
        });
        let Ok(looks) = looked.await else { return };
        let now = self.seams.clock.now();
        let mut is_new = false;
        for (watched, look) in self.pairs.iter_mut().zip(looks) {
            is_new |= watched.take(look, now);
        }
        if is_new {
            let certificates: Vec<Arc<Loaded>> =
                self.pairs.iter().map(|watched| Arc::clone(&watched.served)).collect();
            match self.maker.make(&certificates) {
                Ok(next) => _ = self.activator.activate(next),
                Err(error) => {
                    warn!(error = %chain(&error), "new certificates cannot be served; restart rr-edge")
                }
            }
        }
        self.activator.bury();
        self.tell();
    }

    fn tell(&self) {
        let facts = |watched: &Watched| CertificateFacts {
            certificate: PathBuf::clone(&watched.pair.certificate),
            expires: watched.served.expires,
            refused_since: watched.refused_since,
        };
        self.board.write(self.pairs.iter().map(facts).collect());
    }
}

#[cfg(test)]
impl Watch {
    /// The certificates of a pair that are served.
    pub(super) fn chain(&self, pair: usize) -> &[rustls::pki_types::CertificateDer<'static>] {
        &self.pairs[pair].served.key.cert
    }
}

impl Watched {
    /// Takes note of what was found. Returns whether there is another certificate to serve.
    fn take(&mut self, look: Look, now: SystemTime) -> bool {
        let certificate = self.pair.certificate.display();
        match look {
            Look::Same => {
                (self.found, self.told) = (None, None);
                if self.refused_since.take().is_some() {
                    info!(%certificate, "files of the certificate are again what is served");
                }
                false
            }
            Look::New(content, loaded) => {
                if self.found.replace(Some(content)) != Some(Some(content)) {
                    return false;
                }
                info!(%certificate, "serving the new certificate");
                (self.served, self.content) = (Arc::new(loaded), content);
                (self.found, self.told, self.refused_since) = (None, None, None);
                true
            }
            Look::Bad(content, error) => {
                let is_settled = self.found.replace(content) == Some(content);
                if is_settled && self.told.replace(content) != Some(content) {
                    self.refused_since.get_or_insert(now);
                    warn!(
                        %certificate,
                        error = %chain(&error),
                        "new files of the certificate cannot be served; the certificate before is served on"
                    );
                }
                false
            }
        }
    }
}

fn look(pair: &Pair, served: blake3::Hash, seams: &Seams) -> Look {
    let content = match Content::read(pair, &*seams.disk) {
        Ok(content) => content,
        Err(error) => return Look::Bad(None, error),
    };
    let digest = content.digest();
    if digest == served {
        return Look::Same;
    }
    match content.load(pair, seams.clock.now()) {
        Ok(loaded) => Look::New(digest, loaded),
        Err(error) => Look::Bad(Some(digest), error),
    }
}
