//! What of a request is looked at: it as it is sent on, without what authenticated the caller.

use std::borrow::Cow;

use http::HeaderMap;

/// A request as rules and meters see it.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// The path behind `/api/{proxy}`, normalised, as [`rr_domain::model::path::for_rules`] makes it.
    pub path: &'a str,
    /// Pairs of the query, decoded; see [`decode_query`]. Only looked at when a condition reads the query.
    pub query: &'a [QueryPair<'a>],
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: RequestBody<'a>,
}

/// A request's body as far as it is known.
#[derive(Debug, Clone, Copy)]
pub enum RequestBody<'a> {
    /// Not read. Who needs it says so.
    Unread,
    /// All of it, decompressed. An empty one is a document without fields.
    Read(&'a [u8]),
}

/// Name and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPair<'a> {
    /// Before the first `=`, or all.
    pub name: Cow<'a, [u8]>,
    /// Behind it.
    pub value: Cow<'a, [u8]>,
}

/// Splits and decodes a query as forms do: `&`, `=`, `%XX`, `+`. What is no escape stays as it is.
pub fn decode_query(query: &str) -> Vec<QueryPair<'_>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        QueryPair { name: decode(name), value: decode(value) }
    });
    pairs.collect()
}

/// A name or a value of such a pair, decoded.
pub fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, behind @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(nibble(*high) << 4 | nibble(*low));
                rest = behind;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    Cow::Owned(out)
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_as_forms_are() {
        let pairs: Vec<(String, String)> = decode_query("a=1&&b%3D=%C3%A4+x&c&d==%zz%&%FF=")
            .iter()
            .map(|pair| {
                (
                    String::from_utf8_lossy(&pair.name).into_owned(),
                    String::from_utf8_lossy(&pair.value).into_owned(),
                )
            })
            .collect();
        let wanted = [("a", "1"), ("b=", "ä x"), ("c", ""), ("d", "=%zz%"), ("\u{fffd}", "")];
        assert_eq!(pairs, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(decode_query("").is_empty());
    }
}
