//! One sealed secret: opened when it is needed, taken out of memory when its end has come or others are needed more.
//!
//! Judges no time but to close: whoever uses it does. The invariants: reading it writes no memory that others read, but for the
//! minute of its last use; what is taken out is wiped as soon as nobody uses it any more; what has ended is opened by nobody
//! who does not say that it is earlier.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwapOption, Guard};
use rr_contract::model::origin::{BaseUrl, Origin, Scheme};
use rr_contract::model::tls::CaHash;
use rr_contract::seal::{Means, OpenError, SealContext, SealedSecret, Slot};
use rr_contract::secret::Secret;

use crate::access_token::{Asked, SourceName, TokenSource, TokenSources};
use crate::open_secrets::Closes;
use crate::sign::Signer;
use crate::values::Values;

use super::{OwnCertificate, SentHost, Unusable, Vault};

/// A sealed secret, and what is made of it.
pub(super) struct Sealed {
    secret: SealedSecret,
    context: SealContext,
    vault: Arc<Vault>,
    tokens: TokenSources,
    /// Where its tokens come from, if it says that it gets some.
    source: Option<Arc<TokenSource>>,
    /// After this time it is of no use, whatever its seal says.
    until: Option<SystemTime>,
    /// `None`: it was not needed yet, or others were needed more.
    state: ArcSwapOption<State>,
    /// In minutes.
    used: AtomicU32,
}

/// What became of a secret that was needed.
pub(super) enum State {
    /// It is open.
    Ready(Ready),
    /// It is not open any more, since this was its end.
    Over(SystemTime),
    /// It does not open.
    Broken,
}

/// An open secret.
pub(super) struct Ready {
    pub(super) sent: Sent,
    origins: Vec<Origin>,
    pub(super) not_after: Option<SystemTime>,
    ca: Option<CaHash>,
}

/// What goes into a request.
pub(super) enum Sent {
    /// The secret itself.
    Values(Values),
    /// A token that is got with it.
    Token(Arc<TokenSource>),
    /// A signature, last of all, which may write one of these values into the request.
    Signed(Signer, Values),
    /// A certificate, in the handshake.
    Shown(Arc<OwnCertificate>),
}

/// A secret while somebody uses it: not to be held while something is waited for.
pub(crate) struct InUse(Guard<Option<Arc<State>>>);

impl InUse {
    pub(super) fn state(&self) -> &State {
        // Made of a state alone.
        self.0.as_deref().unwrap_or(&State::Broken)
    }

    pub(super) fn ready(&self) -> Option<&Ready> {
        match self.state() {
            State::Ready(ready) => Some(ready),
            State::Over(_) | State::Broken => None,
        }
    }

    /// Whether it was taken out of memory because its end had come.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state(), State::Over(_))
    }

    /// What it sends, tokens apart.
    pub(crate) fn values(&self) -> Option<&Values> {
        match &self.ready()?.sent {
            Sent::Values(values) | Sent::Signed(_, values) => Some(values),
            Sent::Token(_) | Sent::Shown(_) => None,
        }
    }

    /// What signs requests, if they are signed.
    pub(crate) fn signer(&self) -> Option<&Signer> {
        match &self.ready()?.sent {
            Sent::Signed(signer, _) => Some(signer),
            Sent::Values(_) | Sent::Token(_) | Sent::Shown(_) => None,
        }
    }
}

impl Ready {
    pub(super) fn may_go(
        &self,
        target: &BaseUrl,
        ca: Option<&CaHash>,
        host: Option<&SentHost>,
    ) -> Result<(), Unusable> {
        // Against the seal, not against plain configuration: who edits a target cannot redirect a secret.
        let covers = |url: &BaseUrl| self.origins.iter().any(|origin| origin.covers(url));
        if !covers(target) {
            return Err(Unusable::Origin);
        }
        if matches!(self.sent, Sent::Shown(..)) && target.scheme() != Scheme::Https {
            return Err(Unusable::Plain);
        }
        // A front that many share sends a request where its `Host` says, whoever the certificate names.
        if host.is_some_and(|host| !host.leads_to(target.scheme()).is_some_and(covers)) {
            return Err(Unusable::Host);
        }
        // Both ways: a private authority must not get a secret that was meant for a public one.
        if self.ca.as_ref() == ca { Ok(()) } else { Err(Unusable::Ca) }
    }
}

impl Sealed {
    pub(super) fn new(
        secret: SealedSecret,
        context: SealContext,
        vault: Arc<Vault>,
        tokens: TokenSources,
        gets_tokens: bool,
        until: Option<SystemTime>,
    ) -> Arc<Self> {
        let (state, used) = (ArcSwapOption::empty(), AtomicU32::new(0));
        let mut sealed = Self { secret, context, vault, tokens, source: None, until, state, used };
        // Known before it is open: what is kept of it on disk stays as long as the credential does.
        sealed.source = gets_tokens.then(|| sealed.token_source());
        Arc::new(sealed)
    }

    /// Opens it now; `Ok` as well where it is open, or was until its end.
    pub(super) fn unseal(self: &Arc<Self>) -> Result<(), OpenError> {
        if matches!(self.state.load().as_deref(), Some(State::Ready(_) | State::Over(_))) {
            return Ok(());
        }
        let ready = self.open()?;
        self.put(State::Ready(ready));
        Ok(())
    }

