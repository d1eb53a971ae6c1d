//! Filters: which fields of a response are kept, removed or masked.

use rr_wire::fleet;

use super::invalid::{Invalid, Violations};
use super::json_path::JsonPath;
use super::key::{self, Key};
use super::name::Name;

/// How many paths a filter may name.
pub const PATHS_MAX: usize = 64;
/// The highest order.
pub const ORDER_MAX: u16 = 1000;
/// The longest mask, in characters.
pub const MASK_MAX: usize = 100;
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
    /// To which fields; at least one, none twice.
    pub paths: Vec<JsonPath>,
    /// Filters of one parent run in this order, then by id.
    pub order: u16,
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
}

impl Filter {
    /// For the wire.
    pub fn to_wire(&self) -> fleet::FilterResource {
        let (action, mask) = match &self.action {
            Action::Retain => (fleet::FilterAction::Retain, ""),
            Action::Destroy => (fleet::FilterAction::Destroy, ""),
            Action::Mask(mask) => (fleet::FilterAction::Mask, mask.as_str()),
        };
        fleet::FilterResource {
            parent: Some(self.parent.to_wire()),
            name: self.name.to_string(),
            action: action.into(),
            paths: self.paths.iter().map(JsonPath::to_string).collect(),
            order: self.order.into(),
            mask: mask.to_owned(),
        }
    }
}

impl TryFrom<fleet::FilterResource> for Filter {
    type Error = Invalid;

    fn try_from(wire: fleet::FilterResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let parent = key::parent(&mut faults, wire.parent.as_ref());
        let name = faults.take("name", wire.name.parse());
        let action = match fleet::FilterAction::try_from(wire.action) {
            Ok(fleet::FilterAction::Retain) => Some(Action::Retain),
            Ok(fleet::FilterAction::Destroy) => Some(Action::Destroy),
            Ok(fleet::FilterAction::Mask) if wire.mask.is_empty() => Some(Action::Mask(MASK.to_owned())),
            Ok(fleet::FilterAction::Mask) => Some(Action::Mask(wire.mask.clone())),
            Ok(fleet::FilterAction::Unspecified) | Err(_) => {
                faults.add("action", "is neither retain nor destroy nor mask");
                None
            }
        };
        if wire.mask.chars().count() > MASK_MAX {
            faults.add("mask", format!("is longer than {MASK_MAX} characters"));
        } else if !wire.mask.is_empty() && matches!(action, Some(Action::Retain | Action::Destroy)) {
            faults.add("mask", "is only for a filter that masks");
        }
        let paths = paths(&mut faults, &wire.paths);
        let order = faults.at_most("order", wire.order, ORDER_MAX);
        faults.finish(|| Some(Self { parent: parent?, name: name?, action: action?, paths, order: order? }))
    }
}

fn paths(faults: &mut Violations, wire: &[String]) -> Vec<JsonPath> {
    if wire.is_empty() || wire.len() > PATHS_MAX {
        faults.add("paths", format!("has 1 to {PATHS_MAX}"));
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
