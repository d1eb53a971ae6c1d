//! Codings as headers name them, and bodies that are too long, broken, or in many pieces.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use http::HeaderValue;
use http_body::{Frame, SizeHint};

use super::*;

fn coding(values: &[&'static str]) -> Result<Coding, UnknownCoding> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
    }
    Coding::of(&headers)
}

#[test]
fn one_coding_is_known_by_any_of_its_names() {
    for (values, wanted) in [
        (&[][..], Coding::Identity),
        (&[""], Coding::Identity),
        (&["identity"], Coding::Identity),
        (&["Identity", "IDENTITY"], Coding::Identity),
        (&["gzip"], Coding::Gzip),
        (&["X-GZip"], Coding::Gzip),
        (&["deflate"], Coding::Deflate),
        (&[" br\t"], Coding::Br),
        (&["zstd"], Coding::Zstd),
        (&["identity, zstd,"], Coding::Zstd),
    ] {
        assert_eq!(coding(values), Ok(wanted), "{values:?}");
    }
}

#[test]
fn several_codings_and_unknown_ones_are_refused() {
    for values in [&["gzip, br"][..], &["gzip", "gzip"], &["compress"], &["gzip;q=1"], &["gzi"], &["br zstd"]]
    {
        assert_eq!(coding(values), Err(UnknownCoding), "{values:?}");
    }
    let odd = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_bytes(b"\xff").expect("a value"))]);
    assert_eq!(Coding::of(&odd), Err(UnknownCoding));
}

/// Sends its frames, and announces `hint` bytes however many are left.
struct Pieces {
    frames: VecDeque<Result<Frame<Bytes>, &'static str>>,
    hint: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.hint);
        hint
    }
}

fn pieces(texts: &[&'static str]) -> Pieces {
    Pieces {
        frames: texts.iter().map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))).collect(),
        hint: 0,
    }
}

fn gathered(body: &mut Pieces, max: usize) -> Result<Bytes, GatherError<&'static str>> {
    gather(body, max, &mut Held::ample()).now_or_never().expect("all of it is there")
}

#[test]
fn a_body_of_many_frames_is_put_together_and_its_trailers_are_dropped() {
    let mut body = pieces(&["", "{\"a\"", "", ":", "1}"]);
    body.frames.push_back(Ok(Frame::trailers(HeaderMap::new())));
    assert_eq!(gathered(&mut body, 7).expect("it fits"), "{\"a\":1}");
    assert_eq!(gathered(&mut pieces(&[]), 0).expect("it fits"), "");
}

#[test]
fn a_body_of_one_frame_is_not_copied() {
    let text = "{\"a\":1}";
    let body = gathered(&mut pieces(&["", text, ""]), 7).expect("it fits");
    assert_eq!(body.as_ptr(), text.as_ptr());
}

#[test]
fn a_body_is_given_up_where_it_passes_the_bound() {
    for frames in [&["12345678"][..], &["1234567", "8"], &["1", "2", "3", "4", "5", "6", "7", "8"]] {
        let mut body = pieces(frames);
        body.frames.push_back(Err("not to be read"));
        assert!(matches!(gathered(&mut body, 7), Err(GatherError::TooLarge(7))), "{frames:?}");
        assert_eq!(body.frames.len(), 1);
    }
}

#[test]
fn a_body_that_is_announced_as_too_long_is_not_read_at_all() {
    let mut body = pieces(&["1"]);
    body.hint = 8;
    assert!(matches!(gathered(&mut body, 7), Err(GatherError::TooLarge(7))));
    assert_eq!(body.frames.len(), 1);
}

#[test]
fn what_is_announced_is_not_believed_until_it_comes() {
    let mut body = pieces(&["1", "2"]);
    body.hint = 1 << 30;
    let body = gathered(&mut body, usize::MAX).expect("it fits");
    assert_eq!(body, "12");
    let capacity = body.try_into_mut().expect("nobody else has it").capacity();
    assert!(capacity <= AHEAD_MAX + 4, "{capacity}");
}

#[test]
fn a_body_is_held_as_it_comes_and_as_long_as_it_is_once_all_of_it_has_come() {
    let piece = &*"x".repeat(200_000).leak();
    for count in 1..=9 {
        let mut held = Held::ample();
        let body = gather(pieces(&vec![piece; count]), usize::MAX, &mut held).now_or_never();
        assert_eq!(body.expect("all of it is there").expect("it fits").len(), count * piece.len());
        let spare = held.bytes().checked_sub(count * piece.len());
        assert!(spare.is_some_and(|spare| spare <= AHEAD_MAX), "{count}: {}", held.bytes());
    }
    for (most, fits) in [(800_000, true), (799_998, false)] {
        let mut held = Held::of(most);
        let mut body = pieces(&[piece, piece]);
        body.hint = if fits { 0 } else { 400_000 };
        let gathered = gather(&mut body, 400_000, &mut held).now_or_never().expect("all of it is there");
        assert_eq!(gathered.is_ok(), fits);
        assert_eq!(body.frames.len(), if fits { 0 } else { 2 }, "nothing is read of what would find no room");
    }
}

#[test]
fn a_body_that_breaks_off_says_why() {
    let mut body = pieces(&["1"]);
    body.frames.push_back(Err("reset"));
    assert!(matches!(gathered(&mut body, 7), Err(GatherError::Body("reset"))));
}

#[test]
fn what_was_gathered_is_decoded_by_its_coding() {
    let decoded = |coding| {
        decode(coding, Bytes::from_static(b"{}"), &mut Held::ample()).now_or_never().expect("one step")
    };
    assert_eq!(decoded(Coding::Identity).as_deref(), Ok(&b"{}"[..]));
    assert_eq!(decoded(Coding::Gzip), Err(DecodeError::Malformed));
}
