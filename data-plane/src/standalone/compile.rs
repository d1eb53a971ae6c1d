//! Documents to resources: the payloads that a control plane would send, by ids that follow from names.
//!
//! Seals nothing and judges no payload, but for callers that could not be told apart (`alike`). The invariant: all faults of a file are found at once.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use prost::Message as _;
use rr_contract::file::value_from::ValueFrom;
use rr_contract::model::id::{FilterId, MeterId, OrgId, RegionId, RuleId};
use rr_contract::model::name::Name;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;
use serde::Deserialize;

use super::alike;
use super::document::{Credential, Filter, Meter, Proxy, Rule, Target};
use super::fault::Faults;
use super::message::{self, Body, Entry};
use super::name::{Names, derive};
use super::node::Node;
use super::secret::{Lives, Place};

const KINDS: &str = "target, credential, proxy, rule, filter or meter";

/// Where the resources of a file belong.
pub(super) struct Home<'a> {
    pub(super) org: &'a Name,
    pub(super) region: RegionId,
}

/// The resources of a file, before values are sealed.
pub(super) struct Draft {
    pub(super) entries: Vec<Entry>,
    pub(super) counts: Counts,
    /// Addresses to try, in the order of the file.
    pub(super) addresses: Vec<Address>,
}
/// How many resources of each kind there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Targets.
    pub targets: usize,
    /// Credentials of either use.
    pub credentials: usize,
    /// Proxies.
    pub proxies: usize,
    /// Rules.
    pub rules: usize,
    /// Filters.
    pub filters: usize,
    /// Meters.
    pub meters: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { targets, credentials, proxies, rules, filters, meters } = self;
        write!(
            f,
            "targets {targets}, credentials {credentials}, proxies {proxies}, rules {rules}, filters {filters}, meters {meters}"
        )
    }
}

/// A proxy that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its name.
    pub proxy: String,
    /// The base URL of its target.
    pub target: String,
    /// Where its first caller finds the key, for a shell: `$(cat FILE)`, `$NAME`, or `$KEY`.
    pub key: String,
}

enum Said {
    Target(Box<Target>),
    Credential(Box<Credential>),
    Proxy(Box<Proxy>),
    Rule(Box<Rule>),
    Filter(Box<Filter>),
    Meter(Box<Meter>),
}

/// Reads a document.
fn read(node: &Node, faults: &mut Faults) -> Option<Said> {
    fn said<'de, T: Deserialize<'de>>(node: &'de Node, faults: &mut Faults) -> Option<T> {
        node.read().map_err(|mistake| faults.mistake(node.line, &mistake)).ok()
    }
    match node.text("kind") {
        Some("target") => said(node, faults).map(Box::new).map(Said::Target),
        Some("credential") => said(node, faults).map(Box::new).map(Said::Credential),
        Some("proxy") => said(node, faults).map(Box::new).map(Said::Proxy),
        Some("rule") => said(node, faults).map(Box::new).map(Said::Rule),
        Some("filter") => said(node, faults).map(Box::new).map(Said::Filter),
        Some("meter") => said(node, faults).map(Box::new).map(Said::Meter),
        Some(_) => {
            faults.field(node, "kind", format_args!("is none that can be served: give {KINDS}"));
            None
        }
        None => {
            faults.add(node.line, format!("kind is missing: give {KINDS}"));
            None
        }
    }
}

/// Whether the fields of a document are such as a file may have.
pub(super) fn is_taken(node: &Node, faults: &mut Faults) -> bool {
    read(node, faults).is_some()
}

