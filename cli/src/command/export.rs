//! `rrctl export`: an organization as a file for `rrctl apply`. References are names, and no secret is in the file.

use anyhow::Result;
use clap::Args;
use rr_contract::document::Exported;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::document::Resource;

use crate::command::names::Names;
use crate::command::{credential, filter, meter, proxy, region, rule, target};
use crate::connect::Connection;
use crate::flags::page::Listing;
use crate::print::line_out;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Writes only resources with this label.
    #[arg(long, value_name = "LABEL")]
    owner: Option<String>,
}

impl ExportArgs {
    pub(crate) async fn run(self, session: Session) -> Result<()> {
        let org = session.org()?;
        let connection = session.endpoint.connect().await?;
        let mut written = Vec::new();
        for document in read(&connection, &org, self.owner.as_deref()).await? {
            written.push(Exported::new(&document)?);
        }
        if session.print.is_data() {
            return session.print.data(&written);
        }
        line_out(
            "# For `rrctl apply`. It holds no secrets: an apply leaves the secrets of existing credentials as they are.",
        )?;
        for one in &written {
            line_out(&format!("---\n{}", serde_saphyr::to_string(one)?.trim_end()))?;
        }
        Ok(())
    }
}

/// Every resource of an organization that an apply takes.
async fn read(connection: &Connection, org: &str, owner: Option<&str>) -> Result<Vec<mg::Document>> {
    let all = Listing::default();
    let targets = target::list(connection.clone(), org, &all).await?;
    let credentials = credential::list(connection.clone(), org, &all).await?;
    let proxies = proxy::list(connection.clone(), org, &all).await?;
    let mut names = Names::default();
    names.learn(targets.iter().map(|one| (one.id.clone(), one.name.clone())));
    names.learn(credentials.iter().map(|one| (one.id.clone(), one.name.clone())));
    names.learn(proxies.iter().map(|one| (one.id.clone(), one.name.clone())));
    let regions = region::list(connection.clone()).await?;
    names.learn(regions.iter().map(|one| (one.id.clone(), one.name.clone())));
    let mut found: Vec<Resource> = Vec::new();
    found.extend(targets.into_iter().map(Resource::Target));
    found.extend(credentials.into_iter().map(Resource::Credential));
    found.extend(proxies.into_iter().map(Resource::Proxy));
    found.extend(rule::list(connection.clone(), org, &all).await?.into_iter().map(Resource::Rule));
    found.extend(filter::list(connection.clone(), org, &all).await?.into_iter().map(Resource::Filter));
    found.extend(meter::list(connection.clone(), org, &all).await?.into_iter().map(Resource::Meter));
    let documents = found.into_iter().filter_map(|resource| {
        let (resource, bears) = plain(resource, &names);
        owner.is_none_or(|owner| bears == owner).then_some(mg::Document { resource: Some(resource) })
    });
    Ok(documents.collect())
}

