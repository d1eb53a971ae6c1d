//! Parameters of a query that hold a credential: found, and taken out.
//!
//! Leaves every other pair as it was written, because upstreams sign and compare queries.

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

const NAME: &str = "authorization";

/// The values of such parameters, decoded.
pub(super) fn credentials(query: &str) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let pairs = query.split('&').filter(|pair| is_credential(pair));
    pairs.map(|pair| decode(pair.split_once('=').map_or("", |(_, value)| value)))
}

/// The query without any such parameter; `None` when nothing is left of it.
pub(super) fn without_credential(query: &str) -> Option<Cow<'_, str>> {
    without(query, NAME)
}

/// The query without any parameter of this name, in small or capital letters, escaped or not; `None` when nothing is left of
/// it.
pub(super) fn without<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    if !query.split('&').any(|pair| is_named(pair, name)) {
        return Some(Cow::Borrowed(query));
    }
    let mut left = String::with_capacity(query.len());
    for pair in query.split('&').filter(|pair| !is_named(pair, name)) {
        if !left.is_empty() {
            left.push('&');
        }
        left.push_str(pair);
    }
    (!left.is_empty()).then_some(Cow::Owned(left))
}

fn is_credential(pair: &str) -> bool {
    is_named(pair, NAME)
}

fn is_named(pair: &str, name: &str) -> bool {
    let found = pair.split_once('=').map_or(pair, |(found, _)| found);
    // An escape is never shorter than the text that it stands for.
    if found.len() < name.len() {
        return false;
    }
    if found.contains(['%', '+']) {
        return decode(found).eq_ignore_ascii_case(name.as_bytes());
    }
    found.eq_ignore_ascii_case(name)
}

/// Form decoding: `%XX` and `+`. Everything else stays as it is.
fn decode(text: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => byte(*high, *low),
            _ => None,
        };
        match (escape, first) {
            (Some(byte), _) => {
                out.push(byte);
                rest = &tail[2..];
                continue;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(*byte),
        }
        rest = tail;
    }
    out
}

/// The byte that two digits stand for.
fn byte(high: u8, low: u8) -> Option<u8> {
    let mut byte = [0];
    HEXLOWER_PERMISSIVE.decode_mut(&[high, low], &mut byte).ok()?;
    Some(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credential_is_found_however_it_is_written() {
        let found = |query| credentials(query).map(|value| value.to_vec()).collect::<Vec<_>>();
        for query in ["Authorization=a%20b", "x=1&authorization=a+b", "%41uthorization=a%20b&y"] {
            assert_eq!(found(query), [b"a b"], "{query}");
        }
        assert!(found("x=Authorization&auth=1").is_empty());
        assert_eq!(found("Authorization"), [b""]);
        assert_eq!(found("Authorization=a&x=1&%41UTHORIZATION=b"), [b"a", b"b"]);
    }

    #[test]
    fn no_spelling_of_the_credential_is_left_and_nothing_else_is_touched() {
        let check = |query, left: Option<&str>| assert_eq!(without_credential(query).as_deref(), left);
        check("a=1&b=%20&&c", Some("a=1&b=%20&&c"));
        check("a=1&Authorization=k&b=2&%61UTHORIZATION=k", Some("a=1&b=2"));
        check("Authorization=k", None);
        check("Authorization", None);
        check("authorizations=k", Some("authorizations=k"));
    }

    #[test]
    fn a_parameter_goes_under_whatever_spelling_and_takes_no_other_with_it() {
        let check = |query, left: Option<&str>| assert_eq!(without(query, "key").as_deref(), left, "{query}");
        check("key=mine", None);
        check("a=1&KEY=mine&%6bey=mine&b=2&key", Some("a=1&b=2"));
        check("keys=1&k=2&a=key&key%20=3", Some("keys=1&k=2&a=key&key%20=3"));
    }
}
