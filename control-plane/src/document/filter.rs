//! Filters, each of which belongs to a proxy, a target or a credential.

use rr_contract::wire::management::{Filter, filter};

use super::mask::{MaskPath, field_path};
use super::{Link, Part, Resource, owned_fields, parent, wrapped};
use crate::noun::Noun;

impl Resource for Filter {
    wrapped!(Filter);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Filter, action),
        field_path!(Filter, paths),
        field_path!(Filter, order),
        field_path!(Filter, mask),
        field_path!(Filter, detectors),
        field_path!(Filter, patterns),
        field_path!(Filter, direction),
        field_path!(Filter, owner),
    ];

    owned_fields!();
    parent!(filter);
}
