//! The effect of a refusal on the callers of a proxy, whichever resource is refused.
//!
//! It mirrors how the edge treats a refused resource: a rule, filter or meter closes every proxy that it bears on, by
//! whichever of the four scopes; so does a target or an organization of which no version runs. A version that goes on
//! in the place of a refused one serves.

use std::collections::{BTreeSet, HashMap};

use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet::{self, Harm};

use super::super::node::NAMED;
use super::super::{ServiceError, Services};
use crate::noun::Noun;
use crate::{store, word};

/// The effect of the refusal of a resource on a proxy; none where it does not bear on it.
///
/// `bears` is the resource that a rule, filter or meter belongs to.
pub(super) fn of(
    proxy: (&Key, &Proxy),
    cause: &Key,
    bears: Option<&Key>,
    runs_another: bool,
) -> Option<Harm> {
    let (key, proxy) = proxy;
    if cause.org != key.org {
        return None;
    }
    let or_older = |harm| Some(if runs_another { Harm::Older } else { harm });
    let is_caller = |id| proxy.caller_credentials.contains(id);
    match cause.id {
        ResourceId::Proxy(_) if cause == key => or_older(Harm::Absent),
        ResourceId::Org => or_older(Harm::Closed),
        ResourceId::Target(id) if id == proxy.target => or_older(Harm::Closed),
        ResourceId::Credential(id) if id == proxy.upstream_credential => or_older(Harm::Unusable),
        ResourceId::Credential(id) if is_caller(&id) => or_older(Harm::Denied),
        ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => {
            let is_there = match bears?.id {
                ResourceId::Proxy(_) => bears == Some(key),
                ResourceId::Target(id) => id == proxy.target,
                ResourceId::Credential(id) => id == proxy.upstream_credential || is_caller(&id),
                ResourceId::Org => true,
                ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => false,
            };
            is_there.then_some(Harm::Closed)
        }
        ResourceId::Proxy(_) | ResourceId::Target(_) | ResourceId::Credential(_) => None,
    }
}

/// The response that callers get, to follow the word "callers".
fn answer(harm: Harm) -> &'static str {
    match harm {
        Harm::Absent | Harm::Closed => "get 503 proxy-closed",
        Harm::Unusable => "get 502 credential-unusable",
        Harm::Denied => {
            "get 503 proxy-closed with that credential, or 401 where the node cannot tell whose it is,"
        }
        Harm::Older | Harm::Unspecified => "are served by an older version",
    }
}

/// The worst first.
fn weight(harm: Harm) -> u8 {
    match harm {
        Harm::Absent | Harm::Closed => 0,
        Harm::Unusable => 1,
        Harm::Denied => 2,
        Harm::Older | Harm::Unspecified => 3,
    }
}

impl Services {
    /// Fills in the names of refused resources and of affected proxies.
    pub(super) async fn name_harms(
        &self,
        org: &str,
        answer: &mut fleet::ExplainResourceResponse,
    ) -> Result<(), ServiceError> {
        let mut wanted: HashMap<Noun, BTreeSet<String>> = HashMap::new();
        let noun_of = |kind: &str| Noun::ALL.into_iter().find(|noun| noun.text() == kind);
        for harm in answer.regions.iter().flat_map(|region| &region.harms) {
            wanted.entry(Noun::Proxy).or_default().insert(harm.proxy.clone());
            if let Some(noun) = noun_of(&harm.cause_kind) {
                wanted.entry(noun).or_default().insert(harm.cause.clone());
            }
        }
        let mut names = HashMap::new();
        for (noun, ids) in wanted {
            let within = if noun == Noun::Org { "" } else { org };
            let ids: Vec<String> = ids.into_iter().collect();
            for row in store::resource::find_all(&self.store, noun, within, &ids).await? {
                names.insert(row.id, row.name);
            }
        }
        // A resource that was removed in the meantime is named by its id.
        let named = |id: &String| names.get(id).unwrap_or(id).clone();
        for harm in answer.regions.iter_mut().flat_map(|region| &mut region.harms) {
            (harm.name, harm.cause_name) = (named(&harm.proxy), named(&harm.cause));
        }
        Ok(())
    }
}

/// One more harm, as far as there is room.
pub(super) fn note(
    region: &mut fleet::ResourceInRegion,
    node: &str,
    proxy: &Key,
    harm: Harm,
    refusal: &fleet::Refusal,
) {
    region.harm_count += 1;
    let Some(cause) = refusal.key.as_ref() else { return };
    if region.harms.len() >= NAMED {
        return;
    }
    region.harms.push(fleet::ProxyHarm {
        proxy: proxy.to_wire().id,
        name: String::new(),
        node: node.to_owned(),
        harm: harm.into(),
        cause_kind: Noun::of_row(cause.kind).map(|noun| noun.text().to_owned()).unwrap_or_default(),
        cause: if cause.kind() == fleet::Kind::Org { cause.org.clone() } else { cause.id.clone() },
        cause_name: String::new(),
        why: refusal.why,
        detail: refusal.detail.clone(),
    });
}

/// A sentence about the responses that callers get because of refusals; none where no proxy is affected.
pub(super) fn sentence(noun: Noun, answer_: &fleet::ExplainResourceResponse) -> Option<String> {
    let all = || answer_.regions.iter().flat_map(|region| &region.harms);
    let worst = all().min_by_key(|harm| weight(harm.harm()))?;
    let alike = || all().filter(|harm| weight(harm.harm()) == weight(worst.harm()));
    let nodes: BTreeSet<&str> = alike().map(|harm| harm.node.as_str()).collect();
    let proxies: BTreeSet<&str> = alike().map(|harm| harm.name.as_str()).collect();
    let causes: BTreeSet<(&str, &str)> =
        alike().map(|harm| (harm.cause_kind.as_str(), harm.cause_name.as_str())).collect();
    let connected: u32 = answer_.regions.iter().map(|region| region.connected).sum();
    let gets = answer(worst.harm());
    let detail = if worst.detail.is_empty() { String::new() } else { format!(": {}", worst.detail) };
    let refused = format!(
        "{} refuses {} {:?} ({}{detail})",
        worst.node,
        worst.cause_kind,
        worst.cause_name,
        word::why(worst.why())
    );
    let more = |count: usize, what: &str| match count.saturating_sub(1) {
        0 => String::new(),
        more => format!(" and {more} more{what}"),
    };
    let on = format!("on {} of {connected} connected nodes", nodes.len());
    Some(if noun == Noun::Proxy {
        let causes = more(causes.len(), " of what it needs");
        format!("callers of proxy {:?} {gets} {on}: {refused}{causes}", answer_.name)
    } else {
        let others = more(proxies.len(), "");
        let causes = more(causes.len(), "");
        format!("{refused}{causes}, so callers of proxy {:?}{others} {gets} {on}", worst.name)
    })
}

#[cfg(test)]
mod tests;
