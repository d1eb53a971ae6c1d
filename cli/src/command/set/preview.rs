//! A set as a preview of itself: the same proxies under other names, with their targets, rules, filters and meters, and
//! with a caller of their own.
//!
//! Takes no secret: proxies of a preview use the upstream credentials that are there. The invariant: nothing of a preview
//! bears the name of a resource that is none of it.

use std::collections::HashSet;

use anyhow::Result;
use rr_contract::model::name::Name;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;

use super::file::{FileDocument, Location};
use crate::fault;

/// What the names of the callers of previews begin with.
const CALLERS: &str = "preview--";

/// The name of a resource in a preview.
fn staged(name: &str, preview: &Name) -> String {
    format!("{name}--{preview}")
}

/// Turns the documents of a set into those of a preview. Returns what is left out: what belongs to a credential, or to
/// something that is not in the files.
pub(in crate::command) fn stage(documents: &mut Vec<FileDocument>, preview: &Name) -> Result<Vec<String>> {
    let names = |kind: &str| -> HashSet<String> {
        let named = documents.iter().map(|one| rr_contract::document::label(&one.document));
        named.filter(|(of, _)| *of == kind).map(|(_, name)| name.to_owned()).collect()
    };
    let own = Own { targets: names("target"), proxies: names("proxy"), preview };
    if own.proxies.is_empty() {
        return Err(fault::usage(
            "the files hold no proxy, so there is nothing to call",
            "a preview is of proxies, with what they need",
        ));
    }
    let mut left = Vec::new();
    let caller = format!("{CALLERS}{preview}");
    documents.retain_mut(|one| own.put(&mut one.document, &caller, &mut left));
    let location = documents.first().map(|one| one.location.clone());
    documents.extend(location.map(|location| the_caller(caller, location)));
    Ok(left)
}

/// The credential that calls proxies of the preview.
fn the_caller(name: String, location: Location) -> FileDocument {
    let caller = mg::Caller { kind: mg::CallerKind::ApiKey.into(), ..mg::Caller::default() };
    let usage = Some(Usage::Caller(caller));
    let resource = Some(Resource::Credential(mg::Credential { name, usage, ..mg::Credential::default() }));
    FileDocument { document: mg::Document { resource }, location, value_from: None }
}

/// What a preview has of its own.
struct Own<'p> {
    targets: HashSet<String>,
    proxies: HashSet<String>,
    preview: &'p Name,
}

