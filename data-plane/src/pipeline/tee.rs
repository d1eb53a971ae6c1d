//! What meters see of a response's body on its way to the caller.
//!
//! Of a document a copy, bounded, and dropped where there is no room for it: then the number is missing. Of a stream
//! each part as it comes, of which nothing is kept. Delays and changes no byte.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use rr_contract::policy::stream::{Framing, Look};

use crate::body::{Buffer, Coding, DecodeError, Decoding, Held, NoRoom, Whole, decode};

use super::parts::{Parts, PartsError, framing};

/// How much is copied of a body, in bytes as it comes. A longer one has no number.
const COPY_MAX: usize = 8 * 1024 * 1024;

pub(crate) enum Tee {
    Document(Document),
    Stream(Stream),
}

/// A body that is one document.
pub(crate) struct Document {
    coding: Coding,
    /// Tells whether it is an array, whose elements come one by one; `None`: it is known to be none.
    first: Option<First>,
    /// `None`: it was too long, or there was no room.
    copy: Option<Copy>,
    held: Held,
    is_refused: bool,
}

/// Looks for the first byte of a document.
struct First {
    /// `None`: it has no coding.
    decoding: Option<Box<Decoding>>,
}

/// A body that is many.
pub(crate) struct Stream {
    parts: Parts,
    /// It cannot be gone on with.
    broken: Option<PartsError>,
    /// There is more to go over than was done in one go.
    is_behind: bool,
}

enum Copy {
    /// The usual case: one frame, shared and not copied.
    One(Bytes),
    Many(Buffer),
}

impl Tee {
    /// For a response with these headers; `None` where no number can be in it.
    pub(super) fn of(headers: &HeaderMap, hold: impl FnOnce() -> Held) -> Option<Self> {
        let coding = Coding::of(headers).ok()?;
        if let Some(framing) = framing(headers) {
            return Some(Self::Stream(Stream::new(Parts::new(framing, coding, hold()))));
        }
        may_be_json(headers).then(|| Self::Document(Document::new(coding, hold())))
    }

    /// Takes more of the body, and shows each part of a stream that ends in it.
    pub(super) fn push(&mut self, data: &Bytes, look: &mut impl Look) {
        match self {
            Self::Stream(stream) => stream.push(data, look),
            Self::Document(document) => {
                if let Some((mut stream, piece)) = document.push(data) {
                    stream.begin(&piece, look);
                    *self = Self::Stream(stream);
                }
            }
        }
    }

    /// Goes on with what was not gone over in one go. Whether there is still more.
    pub(super) fn is_behind(&mut self, look: &mut impl Look) -> bool {
        match self {
            Self::Stream(stream) if stream.is_behind => {
                stream.go_on(look);
                stream.is_behind
            }
            Self::Stream(_) | Self::Document(_) => false,
        }
    }
}

impl Stream {
    fn new(parts: Parts) -> Self {
        Self { parts, broken: None, is_behind: false }
    }

    /// Goes over its first piece, and on.
    fn begin(&mut self, piece: &[u8], look: &mut impl Look) {
        match self.parts.take(piece, look) {
            Ok(()) => self.go_on(look),
            Err(error) => self.broken = Some(error),
        }
    }

    fn push(&mut self, data: &Bytes, look: &mut impl Look) {
        // Who sends on is made to wait while this is behind; what is there already is gone over here.
        while self.is_behind {
            self.go_on(look);
        }
        if self.broken.is_none() {
            self.parts.push(data.clone());
            self.go_on(look);
        }
    }

    fn go_on(&mut self, look: &mut impl Look) {
        match self.parts.advance(look) {
            Ok(is_done) => self.is_behind = !is_done,
            Err(error) => (self.broken, self.is_behind) = (Some(error), false),
        }
    }

    /// The body has ended. Why not all of it was read, if so.
    pub(super) fn finish(mut self, look: &mut impl Look) -> Result<(), PartsError> {
        while self.is_behind {
            self.go_on(look);
        }
        if let Some(error) = self.broken {
            return Err(error);
        }
        self.parts.finish(look)
    }
}

impl Document {
    fn new(coding: Coding, held: Held) -> Self {
        let decoding = (coding != Coding::Identity).then(|| Box::new(Decoding::new(coding, held.another())));
        let (first, copy) = (Some(First { decoding }), Some(Copy::One(Bytes::new())));
        Self { coding, first, copy, held, is_refused: false }
    }

