//! Proxies.

use rr_contract::wire::fleet::Effect;
use rr_contract::wire::management::Proxy;

use super::{Fields, Link, Part, Resource, some, wrapped};
use crate::noun::Noun;

impl Resource for Proxy {
    wrapped!(Proxy);

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

    fn links(&mut self) -> Vec<Link<'_>> {
        let callers = self.caller_credentials.iter_mut().enumerate().map(|(i, to)| Link {
            field: format!("caller_credentials[{i}]"),
            noun: Noun::Credential,
            part: Part::Caller,
            to,
        });
        let regions = self.regions.iter_mut().enumerate().map(|(i, to)| Link {
            field: format!("regions[{i}]"),
            noun: Noun::Region,
            part: Part::Region,
            to,
        });
        let single = [
            Link { field: "target".into(), noun: Noun::Target, part: Part::Target, to: &mut self.target },
            Link {
                field: "upstream_credential".into(),
                noun: Noun::Credential,
                part: Part::Upstream,
                to: &mut self.upstream_credential,
            },
        ];
        callers.chain(single).chain(regions).collect()
    }

    fn settle(&mut self) {
        if self.default_effect == 0 {
            self.default_effect = Effect::Allow.into();
        }
        self.urls.clear();
        self.nodes = 0;
        self.active.get_or_insert(true);
        if self.deny_status == 0 {
            self.deny_status = 400;
        }
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("active", some(&self.active)),
            ("caller_credentials", !self.caller_credentials.is_empty()),
            ("target", !self.target.is_empty()),
            ("upstream_credential", !self.upstream_credential.is_empty()),
            ("regions", !self.regions.is_empty()),
            ("default_effect", self.default_effect != 0),
            ("deny_status", self.deny_status != 0),
            ("opaque_paths", self.opaque_paths),
            ("limits", some(&self.limits)),
            ("owner", !self.owner.is_empty()),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "active" => self.active = from.active,
            "caller_credentials" => self.caller_credentials.clone_from(&from.caller_credentials),
            "target" => self.target.clone_from(&from.target),
            "upstream_credential" => self.upstream_credential.clone_from(&from.upstream_credential),
            "regions" => self.regions.clone_from(&from.regions),
            "default_effect" => self.default_effect = from.default_effect,
            "deny_status" => self.deny_status = from.deny_status,
            "opaque_paths" => self.opaque_paths = from.opaque_paths,
            "limits" => self.limits.clone_from(&from.limits),
            _ => self.owner.clone_from(&from.owner),
        }
    }
}
