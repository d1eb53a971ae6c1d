//! Filters: which fields of a response or a request are kept, removed or masked, and what is taken out of their texts.

use rr_wire::fleet;

use super::detector::{Detector, Detectors};
use super::invalid::{Invalid, Violations};
use super::json_path::JsonPath;
use super::key::{self, Key};
use super::name::Name;
use super::pattern::{Flags, Pattern};

/// How many paths a filter may name.
pub const PATHS_MAX: usize = 64;
/// The highest order.
pub const ORDER_MAX: u16 = 1000;
/// The longest mask, in characters.
pub const MASK_MAX: usize = 100;
/// How many patterns of its own a filter may have.
pub const PATTERNS_MAX: usize = 16;
/// The longest text that such a pattern may find, in bytes: what is looked at again behind each find.
pub const FOUND_MAX: usize = 256;
/// What is put in place of a value when the filter does not say.
pub const MASK: &str = "***";

/// A filter of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The credential, target or proxy whose stage it is in.
    pub parent: Key,
    /// Its name among the filters of its parent.
    pub name: Name,
    /// What is done.
    pub action: Action,
    /// To which fields, none twice; at least one but where it redacts, where none means all.
    pub paths: Vec<JsonPath>,
    /// Filters of one parent run in this order, then by id.
    pub order: u16,
    /// Which bodies it goes over.
    pub direction: Direction,
}

/// Which bodies a filter goes over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Of responses.
    #[default]
    Response,
    /// Of requests.
    Request,
}

/// What is done to fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// They are kept, with the objects and arrays on the way, and nothing else is.
    Retain,
    /// They are removed.
    Destroy,
    /// This text is put in their place.
    Mask(String),
    /// Parts of what is at and below them are taken out.
    Redact(Redact),
}

/// What is taken out of texts, numbers and keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redact {
    /// What is put in its place.
    pub mask: String,
    /// What is looked for. Of these and the patterns there is one at least.
    pub detectors: Detectors,
    /// Patterns of one's own, each of which finds texts of 1 to [`FOUND_MAX`] bytes.
    pub patterns: Vec<Pattern>,
}

impl Filter {
    /// For the wire.
    pub fn to_wire(&self) -> fleet::FilterResource {
        let (action, mask) = match &self.action {
            Action::Retain => (fleet::FilterAction::Retain, ""),
            Action::Destroy => (fleet::FilterAction::Destroy, ""),
            Action::Mask(mask) => (fleet::FilterAction::Mask, mask.as_str()),
            Action::Redact(redact) => (fleet::FilterAction::Redact, redact.mask.as_str()),
        };
        let redact = match &self.action {
            Action::Redact(redact) => Some(redact),
            Action::Retain | Action::Destroy | Action::Mask(_) => None,
        };
        let direction = match self.direction {
            Direction::Response => fleet::FilterDirection::Unspecified,
            Direction::Request => fleet::FilterDirection::Request,
        };
        let detectors = redact.map(|redact| redact.detectors.iter().map(Into::into).collect());
        let patterns = redact.map(|redact| redact.patterns.iter().map(|it| it.regex().to_owned()).collect());
        fleet::FilterResource {
            parent: Some(self.parent.to_wire()),
            name: self.name.to_string(),
            action: action.into(),
            paths: self.paths.iter().map(JsonPath::to_string).collect(),
            order: self.order.into(),
            mask: mask.to_owned(),
            detectors: detectors.unwrap_or_default(),
            patterns: patterns.unwrap_or_default(),
            direction: direction.into(),
        }
    }
}

impl TryFrom<fleet::FilterResource> for Filter {
    type Error = Invalid;

