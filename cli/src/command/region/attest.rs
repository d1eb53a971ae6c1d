//! `rrctl region attest`: signs which versions of a region's secrets are the newest, for nodes that never had them.
//!
//! Each attestation is held against the one before it, so that nobody can sign a version away unseen. What changed between the
//! two, the control plane alone says.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::model::id::CredentialId;
use rr_contract::seal::attestation::{Attestation, Newest, Versions};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::region_key_service_client::RegionKeyServiceClient;
use tonic::Code;

use super::rotate::present;
use crate::command::names;
use crate::connect::Connection;
use crate::fault;
use crate::flags::key_file::{KeyFileArgs, copies, write_again};
use crate::print::{count, few, note};
use crate::session::Session;

/// How often changes meanwhile are waited out.
const TRIES: u32 = 5;
/// How many versions are listed by one call.
const PAGE: i32 = 1_000;

#[derive(Args)]
pub(crate) struct AttestArgs {
    /// Name or id.
    region: String,
    #[command(flatten)]
    key: KeyFileArgs,
    /// Other copy of the key file, which is told the number of the attestation too; can be repeated.
    #[arg(long, value_name = "FILE")]
    recovery_copy: Vec<PathBuf>,
    /// Signs what the control plane has although something was newer before: its database was restored from a backup. Replace
    /// those secrets afterwards: nodes that had the newer ones refuse the older.
    #[arg(long)]
    after_restore: bool,
}

impl AttestArgs {
    pub(super) async fn run(self, session: Session) -> Result<()> {
        let connection = session.endpoint.connect().await?;
        let mut file = self.key.open_file()?;
        let copies = copies(&self.recovery_copy, &self.key, &file)?;
        for _ in 0..TRIES {
            let present = present(&connection, &self.region, &file).await?;
            let before = known(&connection, &present.region, &mut file.keys, self.after_restore).await?;
            let versions = list(&connection, &present.region.id, false).await?;
            if !self.after_restore {
                compare(&before, &versions, &present.region.name)?;
            }
            let attestation = file.keys.attest(&versions, SystemTime::now());
            write_again(self.key.file(), &copies, &file.text(&SystemEntropy))?;
            let ask = mg::AttestRegionRequest {
                region: present.region.id.clone(),
                attestation: Some(attestation.to_wire()),
            };
            let mut stub = RegionKeyServiceClient::new(connection.clone());
            let done = match stub.attest_region(ask).await {
                Ok(done) => done.into_inner(),
                // Secrets changed, or somebody else attested.
                Err(status) if status.code() == Code::Aborted => continue,
                Err(status) => return Err(status.into()),
            };
            let region = names::of_one(session.print, &connection, "", done.region).await?;
            let what = format!(
                "attested {} of region {} as number {}",
                count(versions.len() as u64, "secret"),
                region.name,
                attestation.counter()
            );
            session.print.written(&region, &what, done.revision)?;
            let gone = before.iter().filter(|(id, _)| versions.get(id).is_none()).count();
            if gone > 0 {
                note(&format!(
                    "{} of the attestation before it not sealed to the region any more",
                    match gone {
                        1 => "1 secret is".to_owned(),
                        more => format!("{more} secrets are"),
                    }
                ));
            }
            note(
                "Node tokens that are made from now on carry it: a node that joins with one takes no older secret. Revoke those made before that are not needed.",
            );
            return Ok(());
        }
        Err(fault::ended(
            "secrets of the region changed while their versions were listed, again and again",
            "run the same again when fewer changes are made",
        ))
    }
}

/// The versions of the newest attestation. Refuses one that is older than what the keys know of.
async fn known(
    connection: &Connection,
    region: &mg::Region,
    keys: &mut RegionKeys,
    after_restore: bool,
) -> Result<Versions> {
    let newest = newest(region, keys, after_restore)?;
    let Some(newest) = newest else { return Ok(Versions::default()) };
    let number = newest.counter();
    let versions = list(connection, &region.id, true).await?;
    if newest.covers(&versions) {
        return Ok(versions);
    }
    // Somebody may have attested in between.
    Err(fault::ended(
        &format!(
            "the versions that the control plane shows for attestation {number} are not those that were signed"
        ),
        "run the same again; where that stays, the control plane is not to be trusted",
    ))
}

