//! Meters, each of which belongs to a proxy.

use rr_contract::wire::management::{Meter, meter::Counts};

use super::mask::{MaskPath, field_path};
use super::{Link, Part, Resource, owned_fields, wrapped};
use crate::noun::Noun;

/// `requests` and `value` are one choice: either path takes over what the message says of it.
const COUNTS: MaskPath<Meter> = field_path!(Meter, counts);

impl Resource for Meter {
    wrapped!(Meter);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Meter, active).needing_value(),
        MaskPath {
            path: "requests",
            is_set: |meter: &Meter| matches!(meter.counts, Some(Counts::Requests(_))),
            ..COUNTS
        },
        MaskPath {
            path: "value",
            is_set: |meter: &Meter| matches!(meter.counts, Some(Counts::Value(_))),
            ..COUNTS
        },
        field_path!(Meter, only_when),
        field_path!(Meter, per_minute_per_node),
        field_path!(Meter, per_hour_per_node),
        field_path!(Meter, per_day_per_node),
        field_path!(Meter, per_month_per_node),
        field_path!(Meter, per_caller),
        field_path!(Meter, owner),
    ];

    owned_fields!();

    fn links(&mut self) -> Vec<Link<'_>> {
        vec![Link { field: "proxy".into(), noun: Noun::Proxy, part: Part::Parent, to: &mut self.proxy }]
    }

    fn settle(&mut self) {
        self.active.get_or_insert(true);
    }
}
