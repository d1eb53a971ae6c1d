//! What a proxy changes in requests, which web pages it takes, and what it tells upstreams of callers: flags and text.
//!
//! The common part of it alone; the rest is for files that `rrctl apply` reads.

use clap::{Args, ValueEnum};
use rr_contract::wire::fleet::{Cors, ForwardedHeaders, Pair, PairEdits, Rewrite};
use rr_contract::wire::management::Proxy;

/// How a proxy shapes requests.
#[derive(Args)]
pub(crate) struct ShapeArgs {
    /// Segments that are taken from the front of paths, as /v1; '' for none.
    #[arg(long, value_name = "PATH")]
    strip_prefix: Option<String>,
    /// Segments that are put in front of paths after that, as /api/v2; '' for none.
    #[arg(long, value_name = "PATH")]
    add_prefix: Option<String>,
    /// Header of requests in the place of what callers send, as 'name: value'; can be repeated. Replaces the old list.
    #[arg(long = "set-header", value_name = "HEADER", value_parser = header)]
    set_headers: Vec<Pair>,
    /// Name of a header that is removed from requests; can be repeated. Replaces the old list.
    #[arg(long = "remove-header", value_name = "NAME", value_parser = name)]
    remove_headers: Vec<String>,
    /// Host that is sent to the upstream, with a port if there is one; '' for that of the base URL. TLS is not concerned.
    #[arg(long)]
    host: Option<String>,
    /// Whether requests and responses bear a `Via` header, by which requests that come back are refused.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    via: Option<bool>,
    /// Origin of web pages that can call, as `https://app.example.com`, `https://*.example.com` or '*'; can be repeated.
    /// Replaces the old list.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<String>,
    /// Method that web pages can use, where it is more than GET, HEAD and POST; can be repeated. Replaces the old list.
    #[arg(long = "cors-method", value_name = "METHOD")]
    cors_methods: Vec<String>,
    /// Header that web pages can send, as authorization; can be repeated. Replaces the old list.
    #[arg(long = "cors-header", value_name = "NAME", value_parser = name)]
    cors_headers: Vec<String>,
    /// What the upstream is told about callers.
    #[arg(long)]
    forwarded: Option<Telling>,
}

/// What an upstream is told about callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Telling {
    /// Nothing.
    #[value(name = "none")]
    Nothing,
    /// X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.
    #[value(name = "x-forwarded")]
    Lists,
    /// Forwarded (RFC 7239).
    #[value(name = "forwarded")]
    Standard,
}

impl ShapeArgs {
    /// Whether a part of a field is given, so that the rest of the field has to be read.
    pub(crate) fn is_given(&self) -> bool {
        self.rewrites() || self.takes_pages()
    }

    fn rewrites(&self) -> bool {
        self.strip_prefix.is_some()
            || self.add_prefix.is_some()
            || !self.set_headers.is_empty()
            || !self.remove_headers.is_empty()
            || self.host.is_some()
            || self.via.is_some()
    }

    fn takes_pages(&self) -> bool {
        !self.cors_origins.is_empty() || !self.cors_methods.is_empty() || !self.cors_headers.is_empty()
    }

    /// The old changes with the given ones in place. `None` when no flag was given.
    pub(crate) fn over_rewrite(&self, there: Option<Rewrite>) -> Option<Rewrite> {
        if !self.rewrites() {
            return None;
        }
        let mut rewrite = there.unwrap_or_default();
        put(&mut rewrite.strip_prefix, &self.strip_prefix);
        put(&mut rewrite.add_prefix, &self.add_prefix);
        put(&mut rewrite.host, &self.host);
        put(&mut rewrite.via, &self.via);
        if !self.set_headers.is_empty() || !self.remove_headers.is_empty() {
            let edits = rewrite.request_headers.get_or_insert_with(PairEdits::default);
            put_all(&mut edits.set, &self.set_headers);
            put_all(&mut edits.remove, &self.remove_headers);
        }
        Some(rewrite)
    }

    /// The old web pages with the given ones in place. `None` when no flag was given.
    pub(crate) fn over_cors(&self, there: Option<Cors>) -> Option<Cors> {
        if !self.takes_pages() {
            return None;
        }
        let mut cors = there.unwrap_or_default();
        put_all(&mut cors.origins, &self.cors_origins);
        put_all(&mut cors.methods, &self.cors_methods);
        put_all(&mut cors.headers, &self.cors_headers);
        Some(cors)
    }

    pub(crate) fn forwarded(&self) -> Option<i32> {
        self.forwarded.map(|how| match how {
            Telling::Nothing => ForwardedHeaders::Unspecified.into(),
            Telling::Lists => ForwardedHeaders::XForwarded.into(),
            Telling::Standard => ForwardedHeaders::Forwarded.into(),
        })
    }
}

