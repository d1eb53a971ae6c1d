//! Targets.

use rr_contract::model::invalid::Violations;
use rr_contract::model::origin::{BaseUrl, Scheme};
use rr_contract::wire::fleet::Effect;
use rr_contract::wire::management::Target;

use super::{Fields, Link, Resource, some, wrapped};

impl Resource for Target {
    wrapped!(Target);

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

    fn settle(&mut self) {
        if let Ok(url) = self.base_url.parse::<BaseUrl>() {
            self.base_url = url.to_string();
        }
        if self.default_effect == 0 {
            self.default_effect = Effect::Allow.into();
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        Vec::new()
    }

    fn check(&self, faults: &mut Violations) {
        let plain = self.base_url.parse::<BaseUrl>().is_ok_and(|url| url.scheme() == Scheme::Http);
        if plain && !self.danger_plaintext {
            faults.add(
                "base_url",
                "is http: secrets would cross the network in the clear; use https, or set danger_plaintext",
            );
        }
        let path = &self.test_path;
        if path.len() > 1024
            || path.chars().any(|c| c.is_control() || c.is_whitespace())
            || (!path.is_empty() && !path.starts_with('/'))
        {
            faults.add("test_path", "starts with `/`, is at most 1024 bytes and holds no space");
        }
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("base_url", !self.base_url.is_empty()),
            ("danger_plaintext", self.danger_plaintext),
            ("connect_timeout", some(&self.connect_timeout)),
            ("response_timeout", some(&self.response_timeout)),
            ("test_path", !self.test_path.is_empty()),
            ("default_effect", self.default_effect != 0),
            ("owner", !self.owner.is_empty()),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "base_url" => self.base_url.clone_from(&from.base_url),
            "danger_plaintext" => self.danger_plaintext = from.danger_plaintext,
            "connect_timeout" => self.connect_timeout.clone_from(&from.connect_timeout),
            "response_timeout" => self.response_timeout.clone_from(&from.response_timeout),
            "test_path" => self.test_path.clone_from(&from.test_path),
            "default_effect" => self.default_effect = from.default_effect,
            _ => self.owner.clone_from(&from.owner),
        }
    }
}
