//! What a proxy changes in requests, which web pages it takes, and what it tells upstreams of callers: flags and text.
//!
//! All of the web pages, and the common part of the changes; the rest of these is for files that `rrctl apply` reads.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet::{Cors, ForwardedHeaders, Pair, PairEdits, Rewrite};
use rr_contract::wire::management::Proxy;

use super::resilience::Setting;
use super::span;

/// How a proxy shapes requests.
#[derive(Args)]
pub(crate) struct ShapeArgs {
    /// Segments that are taken from the front of paths, as /v1; '' for none.
    #[arg(long, value_name = "PATH")]
    strip_prefix: Option<String>,
    /// Segments that are put in front of paths after that, as /api/v2; '' for none.
    #[arg(long, value_name = "PATH")]
    add_prefix: Option<String>,
    /// Header of requests in the place of what callers send, as 'name: value'; can be repeated. Replaces the old list;
    /// `none` empties it. Headers that are renamed or added, and changes of queries and of responses, are for files that
    /// `rrctl apply` reads.
    #[arg(long = "set-header", value_name = "HEADER", value_parser = header)]
    set_headers: Vec<Setting<Pair>>,
    /// Name of a header that is removed from requests; can be repeated. Replaces the old list; `none` empties it.
    #[arg(long = "remove-header", value_name = "NAME", value_parser = name)]
    remove_headers: Vec<Setting<String>>,
    /// Host that is sent to the upstream, with a port if there is one; '' for that of the base URL. TLS is not concerned.
    #[arg(long)]
    host: Option<String>,
    /// Whether requests and responses bear a `Via` header, by which requests that come back are refused.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    via: Option<bool>,
    /// Origin of web pages that can call, as `https://app.example.com`, `https://*.example.com` or '*'; can be repeated.
    /// Replaces the old list; `none`: no page can, and all that is said of pages is forgotten.
    #[arg(long = "cors-origin", value_name = "ORIGIN", value_parser = entry)]
    cors_origins: Vec<Setting<String>>,
    /// Method that web pages can use; can be repeated. Replaces the old list; `none` empties it, which means GET, HEAD and
    /// POST.
    #[arg(long = "cors-method", value_name = "METHOD", value_parser = entry)]
    cors_methods: Vec<Setting<String>>,
    /// Header that web pages can send, as authorization, or '*' for all others; can be repeated. Replaces the old list;
    /// `none` empties it.
    #[arg(long = "cors-header", value_name = "NAME", value_parser = name)]
    cors_headers: Vec<Setting<String>>,
    /// Header of responses that web pages can read; can be repeated. Replaces the old list; `none` empties it.
    #[arg(long = "cors-exposed-header", value_name = "NAME", value_parser = name)]
    cors_exposed_headers: Vec<Setting<String>>,
    /// Whether web pages can send cookies and the like.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    cors_credentials: Option<bool>,
    /// Longest time that browsers keep what a preflight request was answered, as 10m; 10m when never given, 24h at most.
    #[arg(long, value_name = "DURATION", value_parser = span::or_seconds)]
    cors_max_age: Option<Duration>,
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
        !self.cors_origins.is_empty()
            || !self.cors_methods.is_empty()
            || !self.cors_headers.is_empty()
            || !self.cors_exposed_headers.is_empty()
            || self.cors_credentials.is_some()
            || self.cors_max_age.is_some()
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

    /// The old web pages with the given ones in place; an inner `None`: none any more. `None` when no flag was given.
    #[expect(clippy::option_option, reason = "a flag that was not given is not one that clears the field")]
    pub(crate) fn over_cors(&self, there: Option<Cors>) -> Option<Option<Cors>> {
        if !self.takes_pages() {
            return None;
        }
        if !self.cors_origins.is_empty() && self.cors_origins.iter().all(|it| it.0.is_none()) {
            return Some(None);
        }
        let mut cors = there.unwrap_or_default();
        put_all(&mut cors.origins, &self.cors_origins);
        put_all(&mut cors.methods, &self.cors_methods);
        put_all(&mut cors.headers, &self.cors_headers);
        put_all(&mut cors.exposed_headers, &self.cors_exposed_headers);
        put(&mut cors.credentials, &self.cors_credentials);
        put(&mut cors.max_age, &self.cors_max_age.map(|age| Some(wire_duration(age))));
        Some(Some(cors))
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

/// Nothing given leaves the list as it is; `none` adds nothing to it.
fn put_all<T: Clone>(place: &mut Vec<T>, given: &[Setting<T>]) {
    if !given.is_empty() {
        *place = given.iter().filter_map(|it| it.0.clone()).collect();
    }
}

fn header(text: &str) -> Result<Setting<Pair>, String> {
    if text == "none" {
        return Ok(Setting(None));
    }
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is not a header; write 'name: value'"))?;
    Ok(Setting(Some(Pair { name: name.trim().to_ascii_lowercase(), value: value.trim().to_owned() })))
}

/// Names of headers are compared without regard to case, and written in lower case.
fn name(text: &str) -> Result<Setting<String>, String> {
    entry(&text.trim().to_ascii_lowercase())
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that can fail")]
fn entry(text: &str) -> Result<Setting<String>, String> {
    Ok(Setting(Some(text.to_owned()).filter(|text| text != "none")))
}

/// What a proxy changes, in words.
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
    for (what, edits) in [
        ("query", &rewrite.query),
        ("request", &rewrite.request_headers),
        ("response", &rewrite.response_headers),
    ] {
        let changes = edits.iter().flat_map(changes);
        words.extend(changes.map(|change| format!("{what} {change}")));
    }
    if rewrite.via {
        words.push("via".to_owned());
    }
    words.join(", ")
}

fn changes(edits: &PairEdits) -> Vec<String> {
    let removed = edits.remove.iter().map(|name| format!("remove {name}"));
    let renamed = edits.rename.iter().map(|it| format!("rename {} to {}", it.from, it.to));
    let set = edits.set.iter().map(|pair| format!("set {}: {}", pair.name, pair.value));
    let added = edits.add.iter().map(|pair| format!("add {}: {}", pair.name, pair.value));
    removed.chain(renamed).chain(set).chain(added).collect()
}

/// Which web pages a proxy takes, and what they can do, in words.
pub(crate) fn cors_of(proxy: &Proxy) -> String {
    let Some(cors) = &proxy.cors else { return String::new() };
    let mut words = vec![cors.origins.join(" ")];
    for (what, names) in
        [("methods", &cors.methods), ("headers", &cors.headers), ("exposed", &cors.exposed_headers)]
    {
        if !names.is_empty() {
            words.push(format!("{what} {}", names.join(" ")));
        }
    }
    if cors.credentials {
        words.push("credentials".to_owned());
    }
    words.extend(cors.max_age.as_ref().map(|age| format!("max age {}", span::text(age))));
    words.join(", ")
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
mod tests;
