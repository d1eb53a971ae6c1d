//! What there should be: a map of resources, and what each call should do to it.
//!
//! Says once more, in the plainest way, what the schemas promise: it shares no rule with what it is compared to.

use std::collections::BTreeMap;

use pbjson_types::Timestamp;
use rr_contract::wire::fleet::{Effect, Recording, RequestMatch};
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::rule::Parent;
use rr_contract::wire::management::{self as wire, Document, document};
use tonic::Code;

use super::calls::Ask;
use crate::noun::Noun;

/// One resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) id: String,
    /// With ids for names, without what the control plane works out.
    pub(super) document: Document,
    pub(super) etag: String,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

pub(super) type Entries = BTreeMap<(Noun, String), Entry>;

/// Everything of one organization.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) entries: Entries,
    /// The region that proxies may be in, by name and id.
    pub(super) region: (String, String),
}

/// Names of fields.
pub(super) type Mask = Vec<&'static str>;

impl Model {
    /// By name or id.
    pub(super) fn find(&self, noun: Noun, reference: &str) -> Option<(&String, &Entry)> {
        find(&self.entries, noun, reference)
    }

    fn id_of(&self, noun: Noun, reference: &str) -> Option<String> {
        self.find(noun, reference).map(|(_, entry)| entry.id.clone())
    }

    /// What a call should make of a resource: settled, and ids for names. None when it should be refused.
    pub(super) fn accept(&self, document: &Document) -> Option<Document> {
        let mut accepted = document.clone();
        match accepted.resource.as_mut().expect("ours are whole") {
            document::Resource::Target(target) => {
                settle_effect(&mut target.default_effect);
                let url = match target.base_url.split_once("://") {
                    Some(("https", _)) => true,
                    Some(("http", _)) => target.danger_plaintext,
                    _ => false,
                };
                let path = target.test_path.is_empty() || target.test_path.starts_with('/');
                let is_plain = target.base_url.starts_with("http:");
                // The one that chance draws has no path.
                let more = target.more_base_urls.is_empty() || target.base_url == "https://a.example.com";
                let wire = more && (target.min_tls.is_empty() || !is_plain);
                (url && path && wire && good_owner(&target.owner)).then_some(())?;
            }
            document::Resource::Credential(credential) => {
                settle_effect(&mut credential.default_effect);
                credential.tags.sort();
                credential.tags.dedup();
                good_owner(&credential.owner).then_some(())?;
            }
            document::Resource::Proxy(proxy) => {
                settle_effect(&mut proxy.default_effect);
                proxy.active.get_or_insert(true);
                if proxy.deny_status == 0 {
                    proxy.deny_status = 400;
                }
                proxy.recording = proxy.recording.take().filter(|it| *it != Recording::default());
                if proxy.echo_guard == 0 {
                    proxy.echo_guard = 1;
                }
                proxy.target = self.id_of(Noun::Target, &proxy.target)?;
                let credential = |reference: &str, caller: bool| {
                    let (_, entry) = self.find(Noun::Credential, reference)?;
                    (is_caller(&entry.document) == caller).then(|| entry.id.clone())
                };
                proxy.upstream_credential = credential(&proxy.upstream_credential, false)?;
                for caller in &mut proxy.caller_credentials {
                    *caller = credential(caller, true)?;
                }
                for region in &mut proxy.regions {
                    let (name, id) = &self.region;
                    (region == name || region == id).then(|| region.clone_from(id))?;
                }
                let good = !twice(&proxy.caller_credentials)
                    && !proxy.regions.is_empty()
                    && !twice(&proxy.regions)
                    && matches!(proxy.deny_status, 400 | 403)
                    && (proxy.websocket || !proxy.tunnels_unread)
                    && good_owner(&proxy.owner);
                (good && !proxy.caller_credentials.is_empty()).then_some(())?;
            }
            document::Resource::Rule(rule) => {
                rule.when.get_or_insert_with(RequestMatch::default);
                match rule.parent.as_mut()? {
                    Parent::Proxy(to) => *to = self.id_of(Noun::Proxy, to)?,
                    Parent::Target(to) => *to = self.id_of(Noun::Target, to)?,
                    Parent::Credential(to) => *to = self.id_of(Noun::Credential, to)?,
                }
                (rule.effect != 0 && rule.priority <= 1000 && good_owner(&rule.owner)).then_some(())?;
            }
            other => panic!("not modelled: {other:?}"),
        }
        Some(accepted)
    }

    /// What a change should come to, before it is accepted.
    pub(super) fn changed(&self, name: &str, given: &Document, mask: &Mask) -> Document {
        let noun = noun_of(given);
        let mut document = self.entries[&(noun, name.to_owned())].document.clone();
        for field in mask {
            take(&mut document, given, field);
        }
        document
    }

