//! The rollover of the authority: who trusts which root, and when a step may be made.
//!
//! Signs nothing and tells no node: the authority does, once it has read what is written here. The invariant: a step that
//! would cut somebody off is made only by whoever says so.

use data_encoding::HEXLOWER;
use prost::Message as _;
use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::management as wire;

use super::{Caller, Reason, ServiceError, Services};
use crate::authority::{AuthorityError, RENEWABLE, Vouched, pem};
use crate::noun::Noun;
use crate::store::authority_root::{self, Model};
use crate::store::{self, StoreError, Written, node_row, time_of};

/// How many nodes and tokens an answer names, and an error.
const LISTED: usize = 100;
const NAMED: usize = 5;
/// A node that was not seen for so long is not waited for by a switch.
const SEEN_WITHIN: i64 = 7 * 86_400 * 1_000_000;
/// Tokens that were made so shortly after a switch may name the root before: a replica had not heard of it yet.
const UNHEARD: i64 = 60 * 1_000_000;

/// A node, as far as the authority concerns it.
struct Told {
    id: String,
    status: fleet::Status,
    last_seen_at: i64,
    is_connected: bool,
}

impl Told {
    fn trusts(&self, pin: &[u8]) -> bool {
        self.status.trusted_authorities.iter().any(|trusted| trusted == pin)
    }
}

impl Services {
    /// The roots, and how far nodes are with them.
    pub(crate) async fn authority_show(&self) -> Result<wire::GetAuthorityResponse, ServiceError> {
        let all = authority_root::all(&self.store).await?;
        let spare_pins = self.authority.spare(&all);
        let trusted = authority_root::trusted(all);
        let nodes = self.nodes_told().await?;
        let pins: Vec<Vec<u8>> = trusted.iter().map(|root| bytes(&root.pin)).collect();
        let issuer = pins.first().cloned().unwrap_or_default();
        let ids = |is_meant: &dyn Fn(&Told) -> bool| -> Vec<String> {
            nodes.iter().filter(|node| is_meant(node)).map(|node| node.id.clone()).take(LISTED).collect()
        };
        let mut tokens = self.tokens_before(&trusted).await?;
        tokens.truncate(LISTED);
        Ok(wire::GetAuthorityResponse {
            roots: trusted.iter().enumerate().map(|(i, root)| shown(root, i == 0, &nodes)).collect(),
            nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
            spare_pins,
            nodes_without_trust: ids(&|node| !pins.iter().all(|pin| node.trusts(pin))),
            nodes_of_another: ids(&|node| node.status.certified_by != issuer),
            tokens_of_another: tokens,
        })
    }

    /// Has nodes trust another root.
    pub(crate) async fn authority_add(
        &self,
        caller: Caller,
        pin: String,
    ) -> Result<Written<wire::AuthorityRoot>, ServiceError> {
        let all = authority_root::all(&self.store).await?;
        let spare = self.authority.spare(&all);
        let pin = match (pin.is_empty(), spare.as_slice()) {
            (true, [one]) => one.clone(),
            (true, []) => {
                return Err(refused(
                    Reason::InUse,
                    "this control plane has no other key than that of the present root: start each replica with a second --authority-key (`file:PATH` makes one that is not there)".to_owned(),
                ));
            }
            (true, many) => {
                let text =
                    format!("this control plane has several spare keys ({}): name one", many.join(", "));
                return Err(refused(Reason::InUse, text));
            }
            (false, _) => parsed(&pin)?,
        };
        if let Some(there) = all.iter().find(|root| root.pin == pin) {
            return match there.removed_at {
                None => Ok(Written { value: self.root(&pin).await?, revision: None }),
                Some(_) => Err(refused(
                    Reason::InUse,
                    "a root that was removed is never trusted again: make another key".to_owned(),
                )),
            };
        }
        let trusted = authority_root::trusted(all);
        if trusted.len() > 1 {
            let text = "nodes trust two roots already: `rrctl authority remove` ends that rollover first";
            return Err(refused(Reason::InUse, text.to_owned()));
        }
        let bytes: [u8; 32] = bytes(&pin).try_into().unwrap_or_default();
        let Vouched { certificate, cross, present, present_cross, pin } =
            self.authority.cross(bytes).await.map_err(unsigned)?;
        let staged = pin.clone();
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let trusted = authority_root::trusted(authority_root::all(txn).await?);
                    if trusted.len() != 1 || trusted[0].pin != present {
                        return Err(ServiceError::Conflict {
                            reason: Reason::Changed,
                            text: "somebody else changed the roots of the authority meanwhile: look again"
                                .to_owned(),
                        });
                    }
                    let root = Model {
                        pin: staged,
                        certificate,
                        cross: Some(cross),
                        added_at: txn.now(),
                        issues_since: None,
                        removed_at: None,
                    };
                    authority_root::add(txn, root, present, present_cross);
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        self.authority.refresh(&self.store).await.map_err(unsigned)?;
        Ok(Written { value: self.root(&pin).await?, revision: written.revision })
    }

