//! Whether the secret of an upstream credential may go where a proxy would send it, as far as the label of its seal says.
//!
//! Opens no seal: nodes go by that, and this spares them requests that they would answer with 502. A credential whose label
//! names no origin is not looked at. The invariant: after a write, whatever it changed of a proxy, its target or its credential,
//! the label covers every base URL of the target, with its certificates, and the `Host` that the proxy sends.

use std::collections::{HashMap, HashSet};

use prost::Message as _;
use rr_contract::model::origin::{BaseUrl, Origin};
use rr_contract::model::seal_label::{Misses, SealLabel};
use rr_contract::model::tls::CaBundle;
use rr_contract::wire::management::{self as wire, Document, UpstreamKind, credential::Usage};

use super::error::Precondition;
use super::{Reason, ServiceError};
use crate::document::{Part, Resource};
use crate::noun::Noun;
use crate::store::{self, Put, Reader, StoreError};

/// The organization that is written to.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) id: &'a str,
    /// As commands name it.
    pub(super) name: &'a str,
}

/// What a write is about to store, by id.
#[derive(Default)]
struct Written {
    proxies: HashMap<String, wire::Proxy>,
    targets: HashMap<String, wire::Target>,
    credentials: HashMap<String, wire::Credential>,
}

/// Refuses a write after which a proxy's target could not get the secret of its credential.
pub(super) async fn check(db: &impl Reader, org: At<'_>, puts: &[Put]) -> Result<(), ServiceError> {
    let mut written = Written::default();
    let mut users = Vec::new();
    for put in puts {
        match put.noun {
            Noun::Proxy => keep(&mut written.proxies, put)?,
            Noun::Target => keep(&mut written.targets, put)?,
            Noun::Credential => keep(&mut written.credentials, put)?,
            _ => continue,
        }
        if put.before.is_some() {
            match put.noun {
                Noun::Target => users.push((Part::Target, put)),
                Noun::Credential => users.push((Part::Upstream, put)),
                _ => {}
            }
        }
    }
    for (part, put) in users {
        for (_, proxy) in store::resource::users_as::<wire::Proxy>(db, part, put.noun, &put.id).await? {
            written.proxies.entry(proxy.id.clone()).or_insert(proxy);
        }
    }
    let Written { proxies, mut targets, mut credentials } = written;
    add(db, org.id, &mut targets, proxies.values().map(|proxy| &*proxy.target)).await?;
    add(db, org.id, &mut credentials, proxies.values().map(|proxy| &*proxy.upstream_credential)).await?;
    let labels: HashMap<&str, SealLabel> =
        credentials.iter().filter_map(|(id, credential)| Some((&**id, label_of(credential)?))).collect();
    let mut missed: Vec<Missed<'_>> = proxies
        .values()
        .filter_map(|proxy| {
            let credential = credentials.get(&proxy.upstream_credential)?;
            let target = targets.get(&proxy.target)?;
            let (wrong, option) = misses(labels.get(&*credential.id)?, target, proxy)?;
            Some(Missed { proxy, target, credential, wrong, option })
        })
        .collect();
    missed.sort_by(|a, b| a.proxy.name.cmp(&b.proxy.name));
    if missed.is_empty() { Ok(()) } else { Err(refused(org.name, &missed)) }
}

/// A proxy whose target the secret could not go to.
struct Missed<'a> {
    proxy: &'a wire::Proxy,
    target: &'a wire::Target,
    credential: &'a wire::Credential,
    wrong: String,
    option: String,
}

fn keep<R: Resource>(kept: &mut HashMap<String, R>, put: &Put) -> Result<(), StoreError> {
    let document = Document::decode(put.document.bytes().as_ref()).ok().and_then(R::unwrap);
    kept.insert(put.id.clone(), document.ok_or(StoreError::Damaged("document"))?);
    Ok(())
}

/// Adds those that are stored, and not written.
async fn add<'a, R: Resource>(
    db: &impl Reader,
    org: &str,
    known: &mut HashMap<String, R>,
    wanted: impl Iterator<Item = &'a str>,
) -> Result<(), StoreError> {
    let missing: HashSet<&str> = wanted.filter(|id| !known.contains_key(*id)).collect();
    let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
    let rows = store::resource::find_all(db, R::NOUN, org, &missing).await?;
    for stored in store::resource::with_documents::<R>(db, rows).await? {
        known.insert(stored.row.id, stored.document);
    }
    Ok(())
}

fn label_of(credential: &wire::Credential) -> Option<SealLabel> {
    let Some(Usage::Upstream(upstream)) = &credential.usage else { return None };
    // It was checked when it came.
    SealLabel::try_from(upstream.label.clone()?).ok()
}

