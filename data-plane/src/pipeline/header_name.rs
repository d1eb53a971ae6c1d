//! Names of headers as upstreams may read them.
//!
//! Servers that hand headers on as variables (CGI, WSGI, Rack) have one variable for `x_name` and `x-name`, so what is
//! taken out under one spelling has to be taken out under the other.

use http::HeaderName;

/// Whether a name begins so, `_` read as `-`.
pub(super) fn begins(name: &HeaderName, prefix: &str) -> bool {
    let mut bytes = name.as_str().bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    prefix.bytes().all(|wanted| bytes.next() == Some(wanted))
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
}
