//! Rules, each of which belongs to a proxy, a target or a credential.

use rr_contract::wire::management::{Rule, rule};

use super::mask::{MaskPath, field_path};
use super::{Link, Part, Resource, owned_fields, parent, wrapped};
use crate::noun::Noun;

impl Resource for Rule {
    wrapped!(Rule);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Rule, effect),
        field_path!(Rule, priority),
        field_path!(Rule, when),
        field_path!(Rule, notes),
        field_path!(Rule, observe),
        field_path!(Rule, owner),
    ];

    owned_fields!();
    parent!(rule);

    fn settle(&mut self) {
        // An empty match is no match: both mean every request.
        self.when.get_or_insert_default();
    }
}
