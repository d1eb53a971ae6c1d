//! Targets.

use rr_contract::document::check;
use rr_contract::model::invalid::Violations;
use rr_contract::model::origin::BaseUrl;
use rr_contract::wire::fleet::Effect;
use rr_contract::wire::management::Target;

use super::mask::{MaskPath, field_path};
use super::{Link, Resource, owned_fields, wrapped};

impl Resource for Target {
    wrapped!(Target);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Target, base_url),
        field_path!(Target, danger_plaintext),
        field_path!(Target, connect_timeout),
        field_path!(Target, response_timeout),
        field_path!(Target, test_path),
        field_path!(Target, default_effect),
        field_path!(Target, more_base_urls),
        field_path!(Target, balance),
        field_path!(Target, idle_timeout),
        field_path!(Target, total_timeout),
        field_path!(Target, outlier_ejection),
        field_path!(Target, circuit_breaker),
        field_path!(Target, health_check),
        field_path!(Target, ca),
        field_path!(Target, min_tls),
        field_path!(Target, http_version),
        field_path!(Target, trace_context),
        field_path!(Target, validation),
        field_path!(Target, owner),
    ];

    owned_fields!();

    fn settle(&mut self) {
        if let Ok(url) = self.base_url.parse::<BaseUrl>() {
            self.base_url = url.to_string();
        }
        for more in &mut self.more_base_urls {
            if let Ok(url) = more.parse::<BaseUrl>() {
                *more = url.to_string();
            }
        }
        if self.default_effect == 0 {
            self.default_effect = Effect::Allow.into();
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        Vec::new()
    }

    fn check(&self, faults: &mut Violations) {
        check::target(self, faults);
    }
}
