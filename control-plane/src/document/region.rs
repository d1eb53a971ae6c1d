//! Regions.

use std::time::{Duration, UNIX_EPOCH};

use rr_contract::model::invalid::Violations;
use rr_contract::model::name::Name;
use rr_contract::model::origin::BaseUrl;
use rr_contract::model::time;
use rr_contract::wire::management::Region;

use super::mask::{MaskPath, field_path};
use super::{Fields, Link, Part, Resource, check_text, wrapped};
use crate::noun::Noun;

/// What the control plane's own database is called among record stores.
pub(crate) const CENTRAL: &str = "central";

/// When the record store was last changed, in microseconds since 1970; 0 for never.
pub(crate) fn since(region: &Region) -> i64 {
    let at = region.record_store_since.as_ref().and_then(|at| time::system_time(at).ok());
    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Resource for Region {
    wrapped!(Region);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Region, display_name),
        field_path!(Region, base_url),
        field_path!(Region, record_store),
        field_path!(Region, former_record_stores),
        field_path!(Region, blind_only),
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
        if self.record_store == CENTRAL {
            self.record_store.clear();
        }
    }

    /// Where records go is moved by a time that grows, by which cursors of spools tell which place is the newer.
    fn follow(&mut self, before: &Self, now: i64) {
        self.settle();
        if self.record_store == before.record_store {
            return;
        }
        let name = |store: &str| if store.is_empty() { CENTRAL } else { store }.to_owned();
        let (was, is) = (name(&before.record_store), name(&self.record_store));
        self.former_record_stores.retain(|former| *former != is && *former != was);
        self.former_record_stores.push(was);
        let since = now.max(since(before).saturating_add(1));
        let since = Duration::from_micros(since.unsigned_abs());
        self.record_store_since = Some(time::timestamp(UNIX_EPOCH + since));
    }

    fn check_written(&self, before: Option<&Self>, faults: &mut Violations) {
        let Some(before) = before else { return };
        let was_there = |name: &String| {
            before.former_record_stores.contains(name)
                || *name == before.record_store
                || (name == CENTRAL && before.record_store.is_empty())
        };
        if !self.former_record_stores.iter().all(was_there) {
            faults.add(
                "former_record_stores",
                "names a record store that the region did not use: an update only takes names away",
            );
        }
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
        if !self.record_store.is_empty() {
            faults.take("record_store", self.record_store.parse::<Name>());
        }
    }
}
