//! Credentials. The value is never part of the document; its version is.

use rr_contract::document::check;
use rr_contract::model::caller::check_header;
use rr_contract::model::invalid::Violations;
use rr_contract::model::tls::CaBundle;
use rr_contract::wire::fleet::Effect;
use rr_contract::wire::management::{
    Caller, CallerKind, Credential, JwtVerify, UpstreamKind, credential::Usage,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

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

/// The authorities of a caller's name.
const CERTIFICATE_CA: MaskPath<Credential> = MaskPath {
    path: "caller.certificate.ca",
    is_set: |it: &Credential| certificate_ca(it).is_some_and(is_set),
    apply: |to: &mut Credential, from: &Credential| {
        let ca = certificate_ca(from).cloned().unwrap_or_default();
        if let Some(Usage::Caller(Caller { certificate: Some(certificate), .. })) = &mut to.usage {
            certificate.ca = ca;
        }
    },
    needs_value: false,
};

/// The regions that a credential's secret is sealed to. `None`: it has no sealed secret.
pub(crate) fn sealed_regions(credential: &Credential) -> Option<&[String]> {
    match credential.usage.as_ref()? {
        Usage::Upstream(upstream) if upstream.kind() == UpstreamKind::None => None,
        Usage::Upstream(upstream) => Some(&upstream.sealed_regions),
        Usage::Caller(caller) => is_shared(caller).then_some(&*caller.sealed_regions),
    }
}

/// Whether what it takes is verified with a shared secret.
pub(crate) fn is_shared(caller: &Caller) -> bool {
    let has_keys = |verify: &JwtVerify| !(verify.jwks_url.is_empty() && verify.jwks.is_empty());
    caller.kind() == CallerKind::JwtVerify && !caller.jwt_verify.as_ref().is_some_and(has_keys)
}

fn caller(credential: &Credential) -> Option<&Caller> {
    match &credential.usage {
        Some(Usage::Caller(caller)) => Some(caller),
        Some(Usage::Upstream(_)) | None => None,
    }
}

fn certificate_ca(credential: &Credential) -> Option<&String> {
    Some(&caller(credential)?.certificate.as_ref()?.ca)
}

impl Resource for Credential {
    wrapped!(Credential);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(Credential, not_after),
        field_path!(Credential, default_effect),
        caller_path!(header),
        caller_path!(prefix),
        caller_path!(jwt_verify),
        CERTIFICATE_CA,
        field_path!(Credential, owner),
        field_path!(Credential, tags),
        field_path!(Credential, metadata),
    ];

    owned_fields!();

    fn settle(&mut self) {
        if self.default_effect == 0 {
            self.default_effect = Effect::Allow.into();
        }
        self.last_used_at = None;
        self.tags.sort();
        self.tags.dedup();
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        let (usage, regions) = match &mut self.usage {
            Some(Usage::Upstream(upstream)) => ("upstream", &mut upstream.sealed_regions),
            Some(Usage::Caller(caller)) => ("caller", &mut caller.sealed_regions),
            None => return Vec::new(),
        };
        let link = |(i, to)| Link {
            field: format!("{usage}.sealed_regions[{i}]"),
            noun: Noun::Region,
            part: Part::SealedTo,
            to,
        };
        regions.iter_mut().enumerate().map(link).collect()
    }

    fn without_secrets(&mut self) {
        match &mut self.usage {
            Some(Usage::Upstream(upstream)) => upstream.sealed = None,
            Some(Usage::Caller(caller)) => {
                caller.value_hash.clear();
                caller.password_hash.clear();
                caller.sealed = None;
            }
            None => {}
        }
    }

    fn check(&self, faults: &mut Violations) {
        check::credential(self, faults);
    }

    fn check_written(&self, before: Option<&Self>, faults: &mut Violations) {
        let Some(now) = caller(self) else { return };
        if before.and_then(caller).is_none_or(|was| was.header != now.header) {
            check_header("caller.header", &now.header, faults);
        }
        let was = before.and_then(certificate_ca);
        if let Some(ca) = certificate_ca(self).filter(|ca| was != Some(*ca))
            && let Some(number) = no_authority(ca)
        {
            let what = format!(
                "certificate {number} is of no authority: its basic constraints do not say CA; give those that issue the callers' \
                 certificates"
            );
            faults.add(CERTIFICATE_CA.path, what);
        }
    }

    fn labels(&self) -> Vec<(String, String)> {
        let tags = self.tags.iter().map(|tag| ("tags".to_owned(), tag.clone()));
        let metadata = self.metadata.iter().map(|(name, value)| (format!("metadata.{name}"), value.clone()));
        tags.chain(metadata).collect()
    }
}

/// Which of the certificates cannot have issued another one, from 1. What is no certificate is told of by the compiler.
fn no_authority(ca: &str) -> Option<usize> {
    let is_authority = |der: &[u8]| {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
        matches!(certificate.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
    };
    let ca: CaBundle = ca.parse().ok()?;
    ca.certificates().iter().position(|der| !is_authority(der)).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_header(header: &str) -> Credential {
        let caller = Caller { header: header.to_owned(), ..Caller::default() };
        Credential { usage: Some(Usage::Caller(caller)), ..Credential::default() }
    }

    fn is_refused(now: &Credential, before: Option<&Credential>) -> bool {
        let mut faults = Violations::default();
        now.check_written(before, &mut faults);
        !faults.is_empty()
    }

    /// What was taken once would hold up each change of something else, a roll and a removal of a tag included.
    #[test]
    fn what_is_refused_where_it_is_written_stays_where_it_was_before() {
        let old = in_header("content-type");
        assert!(is_refused(&old, None));
        assert!(is_refused(&old, Some(&in_header("x-own"))));
        assert!(!is_refused(&old, Some(&old)));
        assert!(is_refused(&in_header("accept"), Some(&old)));
        assert!(!is_refused(&in_header("x-own"), Some(&old)));
    }
}
