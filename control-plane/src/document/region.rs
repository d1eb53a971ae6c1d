//! Regions.

use rr_contract::model::invalid::Violations;
use rr_contract::model::name::Name;
use rr_contract::model::origin::BaseUrl;
use rr_contract::wire::management::Region;

use super::mask::{MaskPath, field_path};
use super::{Fields, Link, Part, Resource, check_text, wrapped};
use crate::noun::Noun;

impl Resource for Region {
    wrapped!(Region);

    const MASK: &'static [MaskPath<Self>] =
        &[field_path!(Region, display_name), field_path!(Region, base_url)];

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
        if self.dedicated_to.is_empty() {
            return Vec::new();
        }
        vec![Link {
            field: "dedicated_to".into(),
            noun: Noun::Org,
            part: Part::Dedicated,
            to: &mut self.dedicated_to,
        }]
    }

    fn settle(&mut self) {
        self.base_url.truncate(self.base_url.trim_end_matches('/').len());
    }

    fn check(&self, faults: &mut Violations) {
        check_text(&self.display_name, "display_name", faults);
        if !self.base_url.is_empty()
            && let Some(url) = faults.take("base_url", self.base_url.parse::<BaseUrl>())
            && !url.path().is_empty()
        {
            faults.add("base_url", "must be scheme, host and port, without a path");
        }
        faults.take("name", self.name.parse::<Name>());
    }
}