    /// What a removal should take along, itself first; or that something holds it.
    pub(super) fn removed(
        &self,
        noun: Noun,
        name: &str,
        cascade: &[String],
    ) -> Result<Vec<(Noun, String)>, Code> {
        let mut going = vec![(noun, name.to_owned())];
        if matches!(noun, Noun::Target | Noun::Credential) {
            for (proxy, entry) in self.users(Noun::Proxy, noun, name) {
                let named = |it: &String| *it == entry.id || *it == format!("proxies/{proxy}");
                if !cascade.iter().any(named) {
                    return Err(Code::FailedPrecondition);
                }
                if without_caller(&entry.document, &self.entries[&going[0]].id).is_none() {
                    going.push((Noun::Proxy, proxy));
                }
            }
        }
        let rules = |(noun, name): &(Noun, String)| self.users(Noun::Rule, *noun, name);
        let along: Vec<_> = going.iter().flat_map(rules).map(|(name, _)| (Noun::Rule, name)).collect();
        going.extend(along);
        Ok(going)
    }

    /// The proxies that should stay without a caller that goes, as they should be then.
    pub(super) fn detached(&self, noun: Noun, name: &str) -> Vec<(String, Document)> {
        if noun != Noun::Credential {
            return Vec::new();
        }
        let id = &self.entries[&(noun, name.to_owned())].id;
        let users = self.users(Noun::Proxy, noun, name).into_iter();
        users.filter_map(|(name, entry)| Some((name, without_caller(&entry.document, id)?))).collect()
    }

    /// Resources of a noun that name another.
    fn users(&self, users: Noun, noun: Noun, name: &str) -> Vec<(String, Entry)> {
        let id = &self.entries[&(noun, name.to_owned())].id;
        let of = self.entries.iter().filter(|((of, _), _)| *of == users);
        of.filter(|(_, entry)| links(&entry.document).contains(id))
            .map(|((_, name), entry)| (name.clone(), entry.clone()))
            .collect()
    }

    /// What a list should hold, whole.
    pub(super) fn listed(&self, noun: Noun, ask: &Ask) -> Vec<Entry> {
        let wanted = |name: &str, entry: &Entry| match ask.filter.split_once(" = ") {
            None => true,
            Some(("name", value)) => match value.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == value,
            },
            Some(("owner", value)) => owner(&entry.document) == value,
            Some((_, reference)) => {
                let ids: Vec<String> = [Noun::Target, Noun::Credential, Noun::Proxy]
                    .into_iter()
                    .filter_map(|noun| self.id_of(noun, reference))
                    .collect();
                links(&entry.document).iter().any(|link| ids.contains(link))
            }
        };
        let of = self.entries.iter().filter(|((of, _), _)| *of == noun);
        let mut found: Vec<(&String, &Entry)> =
            of.filter(|((_, name), entry)| wanted(name, entry)).map(|((_, name), it)| (name, it)).collect();
        let at = |at: &Timestamp| (at.seconds, at.nanos);
        match ask.order_by.split(' ').next() {
            Some("created_at") => found.sort_by_key(|(_, it)| (at(&it.created_at), it.id.clone())),
            Some("updated_at") => found.sort_by_key(|(_, it)| (at(&it.updated_at), it.id.clone())),
            _ => {}
        }
        if ask.order_by.ends_with(" desc") {
            found.reverse();
        }
        found.into_iter().map(|(_, entry)| entry.clone()).collect()
    }
}

/// A proxy without one of its callers. None when it is none of them, or the only one.
fn without_caller(proxy: &Document, caller: &str) -> Option<Document> {
    let Some(document::Resource::Proxy(mut proxy)) = proxy.resource.clone() else { return None };
    let before = proxy.caller_credentials.len();
    proxy.caller_credentials.retain(|id| id != caller);
    let left = proxy.caller_credentials.len();
    (left > 0 && left < before).then_some(Document { resource: Some(document::Resource::Proxy(proxy)) })
}

/// By name, or by what looks like an id.
pub(super) fn find<'a>(entries: &'a Entries, noun: Noun, reference: &str) -> Option<(&'a String, &'a Entry)> {
    let mut of = entries.iter().filter(|((of, _), _)| *of == noun);
    of.find(|((_, name), entry)| name == reference || entry.id == reference)
        .map(|((_, name), entry)| (name, entry))
}

pub(super) fn noun_of(document: &Document) -> Noun {
    match document.resource.as_ref().expect("ours are whole") {
        document::Resource::Target(_) => Noun::Target,
        document::Resource::Credential(_) => Noun::Credential,
        document::Resource::Proxy(_) => Noun::Proxy,
        document::Resource::Rule(_) => Noun::Rule,
        other => panic!("not modelled: {other:?}"),
    }
}

