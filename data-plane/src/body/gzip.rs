//! Compresses a body for a caller that takes it so, piece by piece: others have their turn in between.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::task::yield_now;

use super::{Buffer, Held};

/// What is compressed without a rest: less than a millisecond.
const PIECE: usize = 64 * 1024;

/// Compresses a whole body, quickly rather than well; `None` where there is no room for what it could come to.
pub(crate) async fn gzip(body: &[u8], held: &mut Held) -> Option<Bytes> {
    // Blocks that do not get smaller are stored, each with a few bytes.
    let most = body.len() + body.len() / 1024 + 64;
    if !held.has_room(most) {
        return None;
    }
    let mut compressed = Buffer::default();
    held.grow(&mut compressed, most, 0, most).ok()?;
    let mut encoder = encoder(compressed);
    let mut pieces = body.chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        encoder.write_all(piece).expect("there is room for all that it can come to");
        if pieces.peek().is_some() {
            yield_now().await;
        }
    }
    let mut compressed = encoder.finish().expect("there is room for all that it can come to");
    held.fit(&mut compressed);
    Some(compressed.into_bytes())
}

/// The same at once.
#[cfg(test)]
pub(crate) fn gzipped(body: &[u8]) -> Bytes {
    let mut encoder = encoder(Vec::new());
    encoder.write_all(body).expect("there is room for all that it can come to");
    encoder.finish().expect("there is room for all that it can come to").into()
}

fn encoder<W: Write>(to: W) -> GzEncoder<W> {
    GzEncoder::new(to, Compression::fast())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_long_body_rests_after_each_piece_and_a_short_one_does_not() {
        for (length, rests) in [(0, 0), (PIECE, 0), (3 * PIECE + 1, 3)] {
            let body: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
            let mut held = Held::ample();
            let (mut compressing, mut seen) = (pin!(gzip(&body, &mut held)), 0);
            let compressed = loop {
                match compressing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(compressed) => break compressed.expect("there is room"),
                    Poll::Pending => seen += 1,
                }
            };
            let mut decoded = Vec::new();
            let mut decoder = flate2::write::GzDecoder::new(&mut decoded);
            decoder.write_all(&compressed).and_then(|()| decoder.try_finish()).expect("it is gzip");
            drop(decoder);
            assert_eq!((decoded == body, seen), (true, rests));
        }
    }

    #[test]
    fn a_body_is_not_compressed_where_there_is_no_room_for_another() {
        let mut held = Held::of(2_000);
        assert_eq!(gzip(&[b'x'; 1_000], &mut held).now_or_never(), Some(None));
        assert_eq!(held.bytes(), 0);
        let compressed = gzip(&[b'x'; 500], &mut held).now_or_never().flatten().expect("there is room");
        assert!((compressed.len()..500).contains(&held.bytes()), "{}", held.bytes());
    }
}
