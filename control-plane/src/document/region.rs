//! Regions.

use rr_contract::model::invalid::Violations;
use rr_contract::model::origin::BaseUrl;
use rr_contract::wire::management::Region;

use super::{Fields, Link, Part, Resource, check_text, wrapped};
use crate::noun::Noun;

impl Resource for Region {
    wrapped!(Region);

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
            faults.add("base_url", "has a path; it is scheme, host and port");
        }
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![("display_name", !self.display_name.is_empty()), ("base_url", !self.base_url.is_empty())]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "display_name" => self.display_name.clone_from(&from.display_name),
            _ => self.base_url.clone_from(&from.base_url),
        }
    }
}