/// The fields that an update without a mask is about.
pub(super) fn said(document: &Document) -> Mask {
    let caller_header = |usage: &Option<Usage>| match usage {
        Some(Usage::Caller(caller)) => !caller.header.is_empty(),
        _ => false,
    };
    let fields = match document.resource.as_ref().expect("ours are whole") {
        document::Resource::Target(it) => vec![
            ("base_url", !it.base_url.is_empty()),
            ("danger_plaintext", it.danger_plaintext),
            ("test_path", !it.test_path.is_empty()),
            ("default_effect", it.default_effect != 0),
            ("more_base_urls", !it.more_base_urls.is_empty()),
            ("balance", it.balance != 0),
            ("idle_timeout", it.idle_timeout.is_some()),
            ("total_timeout", it.total_timeout.is_some()),
            ("outlier_ejection", it.outlier_ejection.is_some()),
            ("circuit_breaker", it.circuit_breaker.is_some()),
            ("health_check", it.health_check.is_some()),
            ("min_tls", !it.min_tls.is_empty()),
            ("http_version", !it.http_version.is_empty()),
            ("trace_context", it.trace_context),
            ("owner", !it.owner.is_empty()),
        ],
        document::Resource::Credential(it) => vec![
            ("default_effect", it.default_effect != 0),
            ("caller.header", caller_header(&it.usage)),
            ("owner", !it.owner.is_empty()),
            ("tags", !it.tags.is_empty()),
            ("metadata", !it.metadata.is_empty()),
        ],
        document::Resource::Proxy(it) => vec![
            ("active", it.active.is_some()),
            ("caller_credentials", !it.caller_credentials.is_empty()),
            ("target", !it.target.is_empty()),
            ("upstream_credential", !it.upstream_credential.is_empty()),
            ("regions", !it.regions.is_empty()),
            ("default_effect", it.default_effect != 0),
            ("deny_status", it.deny_status != 0),
            ("limits", it.limits.is_some()),
            ("observe", it.observe),
            ("max_request_bytes", it.max_request_bytes != 0),
            ("max_response_bytes", it.max_response_bytes != 0),
            ("limits_per_caller", it.limits_per_caller.is_some()),
            ("limits_per_address", it.limits_per_address.is_some()),
            ("retry", it.retry.is_some()),
            ("max_concurrent_requests_per_node", it.max_concurrent_requests_per_node != 0),
            ("websocket", it.websocket),
            ("tunnels_unread", it.tunnels_unread),
            ("client_certificates", it.client_certificates),
            ("test_after_change", it.test_after_change),
            ("rewrite", it.rewrite.is_some()),
            ("cors", it.cors.is_some()),
            ("forwarded", it.forwarded != 0),
            ("echo_guard", it.echo_guard != 0),
            ("recording", it.recording.is_some()),
            ("owner", !it.owner.is_empty()),
        ],
        document::Resource::Rule(it) => vec![
            ("effect", it.effect != 0),
            ("priority", it.priority != 0),
            ("notes", !it.notes.is_empty()),
            ("observe", it.observe),
            ("owner", !it.owner.is_empty()),
        ],
        other => panic!("not modelled: {other:?}"),
    };
    fields.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect()
}

/// Every field that an update may name, of those that are modelled.
pub(super) const fn fields_of(noun: Noun) -> &'static [&'static str] {
    match noun {
        Noun::Target => &[
            "base_url",
            "danger_plaintext",
            "test_path",
            "default_effect",
            "more_base_urls",
            "balance",
            "idle_timeout",
            "total_timeout",
            "outlier_ejection",
            "circuit_breaker",
            "health_check",
            "min_tls",
            "http_version",
            "trace_context",
            "owner",
        ],
        Noun::Credential => &["default_effect", "caller.header", "owner", "tags", "metadata"],
        Noun::Proxy => &[
            "active",
            "caller_credentials",
            "target",
            "upstream_credential",
            "regions",
            "default_effect",
            "deny_status",
            "limits",
            "observe",
            "max_request_bytes",
            "max_response_bytes",
            "limits_per_caller",
            "limits_per_address",
            "retry",
            "max_concurrent_requests_per_node",
            "websocket",
            "tunnels_unread",
            "client_certificates",
            "test_after_change",
            "rewrite",
            "cors",
            "forwarded",
            "echo_guard",
            "recording",
            "owner",
        ],
        _ => &["effect", "priority", "notes", "observe", "owner"],
    }
}

