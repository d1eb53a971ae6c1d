//! Changes of a resource: which fields, by whom kept, and on what condition.

use anyhow::Result;
use clap::{Args, ValueEnum};
use rr_contract::wire::{FieldMask, fleet, management as mg};

use crate::fault;
use crate::print::plain;

/// On what condition something is changed or removed.
#[derive(Args)]
pub(crate) struct Condition {
    /// Only while it still bears this etag; `-o json` of `show` has it.
    #[arg(long = "if-etag", default_value = "", hide_default_value = true, value_name = "ETAG")]
    pub(crate) etag: String,
}

impl Condition {
    /// The etag that was given, or that of what this machine read and changed a part of.
    pub(crate) fn or(self, read: String) -> String {
        if self.etag.is_empty() { read } else { self.etag }
    }
}

/// What a write agrees to beforehand. Verbs that cannot look at it do not take it.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct Consent {
    /// Writes although some connected node cannot understand it: such nodes refuse it, and deny callers where it decides
    /// who may do what.
    #[arg(long)]
    pub(crate) allow_partial: bool,
    /// Writes although it takes more than 50 resources and 30 % of what a region holds from its nodes.
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
                self.allow_partial = given.allow_partial;
                self.allow_mass_removal = given.allow_mass_removal;
            }
        })*
    };
}
consented! {
    ApplyHeader CreateCredentialRequest CreateFilterRequest CreateMeterRequest CreateOrgRequest CreateProxyRequest CreateRuleRequest CreateTargetRequest DeleteCredentialRequest DeleteFilterRequest DeleteMeterRequest DeleteOrgRequest DeleteProxyRequest DeleteRuleRequest DeleteTargetRequest ReplaceSecretRequest RollbackOrgRequest UndeleteOrgRequest UpdateCredentialRequest UpdateFilterRequest UpdateMeterRequest UpdateOrgRequest UpdateProxyRequest UpdateRuleRequest UpdateTargetRequest
}

impl Consent {
    /// The request with the consent that was given.
    pub(crate) fn with<R: Consented>(self, mut request: R) -> R {
        request.consent(self);
        request
    }
}

/// What goes with something that is removed.
#[derive(Args)]
pub(crate) struct Cascade {
    /// What uses it and may go with it, by id or as `proxies/NAME`; can be given more than once. A proxy that has another
    /// caller credential is not deleted: it loses this one.
    #[arg(long = "cascade", value_name = "USER")]
    pub(crate) users: Vec<String>,
}

/// Who keeps it.
#[derive(Args)]
pub(crate) struct Owner {
    /// Label of whoever keeps it by `rrctl apply`; empty means nobody.
    #[arg(long, value_name = "LABEL")]
    pub(crate) owner: Option<String>,
}

/// What is said of a request that no rule matches.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Effect {
    /// It may pass.
    Allow,
    /// It is refused.
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

/// What is put there when nothing was said.
#[derive(Args)]
pub(crate) struct DefaultEffect {
    /// What is said of a request that none of its rules matches; allow when never given.
    #[arg(long, value_enum)]
    pub(crate) default_effect: Option<Effect>,
}

/// What is said of a request that no rule matches, for people.
pub(crate) fn default_effect(effect: fleet::Effect) -> String {
    match effect {
        fleet::Effect::Unspecified => "allow".to_owned(),
        effect => plain(effect.as_str_name(), "EFFECT_"),
    }
}

/// The fields that an update is about.
#[derive(Default)]
pub(crate) struct Mask(Vec<String>);

impl Mask {
    /// Puts a value in its place when there is one.
    pub(crate) fn put<T>(&mut self, path: &str, place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
            self.name(path);
        }
    }

    /// The same of a list: an empty one says nothing.
    pub(crate) fn put_all<T>(&mut self, path: &str, place: &mut Vec<T>, values: Vec<T>) {
        if !values.is_empty() {
            *place = values;
            self.name(path);
        }
    }

    /// Names a field whose value is in its place already.
    pub(crate) fn name(&mut self, path: &str) {
        self.0.push(path.to_owned());
    }

    /// The mask. One that names nothing would mean something else to the API.
    pub(crate) fn finish(self) -> Result<Option<FieldMask>> {
        if self.0.is_empty() {
            return Err(fault::usage("nothing to change was given", "`--help` lists what can be"));
        }
        Ok(Some(FieldMask { paths: self.0 }))
    }
}
