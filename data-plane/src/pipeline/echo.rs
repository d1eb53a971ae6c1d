//! Keeps the upstream's secret from the caller where the upstream sends it back: by mask, or by refusal.
//!
//! Stops accidents: whoever wants to show a secret can write it in a form that nobody looks for. The invariants: what has
//! a length keeps it; an answer in a coding that cannot be undone is not passed on unsearched; no more than the beginning
//! of a secret goes out before the rest of it has come.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use rr_contract::model::proxy::{EchoGuard, Proxy};
use tokio::time::Instant;

use crate::body::{Coding, Decoding, Held};
use crate::deadline::Deadline;
use crate::echo::{Needles, Scanner};
use crate::reply::{BodyBroken, Failure};

use super::settle::Draft;

/// How long the beginning of a secret is held back for its rest. Whoever sees by this that it was one knew as much of it.
const HELD_FOR: Duration = Duration::from_secs(5);

/// What is looked for, and what becomes of an answer that has it.
#[derive(Clone, Copy)]
pub(super) struct Search<'s> {
    needles: &'s Arc<Needles>,
    pub(super) refuses: bool,
}

/// What is looked for in answers of a proxy to a request that was `shown` with this; `None`: nothing.
pub(super) fn search<'s>(model: &Proxy, shown: Option<&'s Arc<Needles>>) -> Option<Search<'s>> {
    let refuses = match model.echo_guard {
        EchoGuard::Off => return None,
        EchoGuard::Refuse => true,
        _ => false,
    };
    shown.map(|needles| Search { needles, refuses })
}

/// Masks what the head of an answer echoes.
pub(super) fn search_head<B>(
    response: &mut Response<B>,
    search: Option<Search<'_>>,
    draft: &mut Draft,
) -> Result<(), Failure> {
    let Some(Search { needles, refuses }) = search else { return Ok(()) };
    let mut has_echoed = mask(needles, response.headers_mut());
    let reason = response.extensions().get::<ReasonPhrase>();
    if reason.is_some_and(|reason| needles.masked(reason.as_bytes()).is_some()) {
        response.extensions_mut().remove::<ReasonPhrase>();
        has_echoed = true;
    }
    if has_echoed && refuses {
        return Err(Failure::Echoed);
    }
    if has_echoed {
        draft.echoed(false);
    }
    Ok(())
}

/// Whether there was anything.
fn mask(needles: &Needles, headers: &mut HeaderMap) -> bool {
    let mut has_echoed = false;
    for value in headers.values_mut() {
        let Some(masked) = needles.masked(value.as_bytes()) else { continue };
        *value = HeaderValue::from_maybe_shared(Bytes::from(masked))
            .unwrap_or_else(|_| HeaderValue::from_static("*"));
        has_echoed = true;
    }
    has_echoed
}

impl Search<'_> {
    /// Masks what a whole document echoes.
    pub(super) async fn whole(self, document: Bytes, draft: &mut Draft) -> Result<Bytes, Failure> {
        let Some(masked) = self.needles.masked_whole(&document).await else { return Ok(document) };
        if self.refuses {
            return Err(Failure::Echoed);
        }
        draft.echoed(false);
        Ok(masked.into())
    }
}

/// What a body that is searched comes to next.
pub(super) enum Step {
    /// A part of it goes on; `None`: it is at its end.
    Goes(Option<Frame<Bytes>>),
    Fails(BodyBroken),
    /// More of it has to come.
    Waits,
}

/// The search in the body of an answer.
pub(super) struct Guard {
    scanner: Scanner,
    /// `None`: it has no coding.
    decoding: Option<Box<Decoding>>,
    refuses: bool,
    /// What came and was not looked at yet.
    came: Option<Bytes>,
    trailers: Option<HeaderMap>,
    has_ended: bool,
    has_echoed: bool,
    /// Since when something is held back.
    since: Option<Instant>,
    deadline: Deadline,
}

impl Guard {
    pub(super) fn new(search: Search<'_>, coding: Coding, hold: impl FnOnce() -> Held) -> Self {
        let decoding = (coding != Coding::Identity).then(|| Box::new(Decoding::new(coding, hold())));
        Self {
            scanner: Scanner::new(Arc::clone(search.needles)),
            decoding,
            refuses: search.refuses,
            came: None,
            trailers: None,
            has_ended: false,
            has_echoed: false,
            since: None,
            deadline: Deadline::default(),
        }
    }

