//! What records of a proxy's requests hold of what callers and upstreams write: templates of paths, and names of headers and
//! parameters.
//!
//! Records nothing itself. The invariants: what is named holds no credential, as far as the proxy alone tells; no two
//! templates are alike but for their names; there are so few of all that a node finds the right one in a bounded time.

use http::HeaderName;
use rr_wire::fleet;

use super::header;
use super::invalid::Violations;
use super::path;

const TEMPLATES_MAX: usize = 100;
const TEMPLATE_MAX: usize = 256;
/// Of one template.
pub const SEGMENTS_MAX: usize = 32;
const VARIABLE_MAX: usize = 32;
const NAMES_MAX: usize = 16;
const NAME_MAX: usize = 128;
/// The parameter in which callers may present a credential.
const CREDENTIAL: &str = "authorization";
/// Stands in records in the place of a segment that looks like a secret.
pub const MASKED: &str = "{masked}";

/// What records hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// In the order in which they were written.
    pub path_templates: Box<[PathTemplate]>,
    /// Of which the values are kept.
    pub request_headers: Box<[HeaderName]>,
    /// The same of responses.
    pub response_headers: Box<[HeaderName]>,
    /// Decoded.
    pub query_parameters: Box<[Box<str>]>,
}

/// Paths that are one in records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    /// As it was written, and as records have it.
    pub text: Box<str>,
    /// At least one.
    pub segments: Box<[Segment]>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// This one, as rules see it.
    Text(Box<str>),
    /// Any one.
    One,
    /// One or more, to the end.
    Rest,
}

/// A text that is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum InvalidTemplate {
    #[error("begins with `/`, does not end with it, and has no empty segments: write it as `/users/{{id}}`")]
    Slashes,
    #[error(
        "is longer than {TEMPLATE_MAX} bytes, or has more than {SEGMENTS_MAX} segments: shorten it with `{{rest...}}` at its end"
    )]
    Long,
    #[error(
        "has a variable that is not `{{name}}`, with 1 to {VARIABLE_MAX} of letters, digits and `_`, as a whole segment"
    )]
    Variable,
    #[error("has `{{name...}}` before its end: it stands for all that follows, so put it last")]
    Rest,
    #[error(
        "has the variable `{{masked}}`, which stands for what looked like a secret: give it another name"
    )]
    Masked,
    #[error(
        "has a segment in another spelling than rules see, or a dot segment: unreserved characters unescaped, others as `%20` in capitals"
    )]
    Spelling,
}

impl Recording {
    /// Whether it changes what records hold of requests.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn read(faults: &mut Violations, wire: &fleet::Recording) -> Self {
        let mut query_parameters: Vec<Box<str>> = Vec::new();
        for (i, text) in few(faults, "recording.query_parameters", &wire.query_parameters, NAMES_MAX) {
            let field = format!("recording.query_parameters[{i}]");
            if let Some(name) = faults.take(&*field, parameter(text)) {
                if query_parameters.contains(&name) {
                    faults.add(field, "is there twice: leave one of them out");
                } else {
                    query_parameters.push(name);
                }
            }
        }
        Self {
            path_templates: templates(faults, &wire.path_templates),
            request_headers: headers(faults, "recording.request_headers", &wire.request_headers),
            response_headers: headers(faults, "recording.response_headers", &wire.response_headers),
            query_parameters: query_parameters.into(),
        }
    }
}