/// Why the secret could not go to a base URL of the target, or to the host that the proxy names, and how `rrctl` is told to
/// seal it for that.
fn misses(label: &SealLabel, target: &wire::Target, proxy: &wire::Proxy) -> Option<(String, String)> {
    // Texts that cannot be read are refused elsewhere.
    let ca = if target.ca.is_empty() { None } else { Some(*target.ca.parse::<CaBundle>().ok()?.hash()) };
    let host = proxy.rewrite.as_ref().map(|rewrite| &*rewrite.host).filter(|host| !host.is_empty());
    let urls = std::iter::once(&target.base_url).chain(&target.more_base_urls);
    for url in urls.filter_map(|text| text.parse::<BaseUrl>().ok()) {
        let origin = Origin::of(&url);
        match label.reaches(&url, ca.as_ref()) {
            Ok(()) => {}
            Err(Misses::Origin) => {
                return Some((format!("is not sealed for {origin}"), format!("--origin {origin}")));
            }
            Err(Misses::Ca) if ca.is_some() => {
                return Some((
                    "is not sealed for the certificates (`ca`) of the target".to_owned(),
                    format!("--origin {origin} --ca FILE"),
                ));
            }
            Err(Misses::Ca) => {
                let wrong = "is sealed for certificates (`ca`), and the target has none of its own";
                return Some((wrong.to_owned(), format!("--origin {origin}` and without `--ca")));
            }
        }
        let sent =
            host.and_then(|host| format!("{}://{host}", url.scheme().as_str()).parse::<BaseUrl>().ok());
        if let Some(sent) = sent.filter(|sent| label.reaches(sent, ca.as_ref()).is_err()) {
            let origin = Origin::of(&sent);
            let wrong = format!("is not sealed for {origin}, which the proxy names in `rewrite.host`");
            return Some((wrong, format!("--origin {origin}")));
        }
    }
    None
}

fn refused(org: &str, missed: &[Missed<'_>]) -> ServiceError {
    let said = |missed: &Missed<'_>| {
        let name = &missed.credential.name;
        format!(
            "the secret of credential {name:?} {}, so proxy {:?} could not send it to target {:?}: seal it for that, and \
             for wherever else it goes, with `rrctl --org {org} credential replace-secret {name} {}`{}",
            missed.wrong,
            missed.proxy.name,
            missed.target.name,
            missed.option,
            form(missed.credential)
        )
    };
    let first = said(&missed[0]);
    let more = if missed.len() > 1 { format!(" ({} proxies in all)", missed.len()) } else { String::new() };
    ServiceError::Refused {
        reason: Reason::NotSealedForTarget,
        text: first + &more,
        preconditions: missed
            .iter()
            // By name: a proxy that is refused has an id that nobody will see again.
            .map(|missed| Precondition {
                subject: format!("proxies/{}", missed.proxy.name),
                text: said(missed),
            })
            .collect(),
    }
}

/// The flags of `rrctl credential replace-secret` that a credential needs again, because only its seal knows them.
pub(super) fn form(credential: &wire::Credential) -> String {
    let Some(Usage::Upstream(upstream)) = &credential.usage else { return String::new() };
    let (kind, flags) = match upstream.kind() {
        UpstreamKind::Unspecified | UpstreamKind::None | UpstreamKind::Bearer | UpstreamKind::Jwt => {
            return String::new();
        }
        UpstreamKind::ApiKey => ("api-key", "`--header NAME` or `--query NAME`"),
        UpstreamKind::Basic => ("basic", "`--user USER`"),
        UpstreamKind::CustomHeaders => ("custom-headers", "`--set-header NAME` for each"),
        UpstreamKind::Oauth2ClientCredentials => {
            ("oauth2-client-credentials", "`--token-url URL --client-id ID`")
        }
        UpstreamKind::JwtBearer => ("jwt-bearer", "`--token-url URL --issuer NAME`"),
        UpstreamKind::CustomToken => ("custom-token", "`--token-url URL --token-path PATH`"),
        UpstreamKind::AwsSigv4 => ("aws-sigv4", "`--access-key-id ID --aws-region REGION --service NAME`"),
        UpstreamKind::Hmac => ("hmac", "`--text TEXT --sign-header NAME=TEXT`"),
        UpstreamKind::ClientCertificate => ("client-certificate", "`--certificate FILE`"),
    };
    format!(", which for kind {kind} takes {flags} too")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_of(kind: UpstreamKind) -> String {
        let upstream = wire::Upstream { kind: kind.into(), ..wire::Upstream::default() };
        form(&wire::Credential { usage: Some(Usage::Upstream(upstream)), ..wire::Credential::default() })
    }

    #[test]
    fn a_remedy_names_the_flags_that_the_kind_of_a_secret_needs_again() {
        assert_eq!(form_of(UpstreamKind::Basic), ", which for kind basic takes `--user USER` too");
        assert!(form_of(UpstreamKind::ApiKey).contains("`--header NAME` or `--query NAME`"));
        for kind in [UpstreamKind::Bearer, UpstreamKind::Jwt, UpstreamKind::None] {
            assert_eq!(form_of(kind), "", "{kind:?} needs nothing more");
        }
    }
}