fn take(into: &mut Document, from: &Document, field: &str) {
    use document::Resource::{Credential, Proxy, Rule, Target};

    match (into.resource.as_mut().expect("is whole"), from.resource.clone().expect("is whole")) {
        (Target(into), Target(from)) => match field {
            "base_url" => into.base_url = from.base_url,
            "danger_plaintext" => into.danger_plaintext = from.danger_plaintext,
            "test_path" => into.test_path = from.test_path,
            "default_effect" => into.default_effect = from.default_effect,
            "more_base_urls" => into.more_base_urls = from.more_base_urls,
            "balance" => into.balance = from.balance,
            "idle_timeout" => into.idle_timeout = from.idle_timeout,
            "total_timeout" => into.total_timeout = from.total_timeout,
            "outlier_ejection" => into.outlier_ejection = from.outlier_ejection,
            "circuit_breaker" => into.circuit_breaker = from.circuit_breaker,
            "health_check" => into.health_check = from.health_check,
            "min_tls" => into.min_tls = from.min_tls,
            "http_version" => into.http_version = from.http_version,
            "trace_context" => into.trace_context = from.trace_context,
            _ => into.owner = from.owner,
        },
        (Credential(into), Credential(from)) => match field {
            "default_effect" => into.default_effect = from.default_effect,
            "caller.header" => {
                if let Some(Usage::Caller(caller)) = &mut into.usage {
                    caller.header = match from.usage {
                        Some(Usage::Caller(from)) => from.header,
                        _ => String::new(),
                    };
                }
            }
            "tags" => into.tags = from.tags,
            "metadata" => into.metadata = from.metadata,
            _ => into.owner = from.owner,
        },
        (Proxy(into), Proxy(from)) => match field {
            "active" => into.active = from.active,
            "caller_credentials" => into.caller_credentials = from.caller_credentials,
            "target" => into.target = from.target,
            "upstream_credential" => into.upstream_credential = from.upstream_credential,
            "regions" => into.regions = from.regions,
            "default_effect" => into.default_effect = from.default_effect,
            "deny_status" => into.deny_status = from.deny_status,
            "limits" => into.limits = from.limits,
            "observe" => into.observe = from.observe,
            "max_request_bytes" => into.max_request_bytes = from.max_request_bytes,
            "max_response_bytes" => into.max_response_bytes = from.max_response_bytes,
            "limits_per_caller" => into.limits_per_caller = from.limits_per_caller,
            "limits_per_address" => into.limits_per_address = from.limits_per_address,
            "retry" => into.retry = from.retry,
            "max_concurrent_requests_per_node" => {
                into.max_concurrent_requests_per_node = from.max_concurrent_requests_per_node;
            }
            "websocket" => into.websocket = from.websocket,
            "tunnels_unread" => into.tunnels_unread = from.tunnels_unread,
            "client_certificates" => into.client_certificates = from.client_certificates,
            "test_after_change" => into.test_after_change = from.test_after_change,
            "rewrite" => into.rewrite = from.rewrite,
            "cors" => into.cors = from.cors,
            "forwarded" => into.forwarded = from.forwarded,
            "echo_guard" => into.echo_guard = from.echo_guard,
            "recording" => into.recording = from.recording.clone(),
            _ => into.owner = from.owner,
        },
        (Rule(into), Rule(from)) => match field {
            "effect" => into.effect = from.effect,
            "priority" => into.priority = from.priority,
            "notes" => into.notes = from.notes,
            "observe" => into.observe = from.observe,
            _ => into.owner = from.owner,
        },
        pair => panic!("no pair: {pair:?}"),
    }
}

fn links(document: &Document) -> Vec<String> {
    match document.resource.as_ref().expect("is whole") {
        document::Resource::Proxy(proxy) => {
            let single = [proxy.target.clone(), proxy.upstream_credential.clone()];
            proxy.caller_credentials.iter().cloned().chain(single).collect()
        }
        document::Resource::Rule(wire::Rule { parent: Some(parent), .. }) => match parent {
            Parent::Proxy(to) | Parent::Target(to) | Parent::Credential(to) => vec![to.clone()],
        },
        _ => Vec::new(),
    }
}

fn owner(document: &Document) -> &str {
    match document.resource.as_ref().expect("is whole") {
        document::Resource::Target(it) => &it.owner,
        document::Resource::Credential(it) => &it.owner,
        document::Resource::Proxy(it) => &it.owner,
        document::Resource::Rule(it) => &it.owner,
        other => panic!("not modelled: {other:?}"),
    }
}

fn is_caller(document: &Document) -> bool {
    let Some(document::Resource::Credential(credential)) = &document.resource else { return false };
    matches!(credential.usage, Some(Usage::Caller(_)))
}

fn settle_effect(effect: &mut i32) {
    if *effect == 0 {
        *effect = Effect::Allow.into();
    }
}

fn good_owner(owner: &str) -> bool {
    !owner.chars().any(|c| c.is_ascii_uppercase())
}

fn twice(ids: &[String]) -> bool {
    ids.iter().enumerate().any(|(i, id)| ids[..i].contains(id))
}
