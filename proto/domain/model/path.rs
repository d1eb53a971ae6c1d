//! The path of a request as it is sent on and as rules see it.
//!
//! Knows nothing of proxies or targets. The invariants: two spellings of one path are one to rules; what is sent
//! on starts with a slash, holds no dot
//! segment, no empty segment but a last one, and so never leaves the base path that it is put behind.

use std::borrow::Cow;

/// A path that has no single meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// A percent sign without two hexadecimal digits.
    #[error("path has a percent sign without two hexadecimal digits")]
    Escape,
    /// A slash, backslash or NUL that some upstreams decode and others do not.
    #[error("path has an encoded slash, a backslash or a NUL")]
    Ambiguous,
    /// `..;x`, which some upstreams take for `..`.
    #[error("path has a dot segment with a parameter")]
    DotParameter,
}

/// Normalises what stands behind `/api/{proxy}`: it is empty or starts with a slash.
///
/// Dot segments go, unreserved characters are decoded, other escapes are written in capitals, repeated
/// slashes become one. Allocates only when something has to change.
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, InvalidPath> {
    if is_normal(raw.as_bytes())? {
        return Ok(Cow::Borrowed(if raw.is_empty() { "/" } else { raw }));
    }
    normalised(raw, decode).map(Cow::Owned)
}

/// As [`normalise`], for a proxy whose upstream gives encoded slashes, backslashes and NULs a meaning of its own: they
/// stay as they are. Dot segments between such characters are still refused: an upstream that decodes them would leave
/// the base path.
pub fn normalise_opaque(raw: &str) -> Result<String, InvalidPath> {
    normalised(raw, decode_opaque)
}

fn normalised(
    raw: &str,
    decode: fn(&str) -> Result<Cow<'_, str>, InvalidPath>,
) -> Result<String, InvalidPath> {
    let mut out = String::with_capacity(raw.len() + 1);
    let mut open_end = false;
    for segment in raw.split('/') {
        let segment = decode(segment)?;
        open_end = true;
        match &*segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            segment if has_dot_parameter(segment.as_bytes()) => return Err(InvalidPath::DotParameter),
            segment => {
                out.push('/');
                out.push_str(segment);
                open_end = false;
            }
        }
    }
    if open_end || out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// A path as rules see it: letters, digits and `-._~!$&'()*+,;=:@/` as they are, and any other byte as an escape
/// in capitals. Two spellings of one path are seen alike; what is sent on keeps its own.
///
/// Takes what [`normalise`] makes, and any other text without a panic. Allocates only when something has to change.
pub fn for_rules(path: &str) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    let mut out = Vec::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(plain) = bytes[at..].iter().position(|byte| !PLAIN[usize::from(*byte)]) {
        at += plain;
        let escaped = escaped(&bytes[at..]);
        let (byte, length) = escaped.map_or((bytes[at], 1), |byte| (byte, 3));
        let decoded = [byte];
        let capitals = [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        // A slash that was escaped separates no segments.
        let wanted: &[u8] = if PLAIN[usize::from(byte)] && byte != b'/' { &decoded } else { &capitals };
        if bytes[at..at + length] != *wanted {
            out.reserve(path.len());
            out.extend_from_slice(&bytes[copied..at]);
            out.extend_from_slice(wanted);
            copied = at + length;
        }
        at += length;
    }
    if copied == 0 {
        return Cow::Borrowed(path);
    }
    out.extend_from_slice(&bytes[copied..]);
    Cow::Owned(String::from_utf8(out).expect("every byte that is not ASCII was escaped"))
}

/// What stands behind a prefix of whole segments, empty or from a slash on; `None` where the path does not begin with
/// them. The prefix is spelled as rules see a path, and any spelling of it is found. A slash that was escaped separates
/// no segments here either.
pub fn behind<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let mut rest = path.as_bytes();
    for wanted in prefix.bytes() {
        let (byte, length) = match escaped(rest) {
            Some(byte) => (byte, 3),
            None => (*rest.first()?, 1),
        };
        if byte != wanted || (length > 1 && byte == b'/') {
            return None;
        }
        rest = &rest[length..];
    }
    // The prefix is ASCII, so this is no place within a character.
    let rest = &path[path.len() - rest.len()..];
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// What rules see as it is.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let others = b"-._~!$&'()*+,;=:@/";
    let mut byte = 0;
    while byte < 128 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut i = 0;
    while i < others.len() {
        plain[others[i] as usize] = true;
        i += 1;
    }
    plain
};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The byte that an escape at the start stands for, if there is one.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
}

