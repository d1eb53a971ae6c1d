//! Secrets that are there, for regions that proxies of the files are served in: sealed before the plan is made, with a key file
//! that is at hand.
//!
//! Seals nothing where there is none: then the plan is refused, with the remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use rr_contract::wire::management::document::Resource;

use super::super::set::file::FileDocument;
use crate::command::credential::{self, reseal};
use crate::connect::Connection;
use crate::flags::change::Consent;
use crate::flags::key_file::SpareKeyArgs;
use crate::flags::page::Listing;

/// Seals secrets of credentials that are there to the regions of the proxies in the files that name them.
pub(super) async fn reseal(
    documents: &[FileDocument],
    connection: &Connection,
    org: &str,
    key: SpareKeyArgs,
    regions_file: &Path,
    agreed: (bool, Consent),
) -> Result<()> {
    if !key.is_there() {
        return Ok(());
    }
    let there = credential::list(connection.clone(), org, &Listing::default()).await?;
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in documents {
        let Some(Resource::Proxy(proxy)) = &one.document.resource else { continue };
        for named in std::iter::once(&proxy.upstream_credential).chain(&proxy.caller_credentials) {
            let found = there.iter().find(|credential| credential.name == *named || credential.id == *named);
            if let Some(found) = found {
                wanted.entry(found.name.clone()).or_default().extend(proxy.regions.iter().cloned());
            }
        }
    }
    let wanted: Vec<(String, Vec<String>)> =
        wanted.into_iter().map(|(name, regions)| (name, regions.into_iter().collect())).collect();
    reseal::each_to_regions(connection, org, &wanted, key, regions_file, agreed).await
}
