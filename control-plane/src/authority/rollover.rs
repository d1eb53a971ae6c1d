//! How the roots of an authority change while it runs: as the database says, which all replicas read.
//!
//! Judges nothing: `service` does. What was read last stays in force while the database does not answer.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rr_contract::runtime::{Stop, chain};
use rustls_pki_types::CertificateDer;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::keys::{self, Crossed};
use super::present::{Present, Root};
use super::{Authority, AuthorityError, CERTIFICATE_FILE, SignError, key_id, spki_pin};
use crate::store::authority_root::{self, Model};
use crate::store::{Store, StoreError};

/// How often the database is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a replica says which keys it has.
const HOLD: Duration = Duration::from_secs(10);

/// The roots that rows tell of, the one that issues first.
pub(super) fn roots(rows: Vec<Model>) -> Result<Vec<Root>, StoreError> {
    authority_root::trusted(rows).into_iter().map(root).collect()
}

fn root(row: Model) -> Result<Root, StoreError> {
    let damaged = || StoreError::Damaged("root of the authority");
    let certificate = CertificateDer::from(row.certificate);
    let pin = spki_pin(&certificate).filter(|pin| HEXLOWER.encode(pin) == row.pin).ok_or_else(damaged)?;
    let key_id = key_id(&certificate).ok_or_else(damaged)?;
    let cross = row.cross.map(CertificateDer::from);
    Ok(Root { pin, key_id, certificate, cross, gone: CancellationToken::new() })
}

impl Authority {
    /// Follows what the database says of the roots, until the stop.
    pub(crate) async fn follow(self: Arc<Self>, store: Store, replica: String, stop: Stop) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut failing, mut held_at) = (false, None::<Instant>);
        while stop.cut(looks.tick()).await.is_some() {
            let mut done = self.refresh(&store).await;
            // On a database of its own there is nobody to tell.
            if done.is_ok() && store.may_be_shared() && held_at.is_none_or(|at| at.elapsed() >= HOLD) {
                let pins = self.held.iter().map(|held| HEXLOWER.encode(&held.pin)).collect();
                done =
                    authority_root::hold(&store, replica.clone(), pins).await.map_err(AuthorityError::Store);
                held_at = Some(Instant::now());
            }
            match done {
                Ok(()) => failing = false,
                // Once an outage.
                Err(error) if !failing => {
                    failing = true;
                    warn!(error = %chain(&error), "cannot follow the roots of the authority, trying on");
                }
                Err(_) => {}
            }
        }
        // Whoever starts it anew with other keys need not wait until it is forgotten.
        if held_at.is_some()
            && let Err(error) = authority_root::release(&store, replica).await
        {
            warn!(error = %chain(&error), "the keys of this replica stay in the database until it is forgotten");
        }
    }

    /// Takes in what the database says of the roots.
    pub(crate) async fn refresh(self: &Arc<Self>, store: &Store) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        let rows = authority_root::all(store).await.map_err(AuthorityError::Store)?;
        let mut roots = roots(rows).map_err(AuthorityError::Store)?;
        let before = self.present();
        let is_same = roots.len() == before.roots.len()
            && roots.iter().zip(&before.roots).all(|(root, before)| root.is(before));
        if is_same || roots.is_empty() {
            return Ok(());
        }
        for root in &mut roots {
            if let Some(known) = before.roots.iter().find(|known| known.pin == root.pin) {
                root.gone = known.gone.clone();
            }
        }
        let authority = Arc::clone(self);
        let made = spawn_blocking(move || {
            let signer = authority.held(&roots[0].pin).map(|held| &*held.signer);
            if signer.is_none() {
                error!(
                    pin = HEXLOWER.encode(&roots[0].pin),
                    "the root of the authority that issues now has a key that this replica was not given (--authority-key): no node joins or renews here"
                );
            }
            let before = authority.present();
            Present::new(roots, signer, Some(&before), &authority.names, &authority.seams)
        });
        let made = made.await.map_err(|_| SignError::Ended)??;
        let pins: Vec<String> = made.roots.iter().map(|root| HEXLOWER.encode(&root.pin)).collect();
        let removed = before.roots.iter().filter(|root| made.roots.iter().all(|it| it.pin != root.pin));
        let removed: Vec<CancellationToken> = removed.map(|root| root.gone.clone()).collect();
        info!(roots = ?pins, "the roots of the authority have changed; the first one issues");
        self.put(made);
        for gone in removed {
            gone.cancel();
        }
        self.write_certificates();
        Ok(())
    }

    /// Has the present root, and another one whose key is here, vouch for each other.
    pub(crate) async fn cross(self: &Arc<Self>, pin: [u8; 32]) -> Result<Vouched, AuthorityError> {
        let authority = Arc::clone(self);
        let made = spawn_blocking(move || {
            let present = authority.present();
            let ours = &present.roots[0];
            let next = authority.held(&pin).ok_or(AuthorityError::NoKey { pin })?;
            let held = authority.held(&ours.pin).ok_or(AuthorityError::NoKey { pin: ours.pin })?;
            let made = keys::cross(next, held, &ours.certificate, authority.installation, &authority.seams)?;
            let Crossed { certificate, by_present, of_present } = made;
            Ok(Vouched {
                pin: HEXLOWER.encode(&pin),
                certificate: certificate.to_vec(),
                cross: by_present.to_vec(),
                present: HEXLOWER.encode(&ours.pin),
                present_cross: of_present.to_vec(),
            })
        });
        made.await.map_err(|_| SignError::Ended)?
    }

    /// Pins of keys that are here and that the database knows nothing of.
    pub(crate) fn spare(&self, known: &[Model]) -> Vec<String> {
        let held = self.held.iter().map(|held| HEXLOWER.encode(&held.pin));
        held.filter(|pin| known.iter().all(|root| root.pin != *pin)).collect()
    }

    /// Whether the key of a root, by its pin in hex, is here.
    pub(crate) fn has(&self, pin: &str) -> bool {
        self.held.iter().any(|held| HEXLOWER.encode(&held.pin) == pin)
    }

    /// Keeps the file of certificates as people copy it: what is trusted, the root that issues first.
    pub(super) fn write_certificates(&self) {
        let present = self.present();
        let text: String = present.roots.iter().map(|root| keys::pem(&root.certificate)).collect();
        let path = self.folder.join(CERTIFICATE_FILE);
        if self.seams.disk.read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return;
        }
        if let Err(error) = keys::write(&self.seams, &path, &text) {
            warn!(error = %chain(&error), "the certificates of the authority are not in the state folder; nothing else needs them there");
        }
    }
}

/// What two roots say of each other. Pins are in hex.
pub(crate) struct Vouched {
    pub(crate) pin: String,
    pub(crate) certificate: Vec<u8>,
    /// The next one by the present one.
    pub(crate) cross: Vec<u8>,
    pub(crate) present: String,
    /// The present one by the next one.
    pub(crate) present_cross: Vec<u8>,
}
