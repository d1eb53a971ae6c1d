//! The path of a request as rules see it and as it is sent on: one spelling for one meaning.
//!
//! Knows nothing of proxies or targets. The invariant: what comes out starts with a slash, holds no dot
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
    Ok(Cow::Owned(out))
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
    segment.starts_with(b".;") || segment.starts_with(b"..;")
}

fn decode(segment: &str) -> Result<Cow<'_, str>, InvalidPath> {
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
            b'/' | b'\\' | 0 => return Err(InvalidPath::Ambiguous),
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
        for raw in ["/..;x/a", "/.;/a", "/%2e%2e;a"] {
            assert_eq!(normalise(raw), Err(InvalidPath::DotParameter), "{raw}");
        }
        for raw in ["/%", "/%4", "/%zz", "/%+1", "/%é"] {
            assert_eq!(normalise(raw), Err(InvalidPath::Escape), "{raw}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(matches!(normalise("/v1/chat/completions"), Ok(Cow::Borrowed(_))));
    }

    proptest! {
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