fn put<T: Clone>(place: &mut T, given: &Option<T>) {
    if let Some(given) = given {
        place.clone_from(given);
    }
}

fn put_all<T: Clone>(place: &mut Vec<T>, given: &[T]) {
    if !given.is_empty() {
        *place = given.to_vec();
    }
}

fn header(text: &str) -> Result<Pair, String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is not a header; write 'name: value'"))?;
    Ok(Pair { name: name.trim().to_ascii_lowercase(), value: value.trim().to_owned() })
}

/// Names of headers are compared without regard to case, and written in lower case.
#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that can fail")]
fn name(text: &str) -> Result<String, String> {
    Ok(text.trim().to_ascii_lowercase())
}

/// What a proxy changes, in a few words.
pub(crate) fn rewrite_of(proxy: &Proxy) -> String {
    let Some(rewrite) = &proxy.rewrite else { return String::new() };
    let mut words = Vec::new();
    for (word, value) in
        [("strip", &rewrite.strip_prefix), ("add", &rewrite.add_prefix), ("host", &rewrite.host)]
    {
        if !value.is_empty() {
            words.push(format!("{word} {value}"));
        }
    }
    for (word, edits) in [
        ("query", &rewrite.query),
        ("request headers", &rewrite.request_headers),
        ("response headers", &rewrite.response_headers),
    ] {
        let count =
            |edits: &PairEdits| edits.remove.len() + edits.rename.len() + edits.set.len() + edits.add.len();
        if let Some(count) = edits.as_ref().map(count).filter(|count| *count > 0) {
            words.push(format!("{count} of {word}"));
        }
    }
    if rewrite.via {
        words.push("via".to_owned());
    }
    words.join(", ")
}

/// The origins of the web pages that a proxy takes.
pub(crate) fn cors_of(proxy: &Proxy) -> String {
    proxy.cors.as_ref().map(|cors| cors.origins.join(" ")).unwrap_or_default()
}

/// What a proxy tells its upstream about callers.
pub(crate) fn forwarded_of(proxy: &Proxy) -> String {
    match proxy.forwarded() {
        ForwardedHeaders::Unspecified => "",
        ForwardedHeaders::XForwarded => "x-forwarded",
        ForwardedHeaders::Forwarded => "forwarded",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        shape: ShapeArgs,
    }

    fn typed(flags: &[&str]) -> ShapeArgs {
        Line::try_parse_from([&["rrctl"], flags].concat()).expect("it is typed well").shape
    }

    #[test]
    fn what_is_given_takes_the_place_of_what_was_there_and_the_rest_stays() {
        let add = vec![Pair { name: "x-a".to_owned(), value: "1".to_owned() }];
        let edits = PairEdits { remove: vec!["x-old".to_owned()], add: add.clone(), ..PairEdits::default() };
        let there = Rewrite {
            strip_prefix: "/v1".to_owned(),
            host: "a.example".to_owned(),
            request_headers: Some(edits),
            ..Rewrite::default()
        };
        let given = typed(&["--add-prefix", "/v2", "--set-header", "X-B:  c: d ", "--host", "", "--via"]);
        let rewrite = given.over_rewrite(Some(there)).expect("it is given");
        let set = vec![Pair { name: "x-b".to_owned(), value: "c: d".to_owned() }];
        let edits = PairEdits { remove: vec!["x-old".to_owned()], set, add, ..PairEdits::default() };
        assert_eq!(
            rewrite,
            Rewrite {
                strip_prefix: "/v1".to_owned(),
                add_prefix: "/v2".to_owned(),
                request_headers: Some(edits),
                via: true,
                ..Rewrite::default()
            }
        );
        assert_eq!(given.over_cors(None), None);
        let proxy = Proxy { rewrite: Some(rewrite), ..Proxy::default() };
        assert_eq!(rewrite_of(&proxy), "strip /v1, add /v2, 3 of request headers, via");
    }

    #[test]
    fn pages_are_named_by_their_origins() {
        let given = typed(&["--cors-origin", "https://a.example", "--cors-header", "Authorization"]);
        let there = Cors { credentials: true, methods: vec!["PUT".to_owned()], ..Cors::default() };
        let cors = given.over_cors(Some(there)).expect("it is given");
        assert_eq!(
            (cors.origins, cors.headers),
            (vec!["https://a.example".to_owned()], vec!["authorization".to_owned()])
        );
        assert_eq!((cors.credentials, cors.methods), (true, vec!["PUT".to_owned()]));
        assert!(given.over_rewrite(None).is_none() && given.is_given() && !typed(&[]).is_given());
        assert_eq!(typed(&["--forwarded", "none"]).forwarded(), Some(0));
    }

    #[test]
    fn a_header_without_a_value_is_no_header() {
        assert!(Line::try_parse_from(["rrctl", "--set-header", "x-a"]).is_err());
    }
}
