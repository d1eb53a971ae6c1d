//! What records of a proxy's requests hold, made ready: its templates as a tree, and the names whose values may be kept.
//!
//! Reads no request. The invariants: which template a path matches does not depend on the order in which they were written,
//! and is found by looking at each place of the tree once at most; a place of a credential is not kept, whoever named it.

use std::sync::{Arc, OnceLock};

use http::HeaderName;
use rr_contract::model::path::for_rules;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::recording::{Recording, Segment, may_be_kept, may_parameter_be_kept};

use super::UpstreamCredential;

/// What records hold.
pub(crate) struct CompiledRecording {
    proxy: Arc<Proxy>,
    templates: Vec<Place>,
    /// In which callers of the proxy present their credentials.
    of_callers: Box<[HeaderName]>,
    /// Found out with the first request: where the upstream's secret goes, its seal says.
    names: OnceLock<Names>,
}

/// Names of which the values are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) request_headers: Box<[HeaderName]>,
    pub(crate) response_headers: Box<[HeaderName]>,
    pub(crate) query_parameters: Box<[Box<str>]>,
}

/// Where some segments of a path lead.
#[derive(Default)]
struct Place {
    /// By the next segment; sorted.
    texts: Vec<(Box<str>, usize)>,
    /// By any.
    one: Option<usize>,
    /// The template that ends here, by its number.
    end: Option<usize>,
    /// That which takes all that follows.
    rest: Option<usize>,
}

impl CompiledRecording {
    /// `None`: the proxy says nothing of it.
    pub(crate) fn of(proxy: &Arc<Proxy>, callers: impl Iterator<Item = HeaderName>) -> Option<Box<Self>> {
        let recording = proxy.recording.as_deref()?;
        Some(Box::new(Self {
            templates: tree(recording),
            of_callers: callers.collect(),
            names: OnceLock::new(),
            proxy: Arc::clone(proxy),
        }))
    }

    fn model(&self) -> &Recording {
        self.proxy.recording.as_deref().expect("it is made of one that has it")
    }

    /// The template that a normalised path matches.
    pub(crate) fn template(&self, path: &str) -> Option<&str> {
        if self.model().path_templates.is_empty() {
            return None;
        }
        let path = for_rules(path);
        let below = path.strip_prefix('/')?;
        let found = self.find(0, Some(below.strip_suffix('/').unwrap_or(below)))?;
        Some(&self.model().path_templates[found].text)
    }

    /// The template for what is left of a path; `None`: nothing is. As deep as a template has segments.
    fn find(&self, at: usize, left: Option<&str>) -> Option<usize> {
        let place = &self.templates[at];
        let Some(left) = left else { return place.end };
        if left.is_empty() {
            return None;
        }
        let (segment, behind) = match left.split_once('/') {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (left, None),
        };
        let text = place.texts.binary_search_by(|(text, _)| (**text).cmp(segment)).ok();
        text.and_then(|text| self.find(place.texts[text].1, behind))
            .or_else(|| self.find(place.one?, behind))
            .or(place.rest)
    }

    /// The names of which the values are kept of a request with this upstream credential.
    pub(crate) fn names(&self, upstream: Option<&UpstreamCredential>) -> &Names {
        self.names.get_or_init(|| {
            let model = self.model();
            let (headers, answers) = (&model.request_headers, &model.response_headers);
            if headers.is_empty() && answers.is_empty() && model.query_parameters.is_empty() {
                return Names::default();
            }
            // Where its secret would go is not known, so nothing may be kept that could be it.
            let Some(slots) = upstream.and_then(UpstreamCredential::slots) else { return Names::default() };
            let is_header_kept = |name: &&HeaderName| {
                may_be_kept(name)
                    && !self.of_callers.iter().any(|own| is_alike(own.as_str(), name.as_str()))
                    && !slots.headers.iter().any(|slot| is_alike(slot.as_str(), name.as_str()))
            };
            let is_parameter_kept = |name: &str| {
                may_parameter_be_kept(name)
                    && !slots.parameters.iter().any(|slot| slot.eq_ignore_ascii_case(name))
            };
            Names {
                request_headers: headers.iter().filter(is_header_kept).cloned().collect(),
                response_headers: answers.iter().filter(is_header_kept).cloned().collect(),
                query_parameters: model
                    .query_parameters
                    .iter()
                    .filter(|name| is_parameter_kept(name))
                    .cloned()
                    .collect(),
            }
        })
    }
}

/// Some servers have one variable for both spellings.
fn is_alike(one: &str, other: &str) -> bool {
    let hyphened = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().map(hyphened).eq(other.bytes().map(hyphened))
}

fn tree(recording: &Recording) -> Vec<Place> {
    let mut places = vec![Place::default()];
    for (number, template) in recording.path_templates.iter().enumerate() {
        let mut at = 0;
        for segment in &template.segments {
            at = match segment {
                Segment::Text(text) => {
                    let new = places.len();
                    let texts = &mut places[at].texts;
                    match texts.binary_search_by(|(there, _)| there.cmp(text)) {
                        Ok(found) => texts[found].1,
                        Err(before) => {
                            texts.insert(before, (text.clone(), new));
                            new
                        }
                    }
                }
                Segment::One => {
                    let new = places.len();
                    *places[at].one.get_or_insert(new)
                }
                Segment::Rest => {
                    places[at].rest = Some(number);
                    break;
                }
            };
            if at == places.len() {
                places.push(Place::default());
            }
        }
        if !matches!(template.segments.last(), Some(Segment::Rest)) {
            places[at].end = Some(number);
        }
    }
    places
}

#[cfg(test)]
mod tests;
