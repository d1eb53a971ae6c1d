//! A set as nodes would take it: each document compiled and parsed by the code that nodes run, and references between
//! documents followed.
//!
//! Asks nobody. What is not in the files stands for something that may be there, and is told as not checked. The
//! invariant: what is found here is found of all documents, and a set that passes is refused for what only a control
//! plane knows.

use std::collections::{BTreeMap, HashMap};

use rr_contract::document::payload::{self, Value};
use rr_contract::document::{self, check};
use rr_contract::model::caller::check_header;
use rr_contract::model::invalid::{Invalid, Violations};
use rr_contract::model::resource::{InvalidPayload, Key, Model, ResourceId};
use rr_contract::policy::key_set;
use rr_contract::policy::meter::CompiledMeter;
use rr_contract::policy::pattern::Patterns;
use rr_contract::policy::validate;
use rr_contract::policy::verdict::CompiledRule;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;

use super::super::apply::sealing;
use super::super::set::Set;
use super::super::set::places::Places;
use crate::excerpt::Fault;

mod stand_in;

/// What was found of a set.
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    /// What could not be checked, and where.
    pub(super) unchecked: Vec<Fault>,
}

/// Checks all documents of a set.
pub(super) fn check(set: &mut Set) -> Report {
    let Set { documents, texts, .. } = set;
    let mut places = Places::of(texts);
    let mut report = Report { faults: Vec::new(), unchecked: Vec::new() };
    let mut names = Names::default();
    for one in documents.iter() {
        if let Some((field, what)) = names.take(&one.document) {
            report.faults.push(places.fault(one, field, what));
        }
    }
    let targets: BTreeMap<String, mg::Target> = documents
        .iter()
        .filter_map(|one| match &one.document.resource {
            Some(Resource::Target(target)) => Some((target.name.clone(), target.clone())),
            _ => None,
        })
        .collect();
    let mut patterns = Patterns::default();
    for one in documents {
        let mut said = Said::default();
        resource(&one.document, &names, &mut patterns, &mut said);
        match sealing::check(one, &targets) {
            Ok(None) => {}
            Ok(Some(unread)) => said.unchecked.push(("value_from".to_owned(), unread)),
            Err(error) => {
                let what = format!("{error:#}");
                let what = what.strip_prefix("value_from: ").unwrap_or(&what).to_owned();
                said.faults.push(("value_from".to_owned(), what));
            }
        }
        report.faults.extend(said.faults.iter().map(|(field, what)| places.fault(one, field, what)));
        report.unchecked.extend(said.unchecked.iter().map(|(field, what)| places.fault(one, field, what)));
    }
    report
}

/// What is said of one document: fields, and what is wrong or not known.
#[derive(Default)]
struct Said {
    faults: Vec<(String, String)>,
    unchecked: Vec<(String, String)>,
}

impl Said {
    fn fault(&mut self, field: &str, what: impl Into<String>) {
        self.faults.push((field.to_owned(), what.into()));
    }

    fn invalid(&mut self, invalid: &Invalid) {
        for violation in invalid.violations() {
            self.fault(&violation.field, violation.reason.clone());
        }
    }
}