    /// Takes a part of the body; `is_last`: nothing comes behind it.
    pub(super) fn take(&mut self, frame: Frame<Bytes>, is_last: bool) {
        match frame.into_data() {
            Ok(data) => match &mut self.decoding {
                Some(decoding) => decoding.push(data),
                None => self.came = Some(data),
            },
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.has_ended = true;
            }
        }
        self.has_ended |= is_last;
    }

    /// No more of it comes.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(super) fn next(&mut self) -> Step {
        loop {
            let more = match &mut self.decoding {
                None => self.came.take(),
                Some(decoding) => match decoding.next() {
                    Ok(more) => more,
                    Err(error) => return Step::Fails(BodyBroken::Undecodable(error)),
                },
            };
            let Some(more) = more else { break };
            let mut out = self.scanner.feed(more, self.has_ended && self.decoding.is_none());
            if self.scanner.has_found() && self.refuses {
                return Step::Fails(BodyBroken::Echoed);
            }
            self.has_echoed |= self.scanner.has_found();
            // Nobody asks for the end of a body of known length.
            if self.has_ended && self.decoding.is_none() && self.scanner.held() > 0 {
                out = [out, self.scanner.release()].concat().into();
            }
            self.since = if self.scanner.held() > 0 { self.since } else { None };
            if !out.is_empty() {
                return Step::Goes(Some(Frame::data(out)));
            }
        }
        if !self.has_ended {
            return Step::Waits;
        }
        if let Some(Err(error)) = self.decoding.as_ref().map(|decoding| decoding.finish()) {
            return Step::Fails(BodyBroken::Undecodable(error));
        }
        if self.scanner.held() > 0 {
            return Step::Goes(Some(Frame::data(self.scanner.release())));
        }
        let Some(mut trailers) = self.trailers.take() else { return Step::Goes(None) };
        if mask(self.scanner.needles(), &mut trailers) {
            if self.refuses {
                return Step::Fails(BodyBroken::Echoed);
            }
            self.has_echoed = true;
        }
        Step::Goes(Some(Frame::trailers(trailers)))
    }

    /// What has been held back for so long that it goes on as it is. Wakes the task when that is so.
    pub(super) fn overdue(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if self.scanner.held() == 0 {
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if !self.deadline.is_over(since + HELD_FOR, cx) {
            return Poll::Pending;
        }
        self.since = None;
        Poll::Ready(self.scanner.release())
    }

    /// Whether a secret was found, and masked.
    pub(super) fn has_echoed(&self) -> bool {
        self.has_echoed
    }

    /// Whether nothing goes on any more; `came`: all of it has come.
    pub(super) fn is_at_end(&self, came: bool) -> bool {
        came && self.has_ended
            && self.decoding.is_none()
            && self.came.is_none()
            && self.trailers.is_none()
            && self.scanner.held() == 0
    }

    pub(super) fn size_hint(&self, to_come: SizeHint) -> SizeHint {
        if self.decoding.is_some() {
            return SizeHint::default();
        }
        let held = self.scanner.held() as u64 + self.came.as_ref().map_or(0, Bytes::len) as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(to_come.lower() + held);
        if let Some(upper) = to_come.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const VALUE: &str = "a-secret-of-32-characters-at-all";

    fn guard(refuses: bool) -> Guard {
        let needles = Arc::new(Needles::of([VALUE.as_bytes()].into_iter()).expect("it is long enough"));
        Guard::new(Search { needles: &needles, refuses }, Coding::Identity, || {
            unreachable!("nothing is decoded")
        })
    }

    fn data(step: Step) -> Option<Bytes> {
        match step {
            Step::Goes(frame) => frame.and_then(|frame| frame.into_data().ok()),
            Step::Fails(broken) => panic!("{broken}"),
            Step::Waits => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_beginning_of_a_secret_waits_for_its_rest_for_a_while_and_no_longer() {
        let mut guard = guard(false);
        let began = Instant::now();
        for (before, rest) in [("", &VALUE[..20]), ("text ", &VALUE[..16]), ("", &VALUE[..31])] {
            let from = Instant::now();
            guard.take(Frame::data(Bytes::from(format!("{before}{rest}"))), false);
            assert_eq!(data(guard.next()).unwrap_or_default(), before);
            assert!(matches!(guard.next(), Step::Waits));
            let held = poll_fn(|cx| guard.overdue(cx)).await;
            assert_eq!((held, from.elapsed()), (Bytes::copy_from_slice(rest.as_bytes()), HELD_FOR));
        }
        // What comes behind is masked all the same.
        guard.take(Frame::data(Bytes::from_static(&VALUE.as_bytes()[31..])), true);
        assert_eq!(data(guard.next()).as_deref(), Some(&b"*"[..]));
        assert!(guard.has_echoed());
        assert!(matches!(guard.next(), Step::Goes(None)));
        assert_eq!(began.elapsed(), HELD_FOR * 3);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_overdue_where_nothing_waits_or_its_rest_has_come() {
        let mut guard = guard(false);
        guard.take(Frame::data(Bytes::from_static(&VALUE.as_bytes()[..20])), false);
        assert!(matches!(guard.next(), Step::Waits));
        assert!(poll_fn(|cx| Poll::Ready(guard.overdue(cx).is_pending())).await);
        tokio::time::advance(HELD_FOR / 2).await;
        guard.take(Frame::data(Bytes::from_static(b"no")), false);
        assert_eq!(data(guard.next()).map(|out| out.len()), Some(22));
        tokio::time::advance(HELD_FOR).await;
        assert!(poll_fn(|cx| Poll::Ready(guard.overdue(cx).is_pending())).await);
        // The time of another one begins anew.
        guard.take(Frame::data(Bytes::from_static(&VALUE.as_bytes()[..20])), false);
        assert!(matches!(guard.next(), Step::Waits));
        assert!(poll_fn(|cx| Poll::Ready(guard.overdue(cx).is_pending())).await);
    }

    #[test]
    fn a_body_of_known_length_stays_as_long_and_has_all_of_it_when_its_last_part_has_come() {
        let mut guard = guard(false);
        let text = format!("text {}", &VALUE[..20]);
        guard.take(Frame::data(Bytes::from(text.clone())), true);
        assert_eq!(guard.size_hint(SizeHint::with_exact(3)).exact(), Some(28));
        assert!(!guard.is_at_end(true));
        assert_eq!(data(guard.next()).expect("all of it"), text);
        assert!(guard.is_at_end(true));
        assert_eq!(guard.size_hint(SizeHint::with_exact(0)).exact(), Some(0));
    }

    #[test]
    fn what_waits_is_a_part_of_the_length_and_has_not_ended() {
        let mut guard = guard(false);
        guard.take(Frame::data(Bytes::from_static(&VALUE.as_bytes()[..20])), false);
        assert!(matches!(guard.next(), Step::Waits));
        assert_eq!(guard.size_hint(SizeHint::with_exact(3)).exact(), Some(23));
        // Its end has come, and nobody has taken it yet.
        assert!(!guard.is_at_end(true));
    }

    #[test]
    fn what_is_cut_between_two_pieces_of_a_body_that_was_decoded_at_its_end_is_masked() {
        let needles = Arc::new(Needles::of([VALUE.as_bytes()].into_iter()).expect("it is long enough"));
        let text = format!("{VALUE} ").repeat(2_000);
        let mut guard = Guard::new(Search { needles: &needles, refuses: false }, Coding::Gzip, Held::ample);
        guard.take(Frame::data(crate::body::gzipped(text.as_bytes())), true);
        let (mut out, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = data(guard.next()) {
            out.extend_from_slice(&piece);
            pieces += 1;
        }
        assert!(pieces > VALUE.len(), "cut at each of its places: {pieces}");
        assert_eq!(out.len(), text.len());
        // What goes out before its rest has come is too short to be held back.
        assert!(!String::from_utf8(out).expect("text").contains(&VALUE[15..]));
    }

    #[test]
    fn what_waits_goes_before_trailers() {
        let mut guard = guard(false);
        guard.take(Frame::data(Bytes::from_static(&VALUE.as_bytes()[..20])), false);
        assert!(matches!(guard.next(), Step::Waits));
        let said = HeaderValue::from_static(VALUE);
        guard.take(Frame::trailers(HeaderMap::from_iter([(http::header::ETAG, said)])), true);
        assert_eq!(data(guard.next()).expect("what waited"), VALUE[..20]);
        assert!(!guard.is_at_end(true), "trailers come behind it");
        let Step::Goes(Some(frame)) = guard.next() else { panic!("trailers") };
        let trailers = frame.into_trailers().expect("trailers");
        assert_eq!(trailers[http::header::ETAG], "*".repeat(VALUE.len()));
        assert!(guard.has_echoed());
    }

    #[test]
    fn a_guard_that_refuses_lets_nothing_of_the_secret_go_behind_what_was_found() {
        let mut guard = guard(true);
        guard.take(Frame::data(Bytes::from(format!("{VALUE} and more"))), true);
        assert!(matches!(guard.next(), Step::Fails(BodyBroken::Echoed)));
    }
}