    /// Takes more of it; `Some`: it is an array that begins with this piece, and has nothing more to do with this.
    fn push(&mut self, data: &Bytes) -> Option<(Stream, Bytes)> {
        if let Some(mut first) = self.first.take() {
            match first.byte(data) {
                // Nothing but space: it is copied and looked at again.
                Ok(None) => self.first = Some(first),
                Ok(Some((b'[', piece))) => {
                    let parts = Parts::of_decoding(Framing::Array, first.decoding, self.held.another());
                    return Some((Stream::new(parts), piece));
                }
                // Whatever is wrong with it will be found once it has come whole.
                Ok(Some(_)) | Err(_) => {}
            }
        }
        self.copy(data);
        None
    }

    fn copy(&mut self, data: &Bytes) {
        let Some(copy) = self.copy.take() else { return };
        if copy.length() + data.len() <= COPY_MAX {
            match copy.longer(data, &mut self.held) {
                Ok(copy) => {
                    self.copy = Some(copy);
                    return;
                }
                Err(NoRoom) => self.is_refused = true,
            }
        }
        self.held.keep(0);
    }

    /// How long it is, as it came.
    pub(super) fn length(&self) -> usize {
        self.copy.as_ref().map_or(0, Copy::length)
    }

    /// Whether there was no room for it.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether nothing has to be decoded.
    pub(super) fn is_plain(&self) -> bool {
        self.copy.is_none() || self.coding == Coding::Identity
    }

    /// The whole document, decoded, once it has ended. Others go on meanwhile.
    pub(super) async fn document(self) -> Result<Whole, DecodeError> {
        let Self { coding, copy, held, .. } = self;
        let bytes = copy.ok_or(DecodeError::TooLarge)?.into_bytes();
        let mut of_decoded = held.another();
        let document = decode(coding, bytes, &mut of_decoded).await?;
        // One that was decoded is another copy, and what came is gone.
        Ok(Whole::new(document, if coding == Coding::Identity { held } else { of_decoded }))
    }

    /// The whole of one that is [plain](Self::is_plain).
    pub(super) fn plain(self) -> Option<Whole> {
        let Self { copy, held, .. } = self;
        copy.map(|copy| Whole::new(copy.into_bytes(), held))
    }
}

impl First {
    /// The first byte that is no space, and what came with it, decoded; behind that, the decoding goes on.
    fn byte(&mut self, data: &Bytes) -> Result<Option<(u8, Bytes)>, DecodeError> {
        let Some(decoding) = &mut self.decoding else {
            return Ok(data.trim_ascii_start().first().map(|first| (*first, data.clone())));
        };
        decoding.push(data.clone());
        while let Some(piece) = decoding.next()? {
            if let Some(first) = piece.trim_ascii_start().first() {
                return Ok(Some((*first, piece)));
            }
        }
        Ok(None)
    }
}

impl Copy {
    fn length(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(bytes) => bytes.len(),
        }
    }

    /// With more of the body.
    fn longer(self, data: &Bytes, held: &mut Held) -> Result<Self, NoRoom> {
        let (before, mut whole) = match self {
            Self::One(before) if before.is_empty() => {
                held.hold(data.len())?;
                return Ok(Self::One(data.clone()));
            }
            Self::One(before) => (before, Buffer::default()),
            Self::Many(whole) => (Bytes::new(), whole),
        };
        held.grow(&mut whole, before.len() + data.len(), 0, COPY_MAX)?;
        whole.extend_from_slice(&before);
        whole.extend_from_slice(data);
        Ok(Self::Many(whole))
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes.into_bytes(),
        }
    }
}