/// The documents of a set by kind and name; of credentials, whether they are for upstreams.
#[derive(Default)]
struct Names(HashMap<(&'static str, String), Option<bool>>);

impl Names {
    /// Adds a document. What is wrong with its name.
    fn take(&mut self, document: &mg::Document) -> Option<(&'static str, String)> {
        let (kind, name) = document::label(document);
        if name.is_empty() {
            return Some(("name", "is missing: a set identifies its resources by name".to_owned()));
        }
        let is_upstream = match &document.resource {
            Some(Resource::Credential(credential)) => {
                credential.usage.as_ref().map(|usage| matches!(usage, Usage::Upstream(_)))
            }
            _ => None,
        };
        let before = self.0.insert((kind, name.to_owned()), is_upstream);
        before.map(|_| ("name", format!("names {kind} {name:?} a second time")))
    }

    /// Puts an id in the place of a name.
    fn refer(&self, kind: &'static str, to: &mut String, field: &str, said: &mut Said) {
        if to.is_empty() {
            said.fault(field, "is missing");
        } else if !self.0.contains_key(&(kind, to.clone())) {
            said.unchecked
                .push((field.to_owned(), format!("names {kind} {to:?}, which is not in the files")));
        }
        *to = stand_in::id(kind, to);
    }

    /// The same, of a credential with this use.
    fn credential(&self, to: &mut String, is_upstream: bool, field: &str, said: &mut Said) {
        let found = self.0.get(&("credential", to.clone())).copied().flatten();
        if found.is_some_and(|found| found != is_upstream) {
            let (is, wanted) =
                if is_upstream { ("a caller", "an upstream") } else { ("an upstream", "a caller") };
            said.fault(field, format!("{to:?} is {is} credential: name {wanted} credential"));
        }
        self.refer("credential", to, field, said);
    }
}

/// Checks one document.
fn resource(document: &mg::Document, names: &Names, patterns: &mut Patterns, said: &mut Said) {
    let mut document = document.clone();
    let mut own = Violations::default();
    match &mut document.resource {
        Some(Resource::Target(it)) => {
            stand_in::place("target", (&mut it.id, &mut it.org), &it.name);
            check::owner(&it.owner, "owner", &mut own);
            check::target(it, &mut own);
        }
        Some(Resource::Credential(it)) => {
            stand_in::place("credential", (&mut it.id, &mut it.org), &it.name);
            check::owner(&it.owner, "owner", &mut own);
            check::credential(it, &mut own);
            if let Some(Usage::Caller(caller)) = &it.usage {
                check_header("caller.header", &caller.header, &mut own);
            }
            it.version = it.version.max(1);
        }
        Some(Resource::Proxy(it)) => {
            stand_in::place("proxy", (&mut it.id, &mut it.org), &it.name);
            check::owner(&it.owner, "owner", &mut own);
            for (i, caller) in it.caller_credentials.iter_mut().enumerate() {
                names.credential(caller, false, &format!("caller_credentials[{i}]"), said);
            }
            names.refer("target", &mut it.target, "target", said);
            names.credential(&mut it.upstream_credential, true, "upstream_credential", said);
            // Which there are, the control plane knows.
            it.regions.iter_mut().for_each(|region| *region = stand_in::id("region", region));
        }
        Some(Resource::Rule(it)) => {
            use mg::rule::Parent;
            stand_in::place("rule", (&mut it.id, &mut it.org), &it.name);
            check::owner(&it.owner, "owner", &mut own);
            match &mut it.parent {
                Some(Parent::Proxy(to)) => names.refer("proxy", to, "proxy", said),
                Some(Parent::Target(to)) => names.refer("target", to, "target", said),
                Some(Parent::Credential(to)) => names.refer("credential", to, "credential", said),
                None => return said.fault("", NO_PARENT),
            }
        }
        Some(Resource::Filter(it)) => {
            use mg::filter::Parent;
            stand_in::place("filter", (&mut it.id, &mut it.org), &it.name);
            check::owner(&it.owner, "owner", &mut own);
            match &mut it.parent {
                Some(Parent::Proxy(to)) => names.refer("proxy", to, "proxy", said),
                Some(Parent::Target(to)) => names.refer("target", to, "target", said),
                Some(Parent::Credential(to)) => names.refer("credential", to, "credential", said),
                None => return said.fault("", NO_PARENT),
            }
        }
        Some(Resource::Meter(it)) => {
            stand_in::place("meter", (&mut it.id, &mut it.org), &it.name);
            check::owner(&it.owner, "owner", &mut own);
            names.refer("proxy", &mut it.proxy, "proxy", said);
        }
        _ => {}
    }
    if let Err(invalid) = own.finish(|| Some(())) {
        said.invalid(&invalid);
    }
    compile(&document, patterns, said);
}

/// Said of a rule or a filter that belongs to nothing.
const NO_PARENT: &str = "belongs to nothing: name a proxy, a target or a credential";

/// Runs what a control plane makes of a document, and what a node does with that.
fn compile(document: &mg::Document, patterns: &mut Patterns, said: &mut Said) {
    if let Some(verify) = payload::brings_keys(document)
        && let Err(invalid) = key_set::check(&verify.jwks, &verify.algorithms)
    {
        said.invalid(&invalid);
    }
    let value = match stand_in::value(document) {
        Ok(value) => value,
        Err((field, what)) => return said.fault(field, what),
    };
    let value = Value { hash: value.hash.as_deref(), sealed: value.sealed.as_deref(), ..Value::default() };
    let (key, payload) = match payload::of(document, &value) {
        Ok(Some(compiled)) => compiled,
        Ok(None) => return,
        Err(invalid) => return said.invalid(&invalid),
    };
    match Model::parse(&key, &payload) {
        Ok(model) => run(&key, &model, patterns, said),
        Err(InvalidPayload::Invalid(invalid)) => said.invalid(&invalid),
        Err(other) => said.fault("", other.to_string()),
    }
}

/// Compiles what nodes run on requests.
fn run(key: &Key, model: &Model, patterns: &mut Patterns, said: &mut Said) {
    let validation = match model {
        Model::Proxy(proxy) => proxy.validation.as_deref(),
        Model::Target(target) => target.validation.as_deref(),
        _ => None,
    };
    if let Some(Err(invalid)) = validation.map(validate::check) {
        said.invalid(&invalid);
    }
    let (field, compiled) = match (key.id, model) {
        (ResourceId::Rule(id), Model::Rule(rule)) => {
            ("when", CompiledRule::compile(id, rule, patterns).map(|_| ()))
        }
        (ResourceId::Meter(id), Model::Meter(meter)) => {
            ("only_when", CompiledMeter::compile(id, meter, patterns).map(|_| ()))
        }
        _ => return,
    };
    if let Err(error) = compiled {
        said.fault(field, error.to_string());
    }
}

#[cfg(test)]
mod tests;