/// A resource without the fields that the control plane sets, and its owner.
fn plain(resource: Resource, names: &Names) -> (Resource, String) {
    match resource {
        Resource::Target(mut one) => {
            clear([&mut one.id, &mut one.org, &mut one.etag, &mut one.created_by]);
            (one.created_at, one.updated_at) = (None, None);
            let owner = one.owner.clone();
            (Resource::Target(one), owner)
        }
        Resource::Credential(mut one) => {
            clear([&mut one.id, &mut one.org, &mut one.etag, &mut one.created_by]);
            (one.created_at, one.updated_at, one.version, one.last_used_at) = (None, None, 0, None);
            match &mut one.usage {
                Some(Usage::Upstream(upstream)) => {
                    (upstream.sealed, upstream.label, upstream.previous_not_after) = (None, None, None);
                    upstream.sealed_regions.clear();
                }
                Some(Usage::Caller(caller)) => {
                    (caller.rolled_at, caller.previous_not_after) = (None, None);
                    caller.sealed_regions.clear();
                    // A key is said as other values are; a name is what it is.
                    caller.certificate = caller.certificate.take().filter(|one| !one.spiffe_id.is_empty());
                }
                None => {}
            }
            let owner = one.owner.clone();
            (Resource::Credential(one), owner)
        }
        Resource::Proxy(mut one) => {
            clear([&mut one.id, &mut one.org, &mut one.etag, &mut one.created_by]);
            (one.created_at, one.updated_at, one.urls, one.nodes) = (None, None, Vec::new(), 0);
            one.over_ceiling = false;
            names.put(&mut one);
            let owner = one.owner.clone();
            (Resource::Proxy(one), owner)
        }
        Resource::Rule(mut one) => {
            clear([&mut one.id, &mut one.org, &mut one.etag, &mut one.created_by]);
            (one.created_at, one.updated_at) = (None, None);
            names.put(&mut one);
            let owner = one.owner.clone();
            (Resource::Rule(one), owner)
        }
        Resource::Filter(mut one) => {
            clear([&mut one.id, &mut one.org, &mut one.etag, &mut one.created_by]);
            (one.created_at, one.updated_at) = (None, None);
            names.put(&mut one);
            let owner = one.owner.clone();
            (Resource::Filter(one), owner)
        }
        Resource::Meter(mut one) => {
            clear([&mut one.id, &mut one.org, &mut one.etag, &mut one.created_by]);
            (one.created_at, one.updated_at) = (None, None);
            names.put(&mut one);
            let owner = one.owner.clone();
            (Resource::Meter(one), owner)
        }
        other => (other, String::new()),
    }
}

fn clear(texts: [&mut String; 4]) {
    for text in texts {
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_has_names_for_ids_and_nothing_that_the_control_plane_sets() {
        let mut names = Names::default();
        names.learn([("tg_1", "echo"), ("cr_1", "key"), ("cr_2", "up"), ("rg_1", "eu")].map(owned));
        let proxy = mg::Proxy {
            id: "px_1".into(),
            org: "og_1".into(),
            name: "echo".into(),
            target: "tg_1".into(),
            upstream_credential: "cr_2".into(),
            caller_credentials: vec!["cr_1".into(), "cr_9".into()],
            regions: vec!["rg_1".into()],
            urls: vec!["http://edge".into()],
            nodes: 2,
            over_ceiling: true,
            owner: "git".into(),
            etag: "e".into(),
            created_by: "us_1".into(),
            created_at: Some(pbjson_types::Timestamp::default()),
            updated_at: Some(pbjson_types::Timestamp::default()),
            ..mg::Proxy::default()
        };
        let expected = mg::Proxy {
            name: "echo".into(),
            target: "echo".into(),
            upstream_credential: "up".into(),
            caller_credentials: vec!["key".into(), "cr_9".into()],
            regions: vec!["eu".into()],
            owner: "git".into(),
            ..mg::Proxy::default()
        };
        assert_eq!(plain(Resource::Proxy(proxy), &names), (Resource::Proxy(expected), "git".to_owned()));
    }

    #[test]
    fn an_export_holds_no_seal() {
        let upstream = mg::Upstream {
            kind: mg::UpstreamKind::Bearer.into(),
            sealed: Some(rr_contract::wire::fleet::SealedSecret::default()),
            sealed_regions: vec!["rg_1".into()],
            label: Some(rr_contract::wire::fleet::SealLabel::default()),
            previous_not_after: Some(pbjson_types::Timestamp::default()),
        };
        let usage = Some(Usage::Upstream(upstream));
        let credential = mg::Credential { id: "cr_1".into(), version: 3, usage, ..mg::Credential::default() };
        let (resource, _) = plain(Resource::Credential(credential), &Names::default());
        let upstream = mg::Upstream { kind: mg::UpstreamKind::Bearer.into(), ..mg::Upstream::default() };
        let usage = Some(Usage::Upstream(upstream));
        assert_eq!(resource, Resource::Credential(mg::Credential { usage, ..mg::Credential::default() }));
    }

    fn owned((id, name): (&str, &str)) -> (String, String) {
        (id.to_owned(), name.to_owned())
    }
}