    fn try_from(wire: fleet::FilterResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let parent = key::parent(&mut faults, wire.parent.as_ref());
        let name = faults.take("name", wire.name.parse());
        let mask = if wire.mask.is_empty() { MASK } else { &wire.mask };
        let redacts = wire.action == i32::from(fleet::FilterAction::Redact);
        let action = match fleet::FilterAction::try_from(wire.action) {
            Ok(fleet::FilterAction::Retain) => Some(Action::Retain),
            Ok(fleet::FilterAction::Destroy) => Some(Action::Destroy),
            Ok(fleet::FilterAction::Mask) => Some(Action::Mask(mask.to_owned())),
            Ok(fleet::FilterAction::Redact) => Some(Action::Redact(redact(&mut faults, &wire, mask))),
            Ok(fleet::FilterAction::Unspecified) | Err(_) => {
                faults.add("action", "is neither retain nor destroy nor mask nor redact");
                None
            }
        };
        if wire.mask.chars().count() > MASK_MAX {
            faults.add("mask", format!("is longer than {MASK_MAX} characters"));
        } else if !wire.mask.is_empty() && matches!(action, Some(Action::Retain | Action::Destroy)) {
            faults.add("mask", "is only for a filter that masks or redacts");
        }
        if !redacts {
            for (field, is_said) in
                [("detectors", !wire.detectors.is_empty()), ("patterns", !wire.patterns.is_empty())]
            {
                if is_said {
                    faults.add(field, "are only for a filter that redacts: set `action` to redact");
                }
            }
        }
        let paths = paths(&mut faults, &wire.paths, usize::from(!redacts));
        let order = faults.at_most("order", wire.order, ORDER_MAX);
        let direction = match fleet::FilterDirection::try_from(wire.direction) {
            Ok(fleet::FilterDirection::Unspecified | fleet::FilterDirection::Response) => {
                Some(Direction::Response)
            }
            Ok(fleet::FilterDirection::Request) => Some(Direction::Request),
            Err(_) => {
                faults.add("direction", "is neither response nor request");
                None
            }
        };
        faults.finish(|| {
            Some(Self {
                parent: parent?,
                name: name?,
                action: action?,
                paths,
                order: order?,
                direction: direction?,
            })
        })
    }
}

fn redact(faults: &mut Violations, wire: &fleet::FilterResource, mask: &str) -> Redact {
    let mut detectors = Detectors::default();
    for (i, number) in wire.detectors.iter().enumerate() {
        match Detector::try_from(*number) {
            Ok(Detector::Unspecified) | Err(_) => {
                faults.add(format!("detectors[{i}]"), "is no detector that this version knows");
            }
            Ok(detector) if detectors.has(detector) => {
                faults.add(format!("detectors[{i}]"), "is there twice");
            }
            Ok(detector) => detectors = detectors.with(detector),
        }
    }
    if wire.detectors.is_empty() && wire.patterns.is_empty() {
        faults.add(
            "detectors",
            "are missing, and so are `patterns`: a filter that redacts looks for something",
        );
    }
    if wire.patterns.len() > PATTERNS_MAX {
        faults.add("patterns", format!("are more than {PATTERNS_MAX}: put them into another filter"));
        return Redact { mask: mask.to_owned(), detectors, patterns: Vec::new() };
    }
    let mut patterns = Vec::with_capacity(wire.patterns.len());
    for (i, text) in wire.patterns.iter().enumerate() {
        let field = format!("patterns[{i}]");
        let Some(pattern) = faults.take(field.clone(), Pattern::new(text, Flags::default())) else {
            continue;
        };
        match pattern.found_lengths() {
            (Some(0), _) => faults.add(field, "finds the empty text, which stands everywhere"),
            (_, longest) if longest.is_none_or(|longest| longest > FOUND_MAX) => faults.add(
                field,
                format!("finds texts of more than {FOUND_MAX} bytes: say how many, as {{1,20}} in the place of + or *"),
            ),
            _ if patterns.contains(&pattern) => faults.add(field, "is there twice"),
            _ => patterns.push(pattern),
        }
    }
    Redact { mask: mask.to_owned(), detectors, patterns }
}

fn paths(faults: &mut Violations, wire: &[String], least: usize) -> Vec<JsonPath> {
    if wire.len() < least || wire.len() > PATHS_MAX {
        faults.add("paths", format!("has {least} to {PATHS_MAX}"));
        return Vec::new();
    }
    let mut paths = Vec::with_capacity(wire.len());
    for (i, text) in wire.iter().enumerate() {
        if let Some(path) = faults.take(format!("paths[{i}]"), text.parse::<JsonPath>()) {
            if paths.contains(&path) {
                faults.add(format!("paths[{i}]"), "is there twice");
            } else {
                paths.push(path);
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests;
