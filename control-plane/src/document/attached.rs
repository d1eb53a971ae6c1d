//! What belongs to another resource: rules, filters, meters.

use rr_contract::wire::management::{Filter, Meter, Rule, filter, rule};

use super::{Fields, Link, Part, Resource, some, wrapped};
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
    fields!();
    parent!(rule);

    fn settle(&mut self) {
        // An empty match is no match: both mean every request.
        self.when.get_or_insert_default();
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("effect", self.effect != 0),
            ("priority", self.priority != 0),
            ("when", some(&self.when)),
            ("notes", !self.notes.is_empty()),
            ("owner", !self.owner.is_empty()),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "effect" => self.effect = from.effect,
            "priority" => self.priority = from.priority,
            "when" => self.when.clone_from(&from.when),
            "notes" => self.notes.clone_from(&from.notes),
            _ => self.owner.clone_from(&from.owner),
        }
    }
}

impl Resource for Filter {
    wrapped!(Filter);
    fields!();
    parent!(filter);

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("action", self.action != 0),
            ("paths", !self.paths.is_empty()),
            ("order", self.order != 0),
            ("mask", !self.mask.is_empty()),
            ("owner", !self.owner.is_empty()),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "action" => self.action = from.action,
            "paths" => self.paths.clone_from(&from.paths),
            "order" => self.order = from.order,
            "mask" => self.mask.clone_from(&from.mask),
            _ => self.owner.clone_from(&from.owner),
        }
    }
}

impl Resource for Meter {
    wrapped!(Meter);
    fields!();

    fn links(&mut self) -> Vec<Link<'_>> {
        vec![Link { field: "proxy".into(), noun: Noun::Proxy, part: Part::Parent, to: &mut self.proxy }]
    }

    fn settle(&mut self) {
        self.active.get_or_insert(true);
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        use rr_contract::wire::management::meter::Counts;

        vec![
            ("active", some(&self.active)),
            ("requests", matches!(self.counts, Some(Counts::Requests(_)))),
            ("value", matches!(self.counts, Some(Counts::Value(_)))),
            ("only_when", some(&self.only_when)),
            ("per_minute_per_node", self.per_minute_per_node != 0),
            ("per_hour_per_node", self.per_hour_per_node != 0),
            ("per_day_per_node", self.per_day_per_node != 0),
            ("per_month_per_node", self.per_month_per_node != 0),
            ("owner", !self.owner.is_empty()),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "active" => self.active = from.active,
            "requests" | "value" => self.counts.clone_from(&from.counts),
            "only_when" => self.only_when.clone_from(&from.only_when),
            "per_minute_per_node" => self.per_minute_per_node = from.per_minute_per_node,
            "per_hour_per_node" => self.per_hour_per_node = from.per_hour_per_node,
            "per_day_per_node" => self.per_day_per_node = from.per_day_per_node,
            "per_month_per_node" => self.per_month_per_node = from.per_month_per_node,
            _ => self.owner.clone_from(&from.owner),
        }
    }
}
