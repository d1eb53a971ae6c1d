//! What records of a proxy's requests hold of paths, headers and queries: flags and text.

use clap::Args;
use rr_contract::wire::fleet::Recording;
use rr_contract::wire::management::Proxy;

use super::resilience::Setting;

/// What records hold.
#[derive(Args)]
pub(crate) struct RecordingArgs {
    /// Template that records have in the place of the paths that match it, as '/users/{id}' or '/files/{rest...}'; can be
    /// repeated, and of several that match the most specific counts. Replaces the old list; `none` empties it. Other paths are
    /// recorded as they are, without segments that look like a secret, an e-mail address or a card number.
    #[arg(long = "record-path", value_name = "TEMPLATE", value_parser = entry)]
    record_paths: Vec<Setting<String>>,
    /// Name of a header of requests of which records keep the value: 256 bytes, and nothing of what looks like a secret; can be
    /// repeated. No header that holds a credential. Replaces the old list; `none` empties it.
    #[arg(long = "record-request-header", value_name = "NAME", value_parser = header)]
    record_request_headers: Vec<Setting<String>>,
    /// The same of responses.
    #[arg(long = "record-response-header", value_name = "NAME", value_parser = header)]
    record_response_headers: Vec<Setting<String>>,
    /// Name of a parameter of the query of which records keep the value, in the same way; can be repeated. Replaces the old
    /// list; `none` empties it.
    #[arg(long, value_name = "NAME", value_parser = entry)]
    record_query: Vec<Setting<String>>,
}

impl RecordingArgs {
    /// Whether a part of the field is given, so that the rest of it has to be read.
    pub(crate) fn is_given(&self) -> bool {
        [&self.record_paths, &self.record_request_headers, &self.record_response_headers, &self.record_query]
            .iter()
            .any(|list| !list.is_empty())
    }

    /// The old lists with the given ones in place; an inner `None`: nothing is left. `None` when no flag was given.
    #[expect(clippy::option_option, reason = "a flag that was not given is not one that clears the field")]
    pub(crate) fn over(&self, there: Option<Recording>) -> Option<Option<Recording>> {
        if !self.is_given() {
            return None;
        }
        let mut recording = there.unwrap_or_default();
        for (list, given) in [
            (&mut recording.path_templates, &self.record_paths),
            (&mut recording.request_headers, &self.record_request_headers),
            (&mut recording.response_headers, &self.record_response_headers),
            (&mut recording.query_parameters, &self.record_query),
        ] {
            if !given.is_empty() {
                *list = given.iter().filter_map(|entry| entry.0.clone()).collect();
            }
        }
        Some(Some(recording).filter(|recording| *recording != Recording::default()))
    }
}

fn entry(text: &str) -> Result<Setting<String>, String> {
    Ok(Setting((text != "none").then(|| text.to_owned())))
}

fn header(text: &str) -> Result<Setting<String>, String> {
    entry(&text.to_ascii_lowercase())
}

/// `paths /users/{id}; query page`.
pub(crate) fn text(proxy: &Proxy) -> String {
    let Some(recording) = &proxy.recording else { return String::new() };
    let lists = [
        ("paths", &recording.path_templates),
        ("request headers", &recording.request_headers),
        ("response headers", &recording.response_headers),
        ("query", &recording.query_parameters),
    ];
    let said = lists.into_iter().filter(|(_, list)| !list.is_empty());
    said.map(|(what, list)| format!("{what} {}", list.join(" "))).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RecordingArgs,
    }

    fn over(flags: &str, there: Option<Recording>) -> Option<Option<Recording>> {
        let line = Line::try_parse_from(std::iter::once("x").chain(flags.split_whitespace()));
        line.unwrap_or_else(|error| panic!("{error}")).args.over(there)
    }

    #[test]
    fn a_list_that_is_given_takes_the_place_of_the_old_one_and_the_others_stay() {
        let old = Recording {
            path_templates: vec!["/users/{id}".to_owned()],
            query_parameters: vec!["page".to_owned()],
            ..Default::default()
        };
        assert_eq!(over("", Some(old.clone())), None);
        let flags = "--record-path /files/{rest...} --record-path /users/me --record-request-header X-Trace";
        let new = Recording {
            path_templates: vec!["/files/{rest...}".to_owned(), "/users/me".to_owned()],
            request_headers: vec!["x-trace".to_owned()],
            ..old.clone()
        };
        assert_eq!(over(flags, Some(old.clone())), Some(Some(new)));
        assert_eq!(over("--record-path none --record-query none", Some(old)), Some(None), "nothing is left");
    }

    #[test]
    fn a_proxy_is_shown_with_all_that_its_records_hold() {
        let recording = Recording {
            path_templates: vec!["/users/{id}".to_owned(), "/users/me".to_owned()],
            response_headers: vec!["x-trace".to_owned()],
            ..Default::default()
        };
        let proxy = Proxy { recording: Some(recording), ..Proxy::default() };
        assert_eq!(text(&proxy), "paths /users/{id} /users/me; response headers x-trace");
        assert_eq!(text(&Proxy::default()), "");
    }
}