    /// Its end, if that is known.
    pub(super) fn known_end(&self) -> Option<SystemTime> {
        match self.state.load().as_deref() {
            Some(State::Ready(ready)) => ready.not_after,
            Some(State::Over(end)) => Some(*end),
            Some(State::Broken) | None => None,
        }
    }

    /// Opens it where it is not open.
    pub(super) fn in_use(self: &Arc<Self>) -> InUse {
        let held = self.state.load();
        if held.is_some() {
            return InUse(held);
        }
        // The first request after a start pays for opening, some 200 µs; each later one reads it.
        match self.open() {
            // Its key may follow, and to look for it costs next to nothing.
            Err(OpenError::NoWrap) => InUse(Guard::from_inner(Some(Arc::new(State::Broken)))),
            opened => self.put(opened.map_or(State::Broken, State::Ready)),
        }
    }

    /// The same for a request at this time.
    pub(super) fn in_use_at(self: &Arc<Self>, now: SystemTime) -> InUse {
        let minute = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60) as u32;
        // Read first: no core writes what all of them read.
        if self.used.load(Ordering::Relaxed) != minute {
            self.used.store(minute, Ordering::Relaxed);
        }
        let used = self.in_use();
        match used.state() {
            // The clock was set back, or this was only ever the end of something else.
            State::Over(end) if now <= *end => {
                self.state.store(None);
                self.in_use()
            }
            _ => used,
        }
    }

    /// Makes this the state, unless another request was first.
    fn put(self: &Arc<Self>, state: State) -> InUse {
        let (is_open, state) = (matches!(state, State::Ready(_)), Arc::new(state));
        let none: Option<Arc<State>> = None;
        let before = self.state.compare_and_swap(&none, Some(Arc::clone(&state)));
        match &*before {
            // It did not open before; perhaps it does now.
            Some(other) if matches!(**other, State::Broken) && is_open => {
                self.state.store(Some(Arc::clone(&state)));
            }
            Some(_) => return InUse(before),
            None => {}
        }
        if is_open {
            let this: Arc<dyn Closes> = Arc::<Self>::clone(self);
            self.tokens.opened().add(Arc::downgrade(&this));
        }
        // What is held here counts for this request, even if others were needed more meanwhile.
        InUse(Guard::from_inner(Some(state)))
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state.load().as_deref(), Some(State::Ready(_)))
    }

    fn open(&self) -> Result<Ready, OpenError> {
        let secret = self.secret.open(&self.context, &self.vault.keys.load())?;
        let (origins, not_after, ca) = (secret.origins().to_vec(), secret.not_after(), secret.ca().copied());
        let sent = match secret.into_parts() {
            (value, Means::Sent { slot, more }) => {
                let more = more.iter().map(|(value, slot)| (value, slot));
                let values = std::iter::once((&value, &slot)).chain(more);
                Sent::Values(Values::of(values).ok_or(OpenError::Content)?)
            }
            (value, Means::Grant { slot, grant }) => self.token(Asked::Grant(grant), value, slot),
            (value, Means::Request { slot, request }) => self.token(Asked::Request(request), value, slot),
            (value, Means::Aws(aws)) => {
                // An upstream that never got the key cannot send it back.
                let sent = Values::looked_for(aws.session_token.as_ref());
                Sent::Signed(Signer::aws(&value, aws).ok_or(OpenError::Content)?, sent)
            }
            (value, Means::Hmac(hmac)) => {
                let signer = Signer::hmac(&value, hmac).ok_or(OpenError::Content)?;
                Sent::Signed(signer, Values::looked_for(None))
            }
            (value, Means::Certificate(chain)) => {
                let pair = chain.with_key(&value).map_err(|_| OpenError::Content)?;
                Sent::Shown(OwnCertificate::new(&self.context, pair))
            }
        };
        Ok(Ready { sent, origins, not_after, ca })
    }

    /// Tokens that are got with it.
    fn token(&self, asked: Asked, secret: Secret, slot: Slot) -> Sent {
        let source = self.source.clone().unwrap_or_else(|| self.token_source());
        source.opens(asked, secret, slot);
        Sent::Token(source)
    }

    fn token_source(&self) -> Arc<TokenSource> {
        let SealContext { org, credential, version, .. } = self.context;
        self.tokens.source(SourceName { org, credential, version, seal: self.secret.content_id() })
    }
}

impl Closes for Sealed {
    fn end(&self) -> Option<SystemTime> {
        let sealed = match self.state.load().as_deref() {
            Some(State::Ready(ready)) => ready.not_after,
            Some(State::Over(_) | State::Broken) | None => None,
        };
        self.until.into_iter().chain(sealed).min()
    }

    fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    fn close(&self, end: Option<SystemTime>) {
        let state = self.state.swap(end.map(|end| Arc::new(State::Over(end))));
        if let Some(State::Ready(Ready { sent: Sent::Token(source), .. })) = state.as_deref() {
            source.closes(end.is_some());
        }
    }
}