/// Whether nothing has to be changed; also the quick refusal of what is never taken.
fn is_normal(raw: &[u8]) -> Result<bool, InvalidPath> {
    let mut normal = raw.is_empty() || raw[0] == b'/';
    let mut at_start = false;
    for (i, &byte) in raw.iter().enumerate() {
        match byte {
            b'\\' | 0 => return Err(InvalidPath::Ambiguous),
            b'%' => normal = false,
            b'/' if at_start => normal = false,
            b'.' if at_start => normal &= !matches!(raw.get(i + 1), None | Some(b'/' | b'.' | b';')),
            _ => {}
        }
        at_start = byte == b'/';
    }
    Ok(normal)
}

fn has_dot_parameter(segment: &[u8]) -> bool {
    let behind = segment.strip_prefix(b"..").or(segment.strip_prefix(b"."));
    behind.is_some_and(|rest| rest.starts_with(b";") || rest.starts_with(b"%3B"))
}

fn decode(segment: &str) -> Result<Cow<'_, str>, InvalidPath> {
    unescaped(segment, false)
}

fn decode_opaque(segment: &str) -> Result<Cow<'_, str>, InvalidPath> {
    let segment = unescaped(segment, true)?;
    // Where a path ends at a NUL, what stands before it is a segment, too.
    let parts = || {
        let parts = segment.split("%2F").flat_map(|part| part.split("%5C"));
        parts.flat_map(|part| part.split("%00")).flat_map(|part| part.split('\\'))
    };
    let is_dots = |part: &str| part == "." || part == ".." || has_dot_parameter(part.as_bytes());
    if parts().nth(1).is_some() && parts().any(is_dots) {
        return Err(InvalidPath::Ambiguous);
    }
    Ok(segment)
}

