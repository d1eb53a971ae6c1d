//! Organizations.

use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::Org;

use super::mask::{MaskPath, field_path};
use super::{Fields, Link, Part, Resource, check_text, wrapped};
use crate::noun::Noun;

/// How many days records are kept where an organization does not say.
pub(crate) const RECORD_DAYS: u32 = 90;
/// Each day is a partition, and a list that names no time has to lock them all.
const RECORD_DAYS_MOST: u32 = 400;

/// How many days an organization keeps its records.
pub(crate) fn record_days(org: &Org) -> u32 {
    if org.record_days == 0 { RECORD_DAYS } else { org.record_days }
}

impl Resource for Org {
    wrapped!(Org);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Org, display_name),
        MaskPath::<Org>::SUSPENDED,
        MaskPath::<Org>::DEFAULT_LIMITS,
        MaskPath::<Org>::LIMIT_CEILINGS,
        MaskPath::<Org>::ALLOWED_REGIONS,
        field_path!(Org, sharing),
        field_path!(Org, record_days),
    ];

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
        if self.record_days > RECORD_DAYS_MOST {
            faults.add("record_days", "must be at most 400; 0 means 90");
        }
        let mut regions = self.allowed_regions.clone();
        regions.sort();
        regions.dedup();
        if regions.len() != self.allowed_regions.len() {
            faults.add("allowed_regions", "names a region twice");
        }
    }
}