    /// Has another root issue from now on.
    pub(crate) async fn authority_switch(
        &self,
        caller: Caller,
        pin: &str,
        now: bool,
    ) -> Result<Written<wire::AuthorityRoot>, ServiceError> {
        let pin = parsed(pin)?;
        let trusted = authority_root::trusted(authority_root::all(&self.store).await?);
        known(&trusted, &pin)?;
        if trusted[0].pin == pin {
            return Ok(Written { value: self.root(&pin).await?, revision: None });
        }
        let without = authority_root::without(&self.store, &pin, self.store.now()).await?;
        if !without.is_empty() || !self.authority.has(&pin) {
            return Err(refused(
                Reason::InUse,
                format!(
                    "replicas of the control plane do not have the key of this root ({}): start each of them with it (--authority-key); one that was killed is forgotten within 30 s",
                    if without.is_empty() { "this one".to_owned() } else { without.join(", ") }
                ),
            ));
        }
        let bytes = bytes(&pin);
        if !now {
            let since = self.store.now() - SEEN_WITHIN;
            let is_behind =
                |node: &Told| (node.is_connected || node.last_seen_at >= since) && !node.trusts(&bytes);
            let behind: Vec<String> =
                self.nodes_told().await?.into_iter().filter(is_behind).map(|node| node.id).collect();
            if !behind.is_empty() {
                return Err(refused(
                    Reason::InUse,
                    format!(
                        "{} nodes that were seen in the last 7 days do not report that they trust this root ({}): wait, or call with `now` (`rrctl authority switch --now`)",
                        behind.len(),
                        behind[..behind.len().min(NAMED)].join(", ")
                    ),
                ));
            }
        }
        let staged = pin.clone();
        let array: [u8; 32] = bytes.try_into().unwrap_or_default();
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let trusted = authority_root::trusted(authority_root::all(txn).await?);
                    known(&trusted, &staged)?;
                    if trusted[0].pin != staged {
                        authority_root::issue_by(txn, staged, array);
                    }
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        self.authority.refresh(&self.store).await.map_err(unsigned)?;
        Ok(Written { value: self.root(&pin).await?, revision: written.revision })
    }

