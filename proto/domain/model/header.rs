//! Names of headers as configuration writes them: one spelling, in lower case.

use http::HeaderName;

/// Begins names that mean something between edges, and to callers.
pub(crate) const OURS: &str = "requestrocket-";

/// A text that is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no name of a header in lower case, like x-api-key")]
pub(crate) struct InvalidHeaderName;

/// Reads a name.
pub(crate) fn parse(text: &str) -> Result<HeaderName, InvalidHeaderName> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(InvalidHeaderName);
    }
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| InvalidHeaderName)
}

/// A name as servers read it that have one variable for `x_name` and `x-name`.
pub(crate) fn hyphened(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

/// Headers that say who somebody is, or keep a session: a proxy does not change them.
pub(crate) fn is_identity(name: &HeaderName) -> bool {
    matches!(
        &*hyphened(name),
        "authorization"
            | "cookie"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "set-cookie"
            | "www-authenticate"
    )
}

/// What a header says of a request, where clients or proxies write it by themselves.
pub(crate) fn purpose(name: &HeaderName) -> Option<&'static str> {
    const BODY: &str = "says how the body of a request is written";
    const ANSWER: &str = "says which answers a client takes";
    const SENDER: &str = "is what clients send of themselves, whoever calls";
    const WAY: &str = "says which way a request came, and proxies write it";

    match &*hyphened(name) {
        "content-encoding" | "content-type" => Some(BODY),
        "accept" | "accept-charset" | "accept-encoding" | "accept-language" => Some(ANSWER),
        "date" | "origin" | "referer" | "user-agent" => Some(SENDER),
        "forwarded" | "via" | "x-real-ip" => Some(WAY),
        name if name.starts_with("x-forwarded-") => Some(WAY),
        _ => None,
    }
}

/// Headers that decide how a message is framed, or belong to one hop: they cannot hold a credential.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    matches!(
        &*hyphened(name),
        "connection"
            | "content-length"
            | "expect"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "sec-websocket-accept"
            | "sec-websocket-key"
            | "sec-websocket-version"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}
