//! Flags of changes: owner, condition, consent, and the mask of the fields that an update changes.

use anyhow::Result;
use clap::{Args, ValueEnum};
use rr_contract::wire::{FieldMask, fleet, management as mg};

use crate::fault;
use crate::print::plain;

/// The condition of an update or a removal.
#[derive(Args)]
pub(crate) struct Condition {
    /// Refused unless the resource has this etag; `show -o json` prints it.
    #[arg(long = "if-etag", default_value = "", hide_default_value = true, value_name = "ETAG")]
    pub(crate) etag: String,
}

impl Condition {
    /// The etag that was given, or else that of the resource that was read to change a part of a field.
    pub(crate) fn or(self, read: String) -> String {
        if self.etag.is_empty() { read } else { self.etag }
    }
}

/// Consent to effects that the control plane otherwise refuses. Only writes that can have them take these flags.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct Consent {
    /// Writes even if a connected node does not understand the change. Such a node refuses the resource, and denies
    /// callers where the resource decides what they may do.
    #[arg(long)]
    pub(crate) allow_partial: bool,
    /// Writes even if the change removes more than 50 resources and more than 30 % of what the nodes of a region hold.
    #[arg(long)]
    pub(crate) allow_mass_removal: bool,
}

/// A request that takes consent.
pub(crate) trait Consented {
    fn consent(&mut self, given: Consent);
}

macro_rules! consented {
    ($($request:ident)*) => {
        $(impl Consented for mg::$request {
            fn consent(&mut self, given: Consent) {
                self.options = Some(given.to_wire());
            }
        })*
    };
}
consented! {
    ApplyHeader CreateCredentialRequest CreateFilterRequest CreateMeterRequest CreateOrgRequest CreateProxyRequest CreateRuleRequest CreateTargetRequest DeleteCredentialRequest DeleteFilterRequest DeleteMeterRequest DeleteOrgRequest DeleteProxyRequest DeleteRuleRequest DeleteTargetRequest ReplaceSecretRequest ResealSecretRequest RollCredentialRequest RollbackOrgRequest UndeleteOrgRequest UpdateCredentialRequest UpdateFilterRequest UpdateMeterRequest UpdateOrgRequest UpdateProxyRequest UpdateRuleRequest UpdateTargetRequest
}

impl Consent {
    fn to_wire(self) -> mg::WriteOptions {
        mg::WriteOptions { allow_partial: self.allow_partial, allow_mass_removal: self.allow_mass_removal }
    }

    /// The request with the consent that was given.
    pub(crate) fn with<R: Consented>(self, mut request: R) -> R {
        request.consent(self);
        request
    }
}

/// Resources that are removed along with another.
#[derive(Args)]
pub(crate) struct Cascade {
    /// Resource that uses it and is removed too, as `proxy/NAME` or by id; can be repeated. A proxy that has other caller
    /// credentials is kept and loses only this one.
    #[arg(long = "cascade", value_name = "USER")]
    pub(crate) users: Vec<String>,
}

/// The label of the owner.
#[derive(Args)]
pub(crate) struct Owner {
    /// Label of the set of files that manages the resource with `rrctl apply`; empty means none.
    #[arg(long, value_name = "LABEL")]
    pub(crate) owner: Option<String>,
}

/// The effect on a request that no rule matches.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Effect {
    /// The request is allowed.
    Allow,
    /// The request is refused.
    Deny,
}

impl Effect {
    pub(crate) const fn to_wire(self) -> i32 {
        match self {
            Self::Allow => fleet::Effect::Allow as i32,
            Self::Deny => fleet::Effect::Deny as i32,
        }
    }
}

/// The default effect of a scope.
#[derive(Args)]
pub(crate) struct DefaultEffect {
    /// Effect on a request that none of its rules matches; `allow` when never given.
    #[arg(long, value_enum)]
    pub(crate) default_effect: Option<Effect>,
}

/// The default effect as tables show it.
pub(crate) fn default_effect(effect: fleet::Effect) -> String {
    match effect {
        fleet::Effect::Unspecified => "allow".to_owned(),
        effect => plain(effect.as_str_name(), "EFFECT_"),
    }
}

/// The fields that an update changes.
#[derive(Default)]
pub(crate) struct Mask(Vec<String>);

impl Mask {
    /// Sets a field to a value that was given, and names the field.
    pub(crate) fn put<T>(&mut self, path: &str, place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
            self.name(path);
        }
    }

    /// The same for a list: an empty one was not given.
    pub(crate) fn put_all<T>(&mut self, path: &str, place: &mut Vec<T>, values: Vec<T>) {
        if !values.is_empty() {
            *place = values;
            self.name(path);
        }
    }

    /// Names a field that is set already.
    pub(crate) fn name(&mut self, path: &str) {
        self.0.push(path.to_owned());
    }

    /// The mask. To the API an empty one means every field that is not empty, so it is refused here.
    pub(crate) fn finish(self) -> Result<Option<FieldMask>> {
        if self.0.is_empty() {
            return Err(fault::usage(
                "no change was given",
                "give at least one flag of those that `--help` lists",
            ));
        }
        Ok(Some(FieldMask { paths: self.0 }))
    }
}
