//! Credentials. The value is never part of the document; its version is.

use rr_contract::model::invalid::Violations;
use rr_contract::wire::fleet::Effect;
use rr_contract::wire::management::{Credential, credential::Usage};

use super::{Fields, Link, Part, Resource, some, wrapped};
use crate::noun::Noun;

impl Resource for Credential {
    wrapped!(Credential);

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
        if self.default_effect == 0 {
            self.default_effect = Effect::Allow.into();
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        let Some(Usage::Upstream(upstream)) = &mut self.usage else { return Vec::new() };
        let link = |(i, to)| Link {
            field: format!("upstream.sealed_regions[{i}]"),
            noun: Noun::Region,
            part: Part::SealedTo,
            to,
        };
        upstream.sealed_regions.iter_mut().enumerate().map(link).collect()
    }

    fn without_secrets(&mut self) {
        if let Some(Usage::Upstream(upstream)) = &mut self.usage {
            upstream.sealed = None;
        }
    }

    fn check(&self, faults: &mut Violations) {
        if self.usage.is_none() {
            faults.add("usage", "is neither caller nor upstream");
        }
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        let caller = match &self.usage {
            Some(Usage::Caller(caller)) => Some(caller),
            Some(Usage::Upstream(_)) | None => None,
        };
        vec![
            ("not_after", some(&self.not_after)),
            ("default_effect", self.default_effect != 0),
            ("caller.header", caller.is_some_and(|caller| !caller.header.is_empty())),
            ("caller.prefix", caller.is_some_and(|caller| !caller.prefix.is_empty())),
            ("caller.jwt_verify", caller.is_some_and(|caller| caller.jwt_verify.is_some())),
            ("owner", !self.owner.is_empty()),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        if let Some(part) = field.strip_prefix("caller.") {
            let theirs = match &from.usage {
                Some(Usage::Caller(caller)) => caller.clone(),
                Some(Usage::Upstream(_)) | None => Default::default(),
            };
            if let Some(Usage::Caller(caller)) = &mut self.usage {
                match part {
                    "header" => caller.header = theirs.header,
                    "prefix" => caller.prefix = theirs.prefix,
                    _ => caller.jwt_verify = theirs.jwt_verify,
                }
            }
            return;
        }
        match field {
            "not_after" => self.not_after.clone_from(&from.not_after),
            "default_effect" => self.default_effect = from.default_effect,
            _ => self.owner.clone_from(&from.owner),
        }
    }
}
