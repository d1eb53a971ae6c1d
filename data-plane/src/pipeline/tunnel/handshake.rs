//! The opening handshake of WebSockets (RFC 6455, RFC 8441): what a caller asks for, and whether an answer fits it.
//!
//! Sends nothing, and knows nothing of proxies. The invariant: a connection counts as switched only where the peer has
//! proved that it read this very request, and chose nothing that was not offered.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

use crate::reply::{BadSwitch, Denial};

/// The one protocol that a connection can be switched to.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// The one version of it.
const VERSION: HeaderValue = HeaderValue::from_static("13");
/// What a key is hashed with (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;

/// A caller's wish for a WebSocket.
pub(crate) struct Wish {
    /// How HTTP/2 hands over the stream; `None` on HTTP/1.1, where the whole connection becomes the tunnel.
    pub(super) stream: Option<OnUpgrade>,
}

/// The wish of a request, if it has one. Any other protocol than WebSocket is no wish on HTTP/1.1, where a server may
/// pass over it, and refused on HTTP/2, where it is all that is asked for.
pub(crate) fn wish(parts: &mut Parts) -> Result<Option<Wish>, Denial> {
    // Only requests that name another protocol bear it: for all others this is all.
    let Some(stream) = parts.extensions.remove::<OnUpgrade>() else { return Ok(None) };
    if parts.version == Version::HTTP_2 {
        // Without a protocol it is a CONNECT of old, which the method alone refuses.
        let Some(protocol) = parts.extensions.remove::<Protocol>() else { return Ok(None) };
        if !protocol.as_str().eq_ignore_ascii_case("websocket") {
            return Err(Denial::Protocol);
        }
        // What HTTP/1.1 says for the same.
        parts.method = Method::GET;
        return Ok(Some(Wish { stream: Some(stream) }));
    }
    let asks = is_only(&parts.headers, &UPGRADE, &WEBSOCKET) && names_upgrade(&parts.headers);
    Ok(asks.then_some(Wish { stream: None }))
}

/// Whether the request is one that a WebSocket can begin with.
pub(super) fn check(wish: &Wish, parts: &Parts, has_body: bool) -> Result<Option<HeaderValue>, Denial> {
    let headers = &parts.headers;
    let is_bare = !has_body && !headers.contains_key(TRANSFER_ENCODING);
    if parts.method != Method::GET || !is_bare || !is_only(headers, &SEC_WEBSOCKET_VERSION, &VERSION) {
        return Err(Denial::BadUpgrade);
    }
    if wish.stream.is_some() {
        return Ok(None);
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY).ok_or(Denial::BadUpgrade)?;
    let is_key = BASE64.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
    if is_key { Ok(Some(accept(key))) } else { Err(Denial::BadUpgrade) }
}

/// Takes out of a request what only its own hop has a use for, and leaves what rules can tell a WebSocket from.
pub(super) fn clean(headers: &mut HeaderMap) {
    for name in [&SEC_WEBSOCKET_KEY, &SEC_WEBSOCKET_ACCEPT, &SEC_WEBSOCKET_VERSION] {
        headers.remove(name);
    }
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Makes a request to the upstream ask for a WebSocket. Returns what proves that it was read.
pub(super) fn ask(headers: &mut HeaderMap, key: [u8; KEY_BYTES]) -> HeaderValue {
    let key = BASE64.encode(&key);
    let accept = accept(key.as_bytes());
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).expect("base64 is text"));
    accept
}

/// Whether an answer switches to what was asked for with `asked`, and nothing else.
pub(super) fn confirm(asked: &HeaderMap, wanted: &HeaderValue, answer: &HeaderMap) -> Result<(), BadSwitch> {
    if !is_only(answer, &UPGRADE, &WEBSOCKET) {
        return Err(BadSwitch::Upgrade);
    }
    if !names_upgrade(answer) {
        return Err(BadSwitch::Connection);
    }
    if single(answer, &SEC_WEBSOCKET_ACCEPT) != Some(wanted.as_bytes()) {
        return Err(BadSwitch::Accept);
    }
    if answer.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        let chosen = single(answer, &SEC_WEBSOCKET_PROTOCOL).ok_or(BadSwitch::Protocol)?;
        if !members(asked, &SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == chosen) {
            return Err(BadSwitch::Protocol);
        }
    }
    let is_offered = |chosen: &[u8]| {
        members(asked, &SEC_WEBSOCKET_EXTENSIONS).any(|offered| name(offered) == name(chosen))
    };
    if members(answer, &SEC_WEBSOCKET_EXTENSIONS).all(is_offered) {
        Ok(())
    } else {
        Err(BadSwitch::Extension)
    }
}