/// A list, with the place of each; nothing of one that is too long.
fn few<'t>(
    faults: &mut Violations,
    field: &str,
    texts: &'t [String],
    most: usize,
) -> impl Iterator<Item = (usize, &'t String)> + use<'t> {
    let is_long = texts.len() > most;
    if is_long {
        faults.add(field, format!("has at most {most}"));
    }
    texts.iter().enumerate().take(if is_long { 0 } else { most })
}

fn templates(faults: &mut Violations, texts: &[String]) -> Box<[PathTemplate]> {
    let mut all: Vec<PathTemplate> = Vec::with_capacity(texts.len().min(TEMPLATES_MAX));
    for (i, text) in few(faults, "recording.path_templates", texts, TEMPLATES_MAX) {
        let field = format!("recording.path_templates[{i}]");
        let Some(template) = faults.take(&*field, PathTemplate::parse(text)) else { continue };
        match all.iter().find(|other| other.segments == template.segments) {
            Some(other) => {
                faults.add(field, format!("is for the same paths as {:?}: leave one of them out", other.text))
            }
            None => all.push(template),
        }
    }
    all.into()
}

fn headers(faults: &mut Violations, field: &str, texts: &[String]) -> Box<[HeaderName]> {
    let mut names: Vec<HeaderName> = Vec::new();
    for (i, text) in few(faults, field, texts, NAMES_MAX) {
        let field = format!("{field}[{i}]");
        if let Some(name) = faults.take(&*field, recordable(text)) {
            if names.contains(&name) {
                faults.add(field, "is there twice: leave one of them out");
            } else {
                names.push(name);
            }
        }
    }
    names.into()
}

fn recordable(text: &str) -> Result<HeaderName, String> {
    let name = header::parse(text).map_err(|error| error.to_string())?;
    if !may_be_kept(&name) {
        return Err(format!(
            "{text:?} holds credentials, which records never do: leave it out; records name the credential that was used"
        ));
    }
    if text.len() > NAME_MAX {
        return Err(format!("is longer than {NAME_MAX} bytes"));
    }
    Ok(name)
}

fn parameter(text: &str) -> Result<Box<str>, String> {
    if text.eq_ignore_ascii_case(CREDENTIAL) {
        return Err(format!(
            "{text:?} holds the credential of callers, which records never do: leave it out; records name the credential"
        ));
    }
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return Err(format!("is the decoded name of a parameter, of 1 to {NAME_MAX} bytes"));
    }
    Ok(text.into())
}

/// Whether values of a header may be kept at all: not of one that says who somebody is, or keeps a session, in any spelling.
pub fn may_be_kept(name: &HeaderName) -> bool {
    !header::is_identity(name)
}

/// The same of a parameter of the query, by its decoded name.
pub fn may_parameter_be_kept(name: &str) -> bool {
    !name.eq_ignore_ascii_case(CREDENTIAL)
}

impl PathTemplate {
    fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > TEMPLATE_MAX {
            return Err(InvalidTemplate::Long);
        }
        let below = text.strip_prefix('/').ok_or(InvalidTemplate::Slashes)?;
        let mut segments = Vec::new();
        for segment in below.split('/') {
            if matches!(segments.last(), Some(Segment::Rest)) {
                return Err(InvalidTemplate::Rest);
            }
            if segments.len() == SEGMENTS_MAX {
                return Err(InvalidTemplate::Long);
            }
            segments.push(Segment::parse(segment)?);
        }
        Ok(Self { text: text.into(), segments: segments.into() })
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.is_empty() {
            return Err(InvalidTemplate::Slashes);
        }
        if text == MASKED {
            return Err(InvalidTemplate::Masked);
        }
        if text.contains(['{', '}']) {
            let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            let inner = inner.ok_or(InvalidTemplate::Variable)?;
            let name = inner.strip_suffix("...").unwrap_or(inner);
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || name.len() > VARIABLE_MAX || !name.bytes().all(is_plain) {
                return Err(InvalidTemplate::Variable);
            }
            return Ok(if name.len() < inner.len() { Self::Rest } else { Self::One });
        }
        let path = format!("/{text}");
        if path::normalise(&path).as_deref() != Ok(&*path) || path::for_rules(text) != text {
            return Err(InvalidTemplate::Spelling);
        }
        Ok(Self::Text(text.into()))
    }
}

#[cfg(test)]
mod tests;
