//! The message of a secret in the clear, taken apart: the values in memory that is wiped, and what is said of them.
//!
//! Judges with the code that judges flags and files. Says nothing of a value.

use std::time::SystemTime;

use rr_contract::model::invalid::Violations;
use rr_contract::model::time;
use rr_contract::seal::form::{Placed, Said, SecretKind, WrongForm};
use rr_contract::seal::means;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet::secret_plaintext::Means;
use rr_contract::wire::fleet::token_grant::Flow;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::plain_secret;

/// A secret that came in the clear. Cannot be printed, and is wiped when dropped.
pub(crate) struct Plain {
    value: Secret,
    bytes: Secret,
    values: Vec<(String, Secret)>,
    /// May hold secrets.
    means: Option<Means>,
    /// The rest of the message.
    said: wire::PlainSecret,
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.means.take().into_iter().for_each(means::wipe);
    }
}

impl Plain {
    /// Takes it out of its message, if there is one.
    pub(crate) fn out_of(plain: &mut Option<wire::PlainSecret>) -> Option<Self> {
        let mut said = plain.take()?;
        Some(Self {
            value: Secret::from(std::mem::take(&mut said.value)),
            bytes: Secret::new(std::mem::take(&mut said.value_bytes)),
            values: std::mem::take(&mut said.values)
                .into_iter()
                .map(|(name, value)| (name, Secret::from(value)))
                .collect(),
            means: said.means.take().map(to_sealed),
            said,
        })
    }

    pub(super) fn regions(&self) -> &[String] {
        &self.said.regions
    }

    pub(super) fn origins(&self) -> &[String] {
        &self.said.origins
    }

    pub(super) fn targets(&self) -> &[String] {
        &self.said.targets
    }

    pub(super) fn ca(&self) -> &str {
        &self.said.ca
    }

    pub(super) fn not_after(&self, faults: &mut Violations) -> Option<SystemTime> {
        faults.take("not_after", time::system_time(self.said.not_after.as_ref()?))
    }

    /// The values in their places.
    pub(super) fn placed(mut self, kind: SecretKind, faults: &mut Violations) -> Option<Placed> {
        let means = self.means.take();
        let said = Said {
            header: self.said.header.take(),
            prefix: self.said.prefix.take(),
            query: self.said.query.take(),
            user: self.said.user.take(),
            headers: self.values.iter().map(|(name, _)| name.clone()).collect(),
            groups: means.iter().map(group).collect(),
            means,
        };
        let values = match kind {
            SecretKind::CustomHeaders if !(self.value.is_empty() && self.bytes.is_empty()) => {
                faults.add("value", "is not for kind custom-headers, which has `values`: leave it out");
                return None;
            }
            SecretKind::CustomHeaders => {
                std::mem::take(&mut self.values).into_iter().map(|(_, value)| value).collect()
            }
            _ => vec![self.one(faults)?],
        };
        match kind.form(said) {
            Ok(form) => form.place(values),
            Err(wrong) => {
                wrong_form(&wrong, faults);
                None
            }
        }
    }

    /// The secret that verifies tokens, which goes nowhere.
    pub(super) fn shared(mut self, faults: &mut Violations) -> Option<Secret> {
        let said = &self.said;
        for (field, is_said) in [
            ("values", !self.values.is_empty()),
            ("origins", !said.origins.is_empty()),
            ("targets", !said.targets.is_empty()),
            ("ca", !said.ca.is_empty()),
            ("header", said.header.is_some()),
            ("prefix", said.prefix.is_some()),
            ("query", said.query.is_some()),
            ("user", said.user.is_some()),
            ("means", self.means.is_some()),
        ] {
            if is_said {
                faults.add(field, "is for upstreams: a secret that verifies tokens is sent nowhere");
            }
        }
        self.one(faults)
    }

    /// The one value.
    fn one(&mut self, faults: &mut Violations) -> Option<Secret> {
        let take = |value: &mut Secret| std::mem::replace(value, Secret::new(Vec::new()));
        match (self.value.is_empty(), self.bytes.is_empty()) {
            (false, true) => Some(take(&mut self.value)),
            (true, false) => Some(take(&mut self.bytes)),
            (true, true) => {
                faults.add("value", "is missing");
                None
            }
            (false, false) => {
                faults.add("value_bytes", "stands beside `value`: give one of them");
                None
            }
        }
    }
}

/// The same as it is sealed.
fn to_sealed(means: plain_secret::Means) -> Means {
    match means {
        plain_secret::Means::TokenGrant(it) => Means::TokenGrant(it),
        plain_secret::Means::TokenRequest(it) => Means::TokenRequest(it),
        plain_secret::Means::AwsSignature(it) => Means::AwsSignature(it),
        plain_secret::Means::HmacSignature(it) => Means::HmacSignature(it),
        plain_secret::Means::ClientCertificate(it) => Means::ClientCertificate(it),
    }
}

/// What files call it.
fn group(means: &Means) -> &'static str {
    match means {
        Means::TokenGrant(grant) => match &grant.flow {
            Some(Flow::JwtBearer(_)) => "jwt_bearer",
            Some(Flow::ClientCredentials(_)) | None => "oauth2",
        },
        Means::TokenRequest(_) => "custom_token",
        Means::AwsSignature(_) => "aws",
        Means::HmacSignature(_) => "hmac",
        Means::ClientCertificate(_) => "certificate",
    }
}

/// The field of the message for one as files have it.
fn field_of(field: &'static str) -> &'static str {
    match field {
        "headers" => "values",
        "oauth2" => "token_grant",
        "jwt_bearer" => "token_grant.jwt_bearer",
        "custom_token" => "token_request",
        "aws" => "aws_signature",
        "hmac" => "hmac_signature",
        "certificate" => "client_certificate",
        field => field,
    }
}

fn wrong_form(wrong: &WrongForm, faults: &mut Violations) {
    match wrong {
        WrongForm::Lacks { kind, needs, fields } => {
            let field = fields.first().copied().map_or("", field_of);
            faults.add(field, format!("is missing: kind {kind} needs {needs}"));
        }
        WrongForm::Extra { kind, field } => {
            faults.add(field_of(field), format!("is not for kind {kind}: leave it out"));
        }
        WrongForm::Invalid { field, invalid } => {
            let field = field_of(field);
            for it in invalid.violations() {
                let inside = it.field.strip_prefix("slot.").unwrap_or(&it.field);
                let inside = if inside == "token_url" { "url" } else { inside };
                match inside {
                    inside if inside.is_empty() || inside == field => faults.add(field, &*it.reason),
                    inside if matches!(field, "header" | "query" | "values") => {
                        faults.add(field, format!("{inside} {}", it.reason));
                    }
                    inside => faults.add(format!("{field}.{inside}"), &*it.reason),
                }
            }
        }
    }
}