/// Makes the head of an answer switch the caller's side; `accept` where the caller gave a key.
pub(super) fn grant(headers: &mut HeaderMap, accept: Option<HeaderValue>) {
    for name in [&SEC_WEBSOCKET_ACCEPT, &CONTENT_LENGTH] {
        headers.remove(name);
    }
    if let Some(accept) = accept {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, WEBSOCKET);
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
}

/// What proves that a key was read.
fn accept(key: &[u8]) -> HeaderValue {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    HeaderValue::from_str(&BASE64.encode(hash.as_ref())).expect("base64 is text")
}

/// The value of a header that is there once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes().trim_ascii();
    values.next().is_none().then_some(value)
}

/// Whether a header is there once, with this value.
fn is_only(headers: &HeaderMap, name: &HeaderName, value: &HeaderValue) -> bool {
    single(headers, name).is_some_and(|found| found.eq_ignore_ascii_case(value.as_bytes()))
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    members(headers, &CONNECTION).any(|member| member.eq_ignore_ascii_case(b"upgrade"))
}

/// The members of a list, over all headers of that name. A comma between quotes parts nothing.
fn members<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let split = |value: &'h HeaderValue| {
        let (mut is_quoted, mut is_escaped) = (false, false);
        value.as_bytes().split(move |byte| {
            let was_escaped = std::mem::take(&mut is_escaped);
            match byte {
                b'"' if !was_escaped => is_quoted = !is_quoted,
                b'\\' if is_quoted => is_escaped = !was_escaped,
                _ => {}
            }
            *byte == b',' && !is_quoted
        })
    };
    let all = headers.get_all(name).iter().flat_map(split);
    all.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The name of an extension, without its parameters.
fn name(member: &[u8]) -> &[u8] {
    member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the answer of RFC 6455, 1.3.
    const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_key_is_answered_as_the_standard_shows() {
        assert_eq!(accept(KEY), ACCEPT);
    }

    #[test]
    fn an_answer_switches_only_if_it_proves_that_it_read_the_request_and_chooses_from_the_offer() {
        let asked = headers(&[
            ("sec-websocket-protocol", "chat, v2"),
            ("sec-websocket-protocol", "v3"),
            ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits, x-a;b=\"c,x-evil\""),
        ]);
        let wanted = HeaderValue::from_static(ACCEPT);
        let good = ("connection", "keep-alive, UPGRADE");
        let up = ("upgrade", "WebSocket");
        let accept = ("sec-websocket-accept", ACCEPT);
        let check = |more: &[(&'static str, &'static str)], verdict: Result<(), BadSwitch>| {
            let answer = headers(more);
            let found = confirm(&asked, &wanted, &answer);
            assert_eq!(format!("{found:?}"), format!("{verdict:?}"), "{more:?}");
        };
        check(&[good, up, accept], Ok(()));
        check(&[good, up, accept, ("sec-websocket-protocol", "v3")], Ok(()));
        check(
            &[
                good,
                up,
                accept,
                ("sec-websocket-extensions", "permessage-deflate;server_max_window_bits=\"10\""),
            ],
            Ok(()),
        );
        check(&[good, accept], Err(BadSwitch::Upgrade));
        check(&[good, up, up, accept], Err(BadSwitch::Upgrade));
        check(&[good, ("upgrade", "websocket, h2c"), accept], Err(BadSwitch::Upgrade));
        check(&[good, ("upgrade", "h2c"), accept], Err(BadSwitch::Upgrade));
        check(&[up, accept], Err(BadSwitch::Connection));
        check(&[("connection", "close"), up, accept], Err(BadSwitch::Connection));
        check(&[good, up], Err(BadSwitch::Accept));
        check(&[good, up, accept, accept], Err(BadSwitch::Accept));
        check(&[good, up, ("sec-websocket-accept", "c3pPLMBiTxaQ9kYGzzhZRbK+xOo=")], Err(BadSwitch::Accept));
        for wrong in ["v4", "V3", "chat, v2", ""] {
            check(&[good, up, accept, ("sec-websocket-protocol", wrong)], Err(BadSwitch::Protocol));
        }
        let v3 = ("sec-websocket-protocol", "v3");
        check(&[good, up, accept, v3, v3], Err(BadSwitch::Protocol));
        for wrong in ["x-evil", "permessage-deflate, x-evil", "permessage-bzip2"] {
            check(&[good, up, accept, ("sec-websocket-extensions", wrong)], Err(BadSwitch::Extension));
        }
    }
}