/// Whether a body is JSON as far as its type says.
pub(super) fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends =
        |end: &[u8]| kind.len() >= end.len() && kind[kind.len() - end.len()..].eq_ignore_ascii_case(end);
    kind.is_empty() || ends(b"/json") || ends(b"+json")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rr_contract::policy::stream::Unit;

    use super::*;

    #[test]
    fn a_type_that_is_not_json_is_told_from_its_name() {
        let check = |kind: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            may_be_json(&headers)
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json", ""] {
            assert!(check(Some(kind)), "{kind}");
        }
        assert!(check(None));
        for kind in ["text/html", "text/event-stream", "application/json-seq", "application/x-ndjson"] {
            assert!(!check(Some(kind)), "{kind}");
        }
    }

    fn document(held: Held) -> Document {
        Document::new(Coding::Identity, held)
    }

    #[test]
    fn a_body_of_many_frames_is_put_together_and_one_that_is_too_long_is_dropped() {
        let mut two = document(Held::ample());
        assert!(two.push(&Bytes::from_static(b"{\"a\":")).is_none());
        assert!(two.push(&Bytes::from_static(b"2}")).is_none());
        assert_eq!((two.length(), two.is_plain()), (7, true));
        assert_eq!(two.plain().expect("it is whole").bytes(), "{\"a\":2}");
        let mut long = document(Held::ample());
        long.copy(&Bytes::from(vec![b' '; COPY_MAX]));
        long.copy(&Bytes::from_static(b"1"));
        assert!(long.copy.is_none() && long.held.bytes() == 0, "nothing of it is kept");
        long.copy(&Bytes::from_static(b"1"));
        assert!(long.length() == 0 && !long.is_refused() && long.plain().is_none());
    }

    #[test]
    fn a_copy_without_room_is_dropped_and_says_so() {
        let mut document = document(Held::of(200));
        for (piece, held) in [(40, 40), (20, 60), (60, 0), (1, 0)] {
            document.copy(&Bytes::from(vec![b' '; piece]));
            assert_eq!((document.held.bytes(), document.is_refused()), (held, held == 0), "{piece}");
        }
        assert!(document.length() == 0 && document.is_plain() && document.plain().is_none());
    }

    /// Units of a body with these headers that comes in such pieces, and whether it ended well.
    fn units(headers: &[(&'static str, &'static str)], pieces: &[&[u8]]) -> Option<(Vec<String>, bool)> {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut tee = Tee::of(&headers.collect(), Held::ample).expect("a number can be in it");
        let mut all = Vec::new();
        let mut take = |_: Framing, unit: Unit<'_>| match unit {
            Unit::Whole(unit) => all.push(String::from_utf8_lossy(unit).into_owned()),
            Unit::TooLong => all.push("too long".to_owned()),
        };
        for piece in pieces {
            tee.push(&Bytes::copy_from_slice(piece), &mut take);
            while tee.is_behind(&mut take) {}
        }
        let Tee::Stream(stream) = tee else { return None };
        let ended = stream.finish(&mut take).is_ok();
        Some((all, ended))
    }

    #[test]
    fn an_array_is_told_by_its_first_byte_and_comes_in_elements_whatever_its_coding() {
        let json = ("content-type", "application/json");
        let wanted = ["[", "{\"a\":[1,2]},", "2]"].map(str::to_owned).to_vec();
        let whole: &[u8] = b"  [{\"a\":[1,2]},2]";
        let mut spaced = wanted.clone();
        spaced[0] = "  [".to_owned();
        assert_eq!(units(&[json], &[whole]), Some((spaced, true)));
        assert_eq!(units(&[json], &[b"  ", b"[", &whole[3..7], &whole[7..]]), Some((wanted.clone(), true)));
        assert_eq!(units(&[json], &[b"[1,"]), Some((vec!["[".to_owned(), "1,".to_owned()], false)));
        assert_eq!(units(&[json], &[b" ", b"{\"a\":[1]}"]), None, "one document");
        let packed = crate::body::gzipped(whole);
        let cut: Vec<&[u8]> = packed.chunks(1).collect();
        let coded = units(&[json, ("content-encoding", "gzip")], &cut).expect("an array");
        assert_eq!((coded.0.concat().trim_start(), coded.1), (wanted.concat().as_str(), true));
    }

    #[test]
    fn a_stream_that_decodes_to_much_is_gone_over_in_slices() {
        let events = "data: {\"a\":1}\n\n".repeat(200_000);
        let headers = [("content-type", "text/event-stream"), ("content-encoding", "gzip")];
        let (all, ended) = units(&headers, &[&crate::body::gzipped(events.as_bytes())]).expect("a stream");
        assert!(ended && all.len() == 200_000, "{}", all.len());
    }
}