impl Own<'_> {
    /// Puts a document into the preview; `false`: it is none of it.
    fn put(&self, document: &mut mg::Document, caller: &str, left: &mut Vec<String>) -> bool {
        match &mut document.resource {
            Some(Resource::Target(it)) => self.rename(&mut it.id, &mut it.name, &mut it.owner),
            Some(Resource::Proxy(it)) => {
                self.rename(&mut it.id, &mut it.name, &mut it.owner);
                self.refer(&self.targets, &mut it.target);
                it.caller_credentials = vec![caller.to_owned()];
                true
            }
            Some(Resource::Rule(it)) => {
                use mg::rule::Parent;
                let is_own = match &mut it.parent {
                    Some(Parent::Proxy(to)) => self.refer(&self.proxies, to),
                    Some(Parent::Target(to)) => self.refer(&self.targets, to),
                    Some(Parent::Credential(_)) | None => false,
                };
                if !is_own {
                    left.push(format!("rule {}", it.name));
                }
                is_own && self.rename(&mut it.id, &mut it.name, &mut it.owner)
            }
            Some(Resource::Filter(it)) => {
                use mg::filter::Parent;
                let is_own = match &mut it.parent {
                    Some(Parent::Proxy(to)) => self.refer(&self.proxies, to),
                    Some(Parent::Target(to)) => self.refer(&self.targets, to),
                    Some(Parent::Credential(_)) | None => false,
                };
                if !is_own {
                    left.push(format!("filter {}", it.name));
                }
                is_own && self.rename(&mut it.id, &mut it.name, &mut it.owner)
            }
            Some(Resource::Meter(it)) => {
                let is_own = self.refer(&self.proxies, &mut it.proxy);
                if !is_own {
                    left.push(format!("meter {}", it.name));
                }
                is_own && self.rename(&mut it.id, &mut it.name, &mut it.owner)
            }
            _ => false,
        }
    }

    fn rename(&self, id: &mut String, name: &mut String, owner: &mut String) -> bool {
        id.clear();
        owner.clear();
        *name = staged(name, self.preview);
        true
    }

    /// Names the preview's own in the place of the real one; `false`: it has none.
    fn refer(&self, own: &HashSet<String>, to: &mut String) -> bool {
        let is_own = own.contains(to);
        if is_own {
            *to = staged(to, self.preview);
        }
        is_own
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::super::file;
    use super::super::fill::Fill;
    use super::*;

    const SET: &str = "\
kind: target
name: pay
base_url: https://pay.example.com
---
kind: credential
name: app
caller: {kind: api-key}
---
kind: credential
name: pay-token
upstream: {kind: bearer}
---
kind: proxy
name: pay
owner: git
caller_credentials: [app]
target: pay
upstream_credential: pay-token
regions: [eu]
---
kind: proxy
name: mail
caller_credentials: [app]
target: mail
upstream_credential: mail-token
regions: [eu]
---
{kind: rule, name: read, proxy: pay, effect: allow}
---
{kind: rule, name: of-app, credential: app, effect: deny}
---
{kind: rule, name: of-other, proxy: other, effect: deny}
---
{kind: filter, name: no-iban, target: pay, action: destroy, paths: [iban]}
---
{kind: filter, name: of-mail, target: mail, action: destroy, paths: [iban]}
---
{kind: meter, name: calls, proxy: pay, requests: {}}
---
{kind: meter, name: other-calls, proxy: other, requests: {}}
";

    fn staged_set(text: &str) -> Result<(Vec<mg::Document>, Vec<String>)> {
        let mut documents =
            file::parse(Path::new("x.yaml"), text, &Fill::nothing(), &Arc::default()).expect("documents");
        let left = stage(&mut documents, &"pr-1".parse().expect("a name"))?;
        Ok((documents.into_iter().map(|one| one.document).collect(), left))
    }

    #[test]
    fn a_preview_has_its_own_of_everything_but_upstream_credentials() {
        let (documents, left) = staged_set(SET).expect("a preview");
        let names: Vec<String> = documents
            .iter()
            .map(|one| {
                let (kind, name) = rr_contract::document::label(one);
                format!("{kind} {name}")
            })
            .collect();
        assert_eq!(
            names,
            [
                "target pay--pr-1",
                "proxy pay--pr-1",
                "proxy mail--pr-1",
                "rule read--pr-1",
                "filter no-iban--pr-1",
                "meter calls--pr-1",
                "credential preview--pr-1"
            ]
        );
        assert_eq!(left, ["rule of-app", "rule of-other", "filter of-mail", "meter other-calls"]);
        let proxies: Vec<&mg::Proxy> = documents
            .iter()
            .filter_map(|one| match &one.resource {
                Some(Resource::Proxy(proxy)) => Some(proxy),
                _ => None,
            })
            .collect();
        for proxy in &proxies {
            assert_eq!(
                (proxy.caller_credentials.as_slice(), &*proxy.owner),
                (&["preview--pr-1".to_owned()][..], "")
            );
        }
        assert_eq!((&*proxies[0].target, &*proxies[0].upstream_credential), ("pay--pr-1", "pay-token"));
        assert_eq!((&*proxies[1].target, &*proxies[1].upstream_credential), ("mail", "mail-token"));
    }

    #[test]
    fn nothing_of_a_preview_has_a_parent_that_is_none_of_it() {
        let (documents, _) = staged_set(SET).expect("a preview");
        for document in &documents {
            let parent = match &document.resource {
                Some(Resource::Rule(rule)) => match &rule.parent {
                    Some(mg::rule::Parent::Proxy(to) | mg::rule::Parent::Target(to)) => to,
                    other => panic!("{other:?}"),
                },
                Some(Resource::Filter(filter)) => match &filter.parent {
                    Some(mg::filter::Parent::Proxy(to) | mg::filter::Parent::Target(to)) => to,
                    other => panic!("{other:?}"),
                },
                Some(Resource::Meter(meter)) => &meter.proxy,
                _ => continue,
            };
            assert!(parent.ends_with("--pr-1"), "{parent}");
        }
    }

    #[test]
    fn a_set_without_a_proxy_is_no_preview() {
        assert!(staged_set("{kind: target, name: a, base_url: 'https://a'}").is_err());
    }
}
