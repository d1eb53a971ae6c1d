//! The mix of the standard load as documents of one organization: 10,000 proxies and credentials, 50,000 rules.
//!
//! The same seed gives the same documents. Names stand for ids, as people write them. Upstream credentials are not
//! sealed: whoever uses them seals them, to an installation that is only known then.

use rr_contract::model::id::CredentialId;
use rr_contract::wire::fleet;
use rr_contract::wire::management::{self as mg, Document, document::Resource};

use super::{Dice, when};

/// How many of each there are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Targets.
    pub targets: usize,
    /// Credentials: two callers' for each upstream's.
    pub credentials: usize,
    /// Proxies.
    pub proxies: usize,
    /// Rules.
    pub rules: usize,
}

/// What one organization is asked to hold.
pub const FULL: Size = Size { targets: 6_667, credentials: 10_000, proxies: 10_000, rules: 50_000 };

/// All of it: what is named comes before what names it.
pub fn documents(seed: u64, region: &str, size: Size) -> Vec<Document> {
    let mut dice = Dice::new(seed);
    let mut out = Vec::with_capacity(size.targets + size.credentials + size.proxies + size.rules);
    let mut push = |resource| out.push(Document { resource: Some(resource) });
    for n in 0..size.targets {
        let path = dice.words(520).replace(' ', "/");
        push(Resource::Target(mg::Target {
            name: format!("target-{n}"),
            base_url: format!("https://api-{n}.upstream.example/{path}"),
            ..mg::Target::default()
        }));
    }
    let (mut callers, mut upstreams) = (Vec::new(), Vec::new());
    for n in 0..size.credentials {
        let is_upstream = n % 3 == 2;
        let names = if is_upstream { &mut upstreams } else { &mut callers };
        names.push(format!("{}-{n}", if is_upstream { "upstream" } else { "caller" }));
        push(Resource::Credential(mg::Credential {
            id: if is_upstream { CredentialId::from_random(dice.id()).to_string() } else { String::new() },
            name: names.last().cloned().unwrap_or_default(),
            version: 1,
            usage: Some(if is_upstream {
                let kind = mg::UpstreamKind::Bearer.into();
                mg::credential::Usage::Upstream(mg::Upstream { kind, ..mg::Upstream::default() })
            } else {
                let kind = mg::CallerKind::ApiKey.into();
                mg::credential::Usage::Caller(mg::Caller { kind, ..mg::Caller::default() })
            }),
            ..mg::Credential::default()
        }));
    }
    for n in 0..size.proxies {
        // A run of neighbours, so that none is there twice.
        let first = dice.below(callers.len());
        let count = (20 + dice.below(20)).min(callers.len());
        push(Resource::Proxy(mg::Proxy {
            name: format!("proxy-{n}"),
            caller_credentials: (0..count).map(|i| callers[(first + i) % callers.len()].clone()).collect(),
            target: format!("target-{}", dice.below(size.targets)),
            upstream_credential: upstreams[dice.below(upstreams.len())].clone(),
            regions: vec![region.to_owned()],
            ..mg::Proxy::default()
        }));
    }
    for n in 0..size.rules {
        let proxy = dice.below(size.proxies);
        let notes = dice.words(480);
        push(Resource::Rule(mg::Rule {
            name: format!("rule-{n}"),
            parent: Some(mg::rule::Parent::Proxy(format!("proxy-{proxy}"))),
            effect: if n.is_multiple_of(3) { fleet::Effect::Deny } else { fleet::Effect::Allow }.into(),
            priority: (n % 1000) as u32,
            when: Some(when(&mut dice, n)),
            notes,
            ..mg::Rule::default()
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_documents_and_another_others() {
        let size = Size { targets: 10, credentials: 9, proxies: 5, rules: 100 };
        let made = documents(1, "eu", size);
        assert_eq!(made.len(), 124);
        assert!(made == documents(1, "eu", size));
        assert!(made != documents(2, "eu", size));
    }
}
