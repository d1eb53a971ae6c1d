//! What belongs to another resource: rules, filters, meters.

use rr_contract::wire::management::{Filter, Meter, Rule, filter, meter::Counts, rule};

use super::mask::{MaskPath, field_path};
use super::{Fields, Link, Part, Resource, wrapped};
use crate::noun::Noun;

macro_rules! fields {
    () => {
        fn fields(&mut self) -> Fields<'_> {
            Fields {
                id: &mut self.id,
                org: Some(&mut self.org),
                name: Some(&mut self.name),
                owner: Some(&mut self.owner),
                etag: &mut self.etag,
                created_at: &mut self.created_at,
                updated_at: Some(&mut self.updated_at),
                created_by: &mut self.created_by,
            }
        }
    };
}

macro_rules! parent {
    ($module:ident) => {
        fn links(&mut self) -> Vec<Link<'_>> {
            let (field, noun, to) = match &mut self.parent {
                Some($module::Parent::Proxy(to)) => ("proxy", Noun::Proxy, to),
                Some($module::Parent::Target(to)) => ("target", Noun::Target, to),
                Some($module::Parent::Credential(to)) => ("credential", Noun::Credential, to),
                None => return Vec::new(),
            };
            vec![Link { field: field.to_owned(), noun, part: Part::Parent, to }]
        }

        fn check(&self, faults: &mut rr_contract::model::invalid::Violations) {
            if self.parent.is_none() {
                faults.add("parent", "is missing: name a proxy, a target or a credential");
            }
        }
    };
}

impl Resource for Rule {
    wrapped!(Rule);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Rule, effect),
        field_path!(Rule, priority),
        field_path!(Rule, when),
        field_path!(Rule, notes),
        field_path!(Rule, owner),
    ];
    fields!();
    parent!(rule);

    fn settle(&mut self) {
        // An empty match is no match: both mean every request.
        self.when.get_or_insert_default();
    }
}

impl Resource for Filter {
    wrapped!(Filter);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Filter, action),
        field_path!(Filter, paths),
        field_path!(Filter, order),
        field_path!(Filter, mask),
        field_path!(Filter, owner),
    ];
    fields!();
    parent!(filter);
}

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
        field_path!(Meter, owner),
    ];
    fields!();

    fn links(&mut self) -> Vec<Link<'_>> {
        vec![Link { field: "proxy".into(), noun: Noun::Proxy, part: Part::Parent, to: &mut self.proxy }]
    }

    fn settle(&mut self) {
        self.active.get_or_insert(true);
    }
}