/// The newest attestation that the control plane has of a region, made with its keys, which take note of it. Refuses one before
/// the last that they made, unless the control plane was restored.
pub(crate) fn newest(
    region: &mg::Region,
    keys: &mut RegionKeys,
    after_restore: bool,
) -> Result<Option<Attestation>> {
    let known = keys.attested();
    let newest = region.attestation.clone().map(|wire| keys.saw_attestation(wire)).transpose();
    let newest = newest.with_context(|| {
        format!("attestation of region {}: the control plane is not to be trusted", region.name)
    })?;
    let found = newest.as_ref().map_or(0, Attestation::counter);
    if found >= known || after_restore {
        return Ok(newest);
    }
    let shown = if found == 0 { "no attestation".to_owned() } else { format!("attestation {found}") };
    Err(fault::ended(
        &format!(
            "the control plane shows {shown} of region {}, and the key file has signed number {known}: the control plane was set back",
            region.name
        ),
        "where its database was restored from a backup, run `rrctl region attest REGION --after-restore`, and replace secrets that were changed after the backup; otherwise it is not to be trusted",
    ))
}

/// Refuses a list in which something is older than it was, or another secret under the same number.
fn compare(before: &Versions, now: &Versions, region: &str) -> Result<()> {
    let older: Vec<String> = before
        .iter()
        .filter_map(|(id, was)| {
            let now = now.get(&id)?;
            let same = now.version == was.version;
            if same && now.content != was.content {
                return Some(format!(
                    "{id} (version {}, with another secret than was attested)",
                    was.version
                ));
            }
            (now.version < was.version)
                .then(|| format!("{id} (version {}, and {} was attested)", now.version, was.version))
        })
        .collect();
    if older.is_empty() {
        return Ok(());
    }
    Err(fault::ended(
        &format!(
            "the control plane shows {} of region {region} older or other than attested: {}",
            count(older.len() as u64, "secret"),
            few(&older)
        ),
        "replace these secrets (`rrctl credential replace-secret`), which gives them a new version; where the database was not restored from a backup, the control plane is not to be trusted",
    ))
}

async fn list(connection: &Connection, region: &str, attested: bool) -> Result<Versions> {
    let mut stub = RegionKeyServiceClient::new(connection.clone());
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let ask = mg::ListSecretVersionsRequest {
            region: region.to_owned(),
            attested,
            page_size: PAGE,
            page_token: std::mem::take(&mut page_token),
        };
        let reply = stub.list_secret_versions(ask).await?.into_inner();
        for secret in reply.secrets {
            let id: CredentialId = secret.credential.parse().context("credential id in the answer")?;
            let content = secret.content.try_into();
            let content = content.ok().context("content of a secret in the answer: it is not 32 bytes")?;
            found.push((id, Newest { version: secret.version, content }));
        }
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            return Ok(Versions::new(found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> CredentialId {
        CredentialId::from_random([n; 16])
    }

    #[test]
    fn a_version_that_went_back_is_named_and_new_and_gone_ones_are_not() {
        let newest = |n, version, byte| (id(n), Newest { version, content: [byte; 32] });
        let before = Versions::new([newest(1, 3, 9), newest(2, 7, 9), newest(3, 1, 9)]);
        let same = Versions::new([newest(1, 3, 9), newest(2, 8, 1), newest(4, 1, 9)]);
        compare(&before, &same, "eu").expect("nothing is older");
        let older = Versions::new([newest(1, 2, 9), newest(2, 7, 9)]);
        let said = format!("{:#}", compare(&before, &older, "eu").expect_err("one is older"));
        assert!(
            said.contains(&id(1).to_string()) && said.contains("version 2, and 3 was attested"),
            "{said}"
        );
        assert!(!said.contains(&id(2).to_string()), "{said}");
        let other = Versions::new([newest(1, 3, 9), newest(2, 7, 8)]);
        let said = format!("{:#}", compare(&before, &other, "eu").expect_err("one is another"));
        assert!(said.contains(&id(2).to_string()) && said.contains("another secret"), "{said}");
        assert!(!said.contains(&id(1).to_string()), "{said}");
    }
}