/// Compiles the documents of a file.
pub(super) fn compile(nodes: Vec<Node>, home: &Home<'_>, place: &Place<'_>, faults: &mut Faults) -> Draft {
    let org = org_of(&nodes, home.org, faults);
    let mut said: Vec<(Node, Said)> = Vec::with_capacity(nodes.len());
    let mut names = Names::new(org);
    for node in nodes {
        match read(&node, faults) {
            Some(document) => said.push((node, document)),
            None => names.pass(&node),
        }
    }
    // All that is referred to comes first: documents refer to each other in any order.
    let keys: Vec<Option<Key>> = said
        .iter()
        .map(|(node, said)| match said {
            Said::Target(it) => names.take("target", (&it.id, &it.name), node, faults),
            Said::Credential(it) => names.take("credential", (&it.id, &it.name), node, faults),
            Said::Proxy(it) => names.take("proxy", (&it.id, &it.name), node, faults),
            Said::Rule(_) | Said::Filter(_) | Said::Meter(_) => None,
        })
        .collect();
    let known = Known::of(&said, place.folder);
    let mut compiler = Compiler { home, place, names, faults };
    let (mut counts, mut entries) = (Counts::default(), Vec::with_capacity(said.len() + 1));
    let message = fleet::OrgResource { name: home.org.to_string(), suspended: false };
    let body = Body::Payload(message.encode_to_vec());
    entries.push(Entry { key: Key::org(org), body, node: None });
    for ((node, said), key) in said.into_iter().zip(keys) {
        counts.add(&said);
        if let Some((key, body)) = compiler.resource(said, key, &node, &known) {
            entries.push(Entry { key, body, node: Some(node) });
        }
    }
    alike::check(&entries, compiler.faults);
    if counts.proxies == 0 {
        // An editor may have cut the file off, or be about to write it.
        compiler.faults.add(1, "there is no proxy in the file: nothing would be served");
    }
    Draft { entries, counts, addresses: known.addresses }
}

/// The id of the organization: that of the documents where they name one, or the id that follows from its name.
fn org_of(nodes: &[Node], name: &Name, faults: &mut Faults) -> OrgId {
    let derived = OrgId::from_random(derive(&[b"org", name.as_str().as_bytes()]));
    let mut org = None;
    for node in nodes {
        let Some(said) = node.text("org").and_then(|text| text.parse::<OrgId>().ok()) else { continue };
        if *org.get_or_insert(said) != said {
            faults.field(
                node,
                "org",
                "is another than in the documents before; one file is of one organization",
            );
        }
    }
    org.unwrap_or(derived)
}

impl Counts {
    fn add(&mut self, said: &Said) {
        *match said {
            Said::Target(_) => &mut self.targets,
            Said::Credential(_) => &mut self.credentials,
            Said::Proxy(_) => &mut self.proxies,
            Said::Rule(_) => &mut self.rules,
            Said::Filter(_) => &mut self.filters,
            Said::Meter(_) => &mut self.meters,
        } += 1;
    }
}

/// What documents say of each other.
struct Known {
    /// Targets by their name.
    targets: HashMap<String, Lives>,
    /// Credentials by name, and by the id that they bring: whether they are for upstreams.
    is_upstream: HashMap<String, bool>,
    addresses: Vec<Address>,
}

impl Known {
    fn of(said: &[(Node, Said)], folder: &Path) -> Self {
        let mut known = Self { targets: HashMap::new(), is_upstream: HashMap::new(), addresses: Vec::new() };
        let mut keys = HashMap::new();
        for (_, said) in said {
            match said {
                Said::Target(it) => {
                    let urls = std::iter::once(&it.base_url).chain(&it.more_base_urls).cloned().collect();
                    known.targets.insert(it.name.clone(), Lives { urls, ca: it.ca.clone() });
                }
                Said::Credential(it) => {
                    known.is_upstream.insert(it.name.clone(), it.upstream.is_some());
                    known.is_upstream.insert(it.id.clone(), it.upstream.is_some());
                    keys.insert(it.name.as_str(), in_shell(it.value_from.as_ref(), folder));
                }
                Said::Proxy(_) | Said::Rule(_) | Said::Filter(_) | Said::Meter(_) => {}
            }
        }
        for (_, said) in said {
            if let Said::Proxy(proxy) = said {
                let key = proxy.caller_credentials.first().and_then(|name| keys.get(name.as_str()));
                let target = known.targets.get(&proxy.target);
                known.addresses.push(Address {
                    proxy: proxy.name.clone(),
                    target: target.and_then(|lives| lives.urls.first()).cloned().unwrap_or_default(),
                    key: key.cloned().unwrap_or_else(|| in_shell(None, folder)),
                });
            }
        }
        known
    }
}

fn in_shell(from: Option<&ValueFrom>, folder: &Path) -> String {
    match from {
        Some(ValueFrom { file: Some(file), .. }) => format!("$(cat {})", folder.join(file).display()),
        Some(ValueFrom { env: Some(name), .. }) => format!("${name}"),
        Some(_) | None => "$KEY".to_owned(),
    }
}

struct Compiler<'a> {
    home: &'a Home<'a>,
    place: &'a Place<'a>,
    names: Names,
    faults: &'a mut Faults,
}

