//! Credentials. The value is never part of the document; its version is.

use rr_contract::model::invalid::Violations;
use rr_contract::wire::fleet::Effect;
use rr_contract::wire::management::{Caller, Credential, credential::Usage};

use super::mask::{MaskPath, field_path, is_set};
use super::{Link, Part, Resource, owned_fields, wrapped};
use crate::noun::Noun;

/// The path of a field of `caller`. An upstream credential has none of them, and none is made of it.
macro_rules! caller_path {
    ($field:ident) => {
        MaskPath::<Credential> {
            path: concat!("caller.", stringify!($field)),
            is_set: |it: &Credential| caller(it).is_some_and(|caller| is_set(&caller.$field)),
            apply: |to: &mut Credential, from: &Credential| {
                let value = caller(from).map(|caller| caller.$field.clone()).unwrap_or_default();
                if let Some(Usage::Caller(caller)) = &mut to.usage {
                    caller.$field = value;
                }
            },
            needs_value: false,
        }
    };
}

fn caller(credential: &Credential) -> Option<&Caller> {
    match &credential.usage {
        Some(Usage::Caller(caller)) => Some(caller),
        Some(Usage::Upstream(_)) | None => None,
    }
}

impl Resource for Credential {
    wrapped!(Credential);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Credential, not_after),
        field_path!(Credential, default_effect),
        caller_path!(header),
        caller_path!(prefix),
        caller_path!(jwt_verify),
        field_path!(Credential, owner),
    ];

    owned_fields!();

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
        match &mut self.usage {
            Some(Usage::Upstream(upstream)) => upstream.sealed = None,
            Some(Usage::Caller(caller)) => caller.value_hash.clear(),
            None => {}
        }
    }

    fn check(&self, faults: &mut Violations) {
        if self.usage.is_none() {
            faults.add("usage", "is missing: set `caller` or `upstream`");
        }
    }
}
