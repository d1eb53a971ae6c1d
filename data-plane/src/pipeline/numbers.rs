//! Numbers that meters read in the documents of responses, once these have ended.
//!
//! A short one is read at once. A long one is read behind its response, which is delayed by nothing, while others go on.
//! The invariant: whatever an upstream answers, and however many answers end at once, no worker stands still for it, and
//! what waits to be read is held within the budget of bodies.

use hyper::rt::Executor as _;

use crate::body::DecodeError;
use crate::executor::LocalExec;

use super::parts::PartsError;
use super::settle::Draft;
use super::tee::{Document, Stream, Tee};

/// Has meters read their numbers in a copy, if there is one: in a long one later, when the draft goes along. `whole`: all
/// of the document has come.
pub(super) fn read(draft: &mut Option<Draft>, tee: Option<Tee>, whole: bool) {
    let (Some(known), Some(tee)) = (draft.as_mut(), tee) else { return };
    match tee {
        Tee::Stream(stream) => read_stream(known, stream, whole),
        Tee::Document(document) => read_document(draft, document, whole),
    }
}

/// Of a stream all but its end was read as it came.
fn read_stream(draft: &mut Draft, stream: Stream, whole: bool) {
    match stream.finish(draft) {
        Err(PartsError::NoRoom(_)) => draft.unread(),
        Ok(()) if whole => draft.read_all(true),
        Err(_) if whole => draft.read_all(false),
        // What it told until then is known.
        Ok(()) | Err(_) => {}
    }
}

fn read_document(draft: &mut Option<Draft>, tee: Document, whole: bool) {
    let Some(known) = draft.as_mut() else { return };
    if tee.is_refused() {
        return known.unread();
    }
    if tee.is_plain() && known.reads_at_once(tee.length()) {
        match (whole, tee.plain()) {
            (true, document) => known.read_values(document.as_ref().map(|document| &**document.bytes())),
            (false, Some(document)) => known.read_broken(document.bytes()),
            (false, None) => {}
        }
        return;
    }
    let worker = known.worker();
    let queue = known.org().map(|org| worker.readings.queue(org));
    // Nothing is begun on a worker that ends.
    let (Some(queue), false) = (queue, worker.is_stopping()) else { return known.unread() };
    let Some(mut draft) = draft.take() else { return };
    LocalExec.execute(async move {
        let turn = queue.turn().await;
        match tee.document().await {
            Ok(document) => draft.read_in_turn(document.bytes(), whole).await,
            Err(DecodeError::NoRoom(_)) => draft.unread(),
            Err(DecodeError::TooLarge | DecodeError::Malformed) if whole => draft.read_values(None),
            Err(DecodeError::TooLarge | DecodeError::Malformed) => {}
        }
        drop(turn);
    });
}