impl Compiler<'_> {
    fn resource(&mut self, said: Said, key: Option<Key>, node: &Node, known: &Known) -> Option<(Key, Body)> {
        let payload = |message: Vec<u8>| Body::Payload(message);
        Some(match said {
            Said::Target(it) => (key?, payload(message::target(*it, node, self.faults)?.encode_to_vec())),
            Said::Credential(it) => {
                (key?, message::credential(*it, node, self.place, &known.targets, self.faults)?)
            }
            Said::Proxy(it) => (key?, payload(self.proxy(*it, node, known)?.encode_to_vec())),
            Said::Rule(it) => {
                let parent = self.parent([&it.proxy, &it.target, &it.credential], node)?;
                let id = |_| ResourceId::Rule(RuleId::from_random(child("rule", &parent, &it.name)));
                let given = |text: &str| text.parse().ok().map(ResourceId::Rule);
                let key = self.names.settle("rule", (&it.id, &it.name), node, self.faults, given, id)?;
                (key, payload(message::rule(*it, &parent).encode_to_vec()))
            }
            Said::Filter(it) => {
                let parent = self.parent([&it.proxy, &it.target, &it.credential], node)?;
                let id = |_| ResourceId::Filter(FilterId::from_random(child("filter", &parent, &it.name)));
                let given = |text: &str| text.parse().ok().map(ResourceId::Filter);
                let key = self.names.settle("filter", (&it.id, &it.name), node, self.faults, given, id)?;
                (key, payload(message::filter(*it, &parent).encode_to_vec()))
            }
            Said::Meter(it) => {
                let parent = self.names.find("proxy", &it.proxy, (node, "proxy"), self.faults)?;
                let id = |_| ResourceId::Meter(MeterId::from_random(child("meter", &parent, &it.name)));
                let given = |text: &str| text.parse().ok().map(ResourceId::Meter);
                let key = self.names.settle("meter", (&it.id, &it.name), node, self.faults, given, id)?;
                (key, payload(message::meter(*it, &parent, node, self.faults)?.encode_to_vec()))
            }
        })
    }

    fn proxy(&mut self, mut said: Proxy, node: &Node, known: &Known) -> Option<fleet::ProxyResource> {
        let mut callers = Vec::with_capacity(said.caller_credentials.len());
        for (at, name) in said.caller_credentials.iter().enumerate() {
            let field = format!("caller_credentials[{at}]");
            let found = self.names.find("credential", name, (node, &field), self.faults);
            if known.is_upstream.get(name) == Some(&true) {
                self.faults.field(node, &field, "is an upstream credential: name a caller credential");
            }
            callers.extend(found.map(|key| key.id_text()));
        }
        if known.is_upstream.get(&said.upstream_credential) == Some(&false) {
            let what = "is a caller credential: name an upstream credential";
            self.faults.field(node, "upstream_credential", what);
        }
        let target = self.names.find("target", &said.target, (node, "target"), self.faults);
        let field = "upstream_credential";
        let upstream = self.names.find("credential", &said.upstream_credential, (node, field), self.faults);
        if said.recording.as_ref().is_some_and(|recording| recording.durable) {
            let what = "asks for records that are waited for, and a node without a control plane keeps none: leave durable out";
            self.faults.field(node, "recording", what);
        }
        let validation = message::validation(said.validation.take(), node, self.faults);
        let (target, upstream) = (target?.id_text(), upstream?.id_text());
        (callers.len() == said.caller_credentials.len())
            .then(|| message::proxy(said, callers, target, upstream, self.home.region, validation))
    }

    /// The proxy, target or credential that a rule or filter belongs to.
    fn parent(&mut self, said: [&Option<String>; 3], node: &Node) -> Option<Key> {
        let mut named = ["proxy", "target", "credential"].into_iter().zip(said).filter_map(|(kind, name)| {
            let name = name.as_deref()?;
            Some((kind, name))
        });
        let (Some((kind, name)), None) = (named.next(), named.next()) else {
            self.faults.add(node.line, "belongs to one of them: name a proxy, a target or a credential");
            return None;
        };
        self.names.find(kind, name, (node, kind), self.faults)
    }
}

/// The id of a rule, filter or meter, whose name is unique in its parent alone.
fn child(kind: &str, parent: &Key, name: &str) -> [u8; 16] {
    derive(&[parent.org.as_bytes(), kind.as_bytes(), parent.id_text().as_bytes(), name.as_bytes()])
}
