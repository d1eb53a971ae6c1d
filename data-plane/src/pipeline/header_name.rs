//! Names of headers as upstreams may read them.
//!
//! Servers that hand headers on as variables (CGI, WSGI, Rack) have one variable for `x_name` and `x-name`, so what is
//! taken out under one spelling has to be taken out under the other.

use http::{HeaderMap, HeaderName};

/// Whether a name begins so, `_` read as `-`.
pub(super) fn begins(name: &HeaderName, prefix: &str) -> bool {
    let mut bytes = name.as_str().bytes().map(read);
    prefix.bytes().all(|wanted| bytes.next() == Some(wanted))
}

/// Removes the headers that such a server takes for this one, and not this one itself.
pub(super) fn remove_others(headers: &mut HeaderMap, name: &HeaderName) {
    let is_other = |have: &&HeaderName| {
        let (have, name) = (have.as_str(), name.as_str());
        have.len() == name.len() && have != name && have.bytes().map(read).eq(name.bytes().map(read))
    };
    while let Some(other) = headers.keys().find(is_other).cloned() {
        headers.remove(other);
    }
}

fn read(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_underscore_is_read_as_a_hyphen_and_nothing_else_is() {
        for (name, wanted) in [
            ("x-forwarded-for", true),
            ("x_forwarded_for", true),
            ("x-forwarded_for", true),
            ("x-forwarded", false),
            ("x.forwarded-for", false),
            ("xx-forwarded-for", false),
        ] {
            assert_eq!(begins(&HeaderName::from_static(name), "x-forwarded-"), wanted, "{name}");
        }
    }

    #[test]
    fn another_spelling_goes_and_another_name_stays() {
        let names =
            ["x-api-key", "x_api_key", "x-api_key", "x.api-key", "x-api-keys", "x-api-kez", "xapikey"];
        let headers: HeaderMap = names
            .into_iter()
            .map(|name| (HeaderName::from_static(name), http::HeaderValue::from_static("1")))
            .collect();
        for (name, gone) in
            [("x-api-key", &["x_api_key", "x-api_key"][..]), ("x_api_key", &["x-api-key", "x-api_key"])]
        {
            let mut headers = headers.clone();
            remove_others(&mut headers, &HeaderName::from_static(name));
            for name in names {
                assert_eq!(headers.contains_key(name), !gone.contains(&name), "{name}");
            }
        }
    }
}
