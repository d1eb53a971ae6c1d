//! `Via` (RFC 9110, 7.6.3): by which nodes a message came.
//!
//! Decides only whether a request comes back to this node. The invariant: a node names itself by a pseudonym that says
//! nothing about its machine, and adds to the list what others have put there.

use http::header::{HeaderValue, VIA};
use http::{HeaderMap, Version};

/// Whether a message has come by the node with this pseudonym.
pub(super) fn names(headers: &HeaderMap, pseudonym: &str) -> bool {
    // A comma in a comment makes a member of the rest of it: no sender of ours writes one.
    let members = headers.get_all(VIA).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut received_by = members.filter_map(|member| {
        member.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).nth(1)
    });
    received_by.any(|name| name.eq_ignore_ascii_case(pseudonym.as_bytes()))
}

/// Adds this node, which received the message as `version`, to its list.
pub(super) fn append(headers: &mut HeaderMap, version: Version, pseudonym: &str) {
    let protocol: &[u8] = match version {
        Version::HTTP_2 => b"2.0 ",
        Version::HTTP_10 => b"1.0 ",
        _ => b"1.1 ",
    };
    let mut list = Vec::new();
    for value in headers.get_all(VIA) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(protocol);
    list.extend_from_slice(pseudonym.as_bytes());
    let list = HeaderValue::from_maybe_shared(bytes::Bytes::from(list));
    headers.insert(VIA, list.expect("values, put together with letters, stay one"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VIA, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_node_recognizes_its_pseudonym_as_a_receiver_and_nowhere_else() {
        for lines in [
            &["1.1 rr-01234567"][..],
            &["1.0 a, HTTP/1.1\t rr-01234567 (comment), 1.1 b"],
            &["1.1 a", "2.0 RR-01234567"],
            &["1.1 a (x, y), 2.0  rr-01234567"],
        ] {
            assert!(names(&via(lines), "rr-01234567"), "{lines:?}");
        }
        for lines in [
            &[][..],
            &["1.1 rr-0123456", "1.1 rr-012345678"],
            &["rr-01234567"],
            &["1.1 a (rr-01234567)", "rr-01234567 b"],
        ] {
            assert!(!names(&via(lines), "rr-01234567"), "{lines:?}");
        }
    }

    #[test]
    fn what_others_have_put_there_stays_in_front_in_one_list() {
        for (lines, version, wanted) in [
            (&[][..], Version::HTTP_11, "1.1 rr-1"),
            (&["1.0 a, 1.1 b", "1.1 c (x, y)"], Version::HTTP_2, "1.0 a, 1.1 b, 1.1 c (x, y), 2.0 rr-1"),
            (&["1.1 a"], Version::HTTP_10, "1.1 a, 1.0 rr-1"),
        ] {
            let mut headers = via(lines);
            append(&mut headers, version, "rr-1");
            let all: Vec<_> = headers.get_all(VIA).iter().collect();
            assert_eq!(all, [wanted]);
        }
    }
}
