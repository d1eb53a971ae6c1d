//! Which web pages can call a proxy, made ready: how origins compare, and the headers that say what a page can do.
//!
//! Answers nothing itself. The invariant: an origin is one that was named, byte for byte as browsers write it, or whole
//! labels below a named suffix; no part of it is enough.

use http::{HeaderName, HeaderValue, Method};
use rr_contract::model::cors::{Cors, Headers, Origins};

/// Calls from web pages.
#[derive(Debug)]
pub(crate) struct CompiledCors {
    /// `None`: any.
    origins: Option<Box<[Pattern]>>,
    methods: Box<[Method]>,
    headers: Headers,
    pub(crate) credentials: bool,
    /// Values of `Access-Control-…` headers; `None`: not sent.
    pub(crate) allow_methods: HeaderValue,
    /// Of headers that are named.
    pub(crate) allow_headers: Option<HeaderValue>,
    pub(crate) expose_headers: Option<HeaderValue>,
    pub(crate) max_age: HeaderValue,
}

/// An origin as browsers write it.
#[derive(Debug)]
enum Pattern {
    Exactly(Box<[u8]>),
    /// `https://` and `.example.com:8443`.
    Below(Box<[u8]>, Box<[u8]>),
}

impl CompiledCors {
    pub(crate) fn new(cors: &Cors) -> Self {
        let origins = match &cors.origins {
            Origins::All => None,
            Origins::Some(origins) => {
                Some(origins.iter().map(|origin| Pattern::new(&origin.to_string())).collect())
            }
        };
        let names = match &cors.headers {
            Headers::All { .. } => &[],
            Headers::Some(names) => &**names,
        };
        Self {
            origins,
            methods: cors.methods.clone(),
            headers: cors.headers.clone(),
            credentials: cors.credentials,
            allow_methods: list(cors.methods.iter().map(Method::as_str)).expect("there is a method"),
            allow_headers: list(names.iter().map(HeaderName::as_str)),
            expose_headers: list(cors.exposed_headers.iter().map(HeaderName::as_str)),
            max_age: HeaderValue::from(cors.max_age.as_secs()),
        }
    }

    /// The value of `Access-Control-Allow-Origin` for a page; `None`: it cannot call.
    pub(crate) fn allow_origin(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(HeaderValue::from_static("*")),
            Some(origins) => {
                origins.iter().any(|pattern| pattern.matches(origin.as_bytes())).then(|| origin.clone())
            }
        }
    }

    pub(crate) fn takes_method(&self, method: &[u8]) -> bool {
        self.methods.iter().any(|taken| taken.as_str().as_bytes() == method)
    }

    pub(crate) fn takes_header(&self, name: &HeaderName) -> bool {
        match &self.headers {
            Headers::All { authorization } => *authorization || name != http::header::AUTHORIZATION,
            Headers::Some(names) => names.contains(name),
        }
    }
}

impl Pattern {
    fn new(origin: &str) -> Self {
        match origin.split_once('*') {
            Some((scheme, suffix)) => Self::Below(scheme.as_bytes().into(), suffix.as_bytes().into()),
            None => Self::Exactly(origin.as_bytes().into()),
        }
    }

    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exactly(wanted) => **wanted == *origin,
            Self::Below(scheme, suffix) => {
                let labels = origin.strip_prefix(&**scheme).and_then(|host| host.strip_suffix(&**suffix));
                // Whatever would end the host before the suffix is no part of a label.
                let is_plain =
                    |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
                let is_label = |label: &[u8]| !label.is_empty() && label.iter().all(is_plain);
                labels.is_some_and(|labels| labels.split(|byte| *byte == b'.').all(is_label))
            }
        }
    }
}

/// A list of names as headers have it; `None` where it is empty.
pub(crate) fn list<'n>(names: impl Iterator<Item = &'n str>) -> Option<HeaderValue> {
    let names: Vec<&str> = names.collect();
    let list = HeaderValue::from_maybe_shared(bytes::Bytes::from(names.join(", ")));
    (!names.is_empty()).then(|| list.expect("names of methods and headers are a value"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cors(origins: &[&str]) -> CompiledCors {
        let origins = match origins {
            ["*"] => Origins::All,
            some => Origins::Some(some.iter().map(|origin| origin.parse().expect("an origin")).collect()),
        };
        CompiledCors::new(&Cors {
            origins,
            methods: [Method::GET, Method::PUT].into(),
            headers: Headers::Some([HeaderName::from_static("x-a")].into()),
            exposed_headers: Box::default(),
            credentials: false,
            max_age: Duration::from_secs(600),
        })
    }

    fn allows(cors: &CompiledCors, origin: &'static str) -> Option<String> {
        let value = cors.allow_origin(&HeaderValue::from_static(origin))?;
        Some(value.to_str().expect("text").to_owned())
    }

    #[test]
    fn an_origin_is_one_that_was_named_and_no_part_of_one() {
        let cors = cors(&["https://app.example.com", "http://localhost:3000", "https://b.example:443"]);
        for origin in ["https://app.example.com", "http://localhost:3000", "https://b.example"] {
            assert_eq!(allows(&cors, origin).as_deref(), Some(origin));
        }
        for origin in [
            "https://app.example.com.evil.com",
            "https://app.example.com.",
            "https://app.example.com:443",
            "https://app.example.com:8443",
            "https://app.example.com/",
            "https://App.Example.Com",
            "HTTPS://app.example.com",
            "http://app.example.com",
            "https://evil.com/https://app.example.com",
            "https://xapp.example.com",
            "https://sub.app.example.com",
            "https://example.com",
            "https://user@app.example.com",
            "app.example.com",
            "https://app.example.com https://evil.com",
            "http://localhost",
            "http://localhost:30000",
            "https://b.example:443",
            "null",
            "*",
            "",
        ] {
            assert_eq!(allows(&cors, origin), None, "{origin}");
        }
    }

    #[test]
    fn a_suffix_stands_for_whole_labels_of_one_scheme_and_port() {
        let cors = cors(&["https://*.example.com", "https://*.b.example:8443"]);
        for origin in ["https://a.example.com", "https://a-1.b_2.example.com", "https://a.b.example:8443"] {
            assert_eq!(allows(&cors, origin).as_deref(), Some(origin));
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://a..example.com",
            "https://aexample.com",
            "https://a.example.com.",
            "https://a.example.com:8443",
            "https://a.b.example",
            "https://a.b.example:84430",
            "http://a.example.com",
            "https://A.example.com",
            "https://a.example.com.evil.com",
            "https://evil.com/.example.com",
            "https://evil.com:1.example.com",
            "https://evil.com#.example.com",
            "https://evil.com?.example.com",
            "https://evil.com\\.example.com",
            "https://evil@a.example.com",
            "https://evil.com%2f.example.com",
            "https://*.example.com",
            "null",
        ] {
            assert_eq!(allows(&cors, origin), None, "{origin}");
        }
    }

    #[test]
    fn every_page_can_call_what_is_open_to_all_and_is_not_named_back() {
        for origin in ["https://app.example.com", "null", "file://"] {
            assert_eq!(allows(&cors(&["*"]), origin).as_deref(), Some("*"));
        }
    }

    #[test]
    fn methods_are_compared_as_they_are_written() {
        let cors = cors(&["*"]);
        assert!(cors.takes_method(b"PUT") && !cors.takes_method(b"put") && !cors.takes_method(b"POST"));
        assert_eq!((cors.allow_methods.as_bytes(), cors.max_age.as_bytes()), (&b"GET, PUT"[..], &b"600"[..]));
    }
}