    /// Lets nobody trust a root any more.
    pub(crate) async fn authority_remove(
        &self,
        caller: Caller,
        pin: &str,
        now: bool,
    ) -> Result<Written<()>, ServiceError> {
        let pin = parsed(pin)?;
        let all = authority_root::all(&self.store).await?;
        if all.iter().any(|root| root.pin == pin && root.removed_at.is_some()) {
            return Ok(Written { value: (), revision: None });
        }
        let trusted = authority_root::trusted(all);
        known(&trusted, &pin)?;
        let is_issuer = || {
            let text = "certificates are issued by this root: `rrctl authority switch` to another one first";
            refused(Reason::InUse, text.to_owned())
        };
        if trusted[0].pin == pin {
            return Err(is_issuer());
        }
        if !now {
            let issuer = bytes(&trusted[0].pin);
            let nodes = self.nodes_told().await?;
            let is_behind = |node: &&Told| node.status.certified_by != issuer || !node.trusts(&issuer);
            let behind: Vec<&str> = nodes.iter().filter(is_behind).map(|node| node.id.as_str()).collect();
            let tokens = self.tokens_before(&trusted).await?;
            if !behind.is_empty() || !tokens.is_empty() {
                let named = behind.iter().copied().chain(tokens.iter().map(String::as_str));
                return Err(refused(
                    Reason::InUse,
                    format!(
                        "{} nodes do not show a certificate of the root that issues yet, and {} node tokens name another one ({}): wait until they have renewed, and until the tokens are used, end or are revoked, or call with `now` (`rrctl authority remove --now`), and they join again with new tokens",
                        behind.len(),
                        tokens.len(),
                        named.take(NAMED).collect::<Vec<_>>().join(", ")
                    ),
                ));
            }
        }
        let written = self
            .store
            .write(caller.author(), move |txn| {
                Box::pin(async move {
                    let trusted = authority_root::trusted(authority_root::all(txn).await?);
                    known(&trusted, &pin)?;
                    if trusted[0].pin == pin {
                        let text = "somebody else switched the authority to this root meanwhile";
                        return Err(refused(Reason::InUse, text.to_owned()));
                    }
                    authority_root::remove(txn, pin);
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        self.authority.refresh(&self.store).await.map_err(unsigned)?;
        Ok(Written { value: (), revision: written.revision })
    }

    async fn root(&self, pin: &str) -> Result<wire::AuthorityRoot, ServiceError> {
        let roots = self.authority_show().await?.roots;
        Ok(roots.into_iter().find(|root| root.pin == pin).unwrap_or_default())
    }

    /// Nodes that may come with a certificate that counts: those that are not revoked, and could still renew it.
    async fn nodes_told(&self) -> Result<Vec<Told>, ServiceError> {
        let limit = self.store.now().saturating_sub(i64::try_from(RENEWABLE.as_micros()).unwrap_or(i64::MAX));
        let regions = store::resource::all(&self.store, Noun::Region, "").await?;
        let ids: Vec<String> = regions.into_iter().map(|region| region.id).collect();
        let rows = self.node_rows(&ids).await?;
        let counts = rows.into_iter().filter(|row| row.certificate_not_after >= limit);
        Ok(counts.map(|row| self.told_of(row)).collect())
    }

    fn told_of(&self, row: node_row::Model) -> Told {
        let fleet = self.publisher.fleet();
        let status = match fleet.node(&row.id) {
            Some(live) => live.status,
            // A status that another build wrote may not decode; then nothing is known.
            None => fleet::Status::decode(row.status.as_slice()).unwrap_or_default(),
        };
        let is_connected = fleet.is_connected(&row.id);
        Told { id: row.id, status, last_seen_at: row.last_seen_at, is_connected }
    }

    /// Tokens that machines can still join with and that were made before the root that issues did.
    async fn tokens_before(&self, trusted: &[Model]) -> Result<Vec<String>, StoreError> {
        let Some(since) = trusted.first().and_then(|root| root.issues_since) else { return Ok(Vec::new()) };
        if trusted.len() < 2 {
            return Ok(Vec::new());
        }
        let made = store::resource::all(&self.store, Noun::NodeToken, "").await?;
        let before = made.into_iter().filter(|row| row.created_at < since + UNHEARD).map(|row| row.id);
        store::node::live_of(&self.store, &before.collect::<Vec<_>>(), self.store.now()).await
    }
}

fn shown(root: &Model, issues: bool, nodes: &[Told]) -> wire::AuthorityRoot {
    let pin = bytes(&root.pin);
    let count = |is_meant: &dyn Fn(&Told) -> bool| {
        u32::try_from(nodes.iter().filter(|node| is_meant(node)).count()).unwrap_or(u32::MAX)
    };
    wire::AuthorityRoot {
        pin: root.pin.clone(),
        certificate: pem(&root.certificate),
        issues,
        added_at: Some(time::timestamp(time_of(root.added_at))),
        issues_since: root.issues_since.map(|at| time::timestamp(time_of(at))),
        nodes_trust: count(&|node| node.trusts(&pin)),
        nodes_certified: count(&|node| node.status.certified_by == pin),
    }
}

/// Of the pin of a row.
fn bytes(pin: &str) -> Vec<u8> {
    HEXLOWER.decode(pin.as_bytes()).unwrap_or_default()
}

fn parsed(pin: &str) -> Result<String, ServiceError> {
    let pin = pin.to_ascii_lowercase();
    if pin.len() == 64 && HEXLOWER.decode(pin.as_bytes()).is_ok() {
        return Ok(pin);
    }
    Err(ServiceError::field("pin", "is not a SHA-256 in hex, as `rrctl authority show` has it"))
}

fn known(trusted: &[Model], pin: &str) -> Result<(), ServiceError> {
    if trusted.iter().any(|root| root.pin == pin) {
        return Ok(());
    }
    Err(ServiceError::NotFound { noun: "root of the authority", name: pin.to_owned() })
}

fn refused(reason: Reason, text: String) -> ServiceError {
    ServiceError::Refused { reason, text, preconditions: Vec::new() }
}

/// The keys are elsewhere, and do not sign, or this replica does not have them.
fn unsigned(error: AuthorityError) -> ServiceError {
    match error {
        AuthorityError::Store(error) => error.into(),
        other => refused(Reason::InUse, rr_contract::runtime::chain(&other).to_string()),
    }
}