fn unescaped(segment: &str, opaque: bool) -> Result<Cow<'_, str>, InvalidPath> {
    let Some(first) = segment.find('%') else { return Ok(Cow::Borrowed(segment)) };
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    let mut at = first;
    loop {
        out.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(InvalidPath::Escape)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidPath::Escape);
        }
        match u8::from_str_radix(digits, 16).map_err(|_| InvalidPath::Escape)? {
            b'/' | b'\\' | 0 if !opaque => return Err(InvalidPath::Ambiguous),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.extend(digits.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        rest = &rest[at + 3..];
        match rest.find('%') {
            Some(next) => at = next,
            None => break,
        }
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(raw: &str, wanted: &str) {
        assert_eq!(normalise(raw).as_deref(), Ok(wanted), "{raw:?}");
    }

    #[test]
    fn one_meaning_has_one_spelling() {
        check("", "/");
        check("/", "/");
        check("/a/b", "/a/b");
        check("/a/b/", "/a/b/");
        check("//a///b", "/a/b");
        check("/a/./b", "/a/b");
        check("/a/../b", "/b");
        check("/a/b/..", "/a/");
        check("/a/.", "/a/");
        check("/%61%2Db%7e", "/a-b~");
        check("/a%20b%c3%a4", "/a%20b%C3%A4");
        check("/.well-known/x", "/.well-known/x");
        check("/...", "/...");
        check("/a..b/.c", "/a..b/.c");
    }

    #[test]
    fn no_spelling_leaves_the_base_path() {
        for raw in ["/..", "/../..", "/%2e%2e/", "/a/../../..", "/.%2E/x/../.."] {
            check(raw, "/");
        }
        check("/%2e%2e/%2e%2e/etc", "/etc");
    }

    #[test]
    fn what_upstreams_read_differently_is_refused() {
        for raw in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a%00", "/%2e%2e%2fa"] {
            assert_eq!(normalise(raw), Err(InvalidPath::Ambiguous), "{raw}");
        }
        for raw in ["/..;x/a", "/.;/a", "/%2e%2e;a", "/..%3b/a", "/%2e%3Bx"] {
            assert_eq!(normalise(raw), Err(InvalidPath::DotParameter), "{raw}");
        }
        for raw in ["/%", "/%4", "/%zz", "/%+1", "/%é"] {
            assert_eq!(normalise(raw), Err(InvalidPath::Escape), "{raw}");
        }
    }

    #[test]
    fn an_opaque_path_keeps_what_is_encoded_and_leaves_the_base_path_by_no_spelling() {
        for (raw, wanted) in
            [("/a%2fb", "/a%2Fb"), ("/a/../b%5c", "/b%5C"), ("/a%00", "/a%00"), ("/a\\b", "/a\\b"), ("", "/")]
        {
            assert_eq!(normalise_opaque(raw).as_deref(), Ok(wanted), "{raw}");
        }
        for raw in [
            "/..%2fx",
            "/a%2f..%2fb",
            "/%2e%2e%5cx",
            "/a%2F.",
            "/..\\x",
            // With a parameter, as for plain paths, and cut off at a NUL.
            "/a%2F..;x",
            "/a%2F..;x%2Fb",
            "/a%5c.%3bx",
            "/a\\%2e%2e;",
            "/..%00",
            "/a/..%00/b",
            "/a%2f..%00b",
        ] {
            assert_eq!(normalise_opaque(raw), Err(InvalidPath::Ambiguous), "{raw}");
        }
        assert_eq!(normalise_opaque("/%zz"), Err(InvalidPath::Escape));
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does_however_it_is_spelled() {
        for (path, rest) in [
            ("/v1", Some("")),
            ("/v1/", Some("/")),
            ("/v1/a/v1", Some("/a/v1")),
            ("/%76%31/a", Some("/a")),
            ("/v1%2Fa", None),
            ("/v10/a", None),
            ("/v", None),
            ("/", None),
            ("/V1/a", None),
            ("/v1\u{e4}", None),
        ] {
            assert_eq!(behind(path, "/v1"), rest, "{path}");
        }
        assert_eq!(behind("/a/%40b%3A/c", "/a/@b:"), Some("/c"));
        assert_eq!(behind("/a%2Fb/c", "/a/b"), None, "it is one segment");
        assert_eq!(behind("/\u{e4}/c", "/a"), None);
        assert_eq!(behind("/a", ""), Some("/a"));
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(matches!(normalise("/v1/chat/completions"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn rules_see_delimiters_as_they_are_and_everything_else_escaped_in_capitals() {
        for (raw, wanted) in [
            ("/v1/chat", "/v1/chat"),
            ("/a%40b", "/a@b"),
            ("/a@b", "/a@b"),
            ("/%21%24%26%27%28%29%2a%2B%2c%3B%3d%3A", "/!$&'()*+,;=:"),
            ("/a%20b|\"", "/a%20b%7C%22"),
            ("/\u{e4}/%c3%a4", "/%C3%A4/%C3%A4"),
            ("/a%2fb%5c%00\\", "/a%2Fb%5C%00%5C"),
            ("/100%/%4/%zz%", "/100%25/%254/%25zz%25"),
            ("/%2540", "/%2540"),
            ("", ""),
        ] {
            assert_eq!(for_rules(raw), wanted, "{raw}");
            assert!(matches!(for_rules(wanted), Cow::Borrowed(_)), "{wanted}");
        }
    }

    /// Spells a byte out, or escapes it, in one of two ways.
    fn spelled(bytes: &[u8], ways: &[u8]) -> String {
        let mut out = Vec::new();
        for (byte, way) in bytes.iter().zip(ways.iter().cycle()) {
            match (byte, way) {
                // Neither may change its form: one is a separator, the other would start an escape.
                (b'/', _) | (_, 0) if *byte != b'%' && byte.is_ascii() => out.push(*byte),
                (byte, 1) => out.extend(format!("%{byte:02x}").bytes()),
                (byte, _) => out.extend(format!("%{byte:02X}").bytes()),
            }
        }
        String::from_utf8(out).expect("ASCII")
    }

    proptest! {
        #[test]
        fn two_spellings_of_one_path_are_seen_alike(
            path in "/([a-c;:@=+,!$&'()*~|\"{}^ \u{e4}%-]{1,3}/?){0,5}",
            ways in prop::collection::vec(0..3_u8, 1..8),
            others in prop::collection::vec(0..3_u8, 1..8),
        ) {
            let seen = |ways: &[u8]| normalise(&spelled(path.as_bytes(), ways)).map(|path| for_rules(&path).into_owned());
            prop_assert_eq!(seen(&ways), seen(&others));
            // Spelled with an `\u{e4}` of its own, too.
            let raw = path.replace('%', "%25");
            prop_assert_eq!(seen(&ways), normalise(&raw).map(|path| for_rules(&path).into_owned()));
        }

        #[test]
        fn rules_see_a_path_once_and_for_all(path in "\\PC{0,24}|(/|%|%2|%2f|%C3|a|\u{e4}|\\\\){0,12}") {
            let once = for_rules(&path).into_owned();
            prop_assert!(once.is_ascii() && once.matches('/').count() == path.matches('/').count());
            prop_assert_eq!(&*for_rules(&once), &*once);
        }

        #[test]
        fn normal_is_normal_for_good(raw in "(/|\\.|%2e|%41|%20|a|;|é){0,24}") {
            let raw = format!("/{raw}");
            if let Ok(once) = normalise(&raw) {
                prop_assert!(once.starts_with('/'));
                prop_assert!(!once.contains("//"));
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
                let twice = normalise(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }
    }
}
