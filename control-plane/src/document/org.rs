//! Organizations.

use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::Org;

use super::{Fields, Link, Part, Resource, check_text, some, wrapped};
use crate::noun::Noun;

impl Resource for Org {
    wrapped!(Org);

    fn fields(&mut self) -> Fields<'_> {
        Fields {
            id: &mut self.id,
            org: None,
            name: Some(&mut self.name),
            owner: None,
            etag: &mut self.etag,
            created_at: &mut self.created_at,
            updated_at: Some(&mut self.updated_at),
            created_by: &mut self.created_by,
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        let link = |(i, to)| Link {
            field: format!("allowed_regions[{i}]"),
            noun: Noun::Region,
            part: Part::Region,
            to,
        };
        self.allowed_regions.iter_mut().enumerate().map(link).collect()
    }

    fn check(&self, faults: &mut Violations) {
        check_text(&self.display_name, "display_name", faults);
        let mut regions = self.allowed_regions.clone();
        regions.sort();
        regions.dedup();
        if regions.len() != self.allowed_regions.len() {
            faults.add("allowed_regions", "names a region twice");
        }
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("display_name", !self.display_name.is_empty()),
            ("suspended", self.suspended),
            ("default_limits", some(&self.default_limits)),
            ("allowed_regions", !self.allowed_regions.is_empty()),
            ("sharing", some(&self.sharing)),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "display_name" => self.display_name.clone_from(&from.display_name),
            "suspended" => self.suspended = from.suspended,
            "default_limits" => self.default_limits.clone_from(&from.default_limits),
            "allowed_regions" => self.allowed_regions.clone_from(&from.allowed_regions),
            _ => self.sharing.clone_from(&from.sharing),
        }
    }
}
