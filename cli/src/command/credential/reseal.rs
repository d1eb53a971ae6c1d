//! `rrctl credential reseal`: a secret for further regions, without its value.
//!
//! The content key is opened with the key file of a region that has it, here, and sealed again. The value is not opened.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::model::id::CredentialId;
use rr_contract::seal::region_key::{RegionKeys, RegionStatement};
use rr_contract::seal::{OpenError, RewrapError, SealContext, SealedSecret};
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;

use super::sealing;
use crate::command::region;
use crate::connect::Connection;
use crate::flags::change::Consent;
use crate::flags::key_file::{KeyFileArgs, SpareKeyArgs};
use crate::flags::trust::TrustArgs;
use crate::print::note;
use crate::{fault, prompt};

#[derive(Args)]
pub(crate) struct ResealArgs {
    /// Name or id.
    credential: String,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    key: KeyFileArgs,
    #[command(flatten)]
    consent: Consent,
}

impl ResealArgs {
    pub(super) async fn run(self, connection: Connection, org: String) -> Result<(mg::Credential, u64)> {
        let regions = region::list(connection.clone()).await?;
        let statements = self.trust.choose(&regions)?;
        let keys = self.key.open()?;
        let (org, credential) = (&*org, &*self.credential);
        let resealed =
            reseal(&connection, org, credential, &keys, (&statements, &regions), self.consent).await?;
        resealed.ok_or_else(|| {
            fault::usage(
                &format!("credential {} is sealed to these regions already", self.credential),
                "name another region with --region",
            )
        })
    }
}

/// The regions that a credential's secret is sealed to; `None`: it has no sealed secret.
pub(crate) fn sealed_to(credential: &mg::Credential) -> Option<&[String]> {
    match credential.usage.as_ref()? {
        Usage::Upstream(upstream) if upstream.kind() == mg::UpstreamKind::None => None,
        Usage::Upstream(upstream) => Some(&upstream.sealed_regions),
        Usage::Caller(caller) => {
            Some(&caller.sealed_regions).filter(|regions| !regions.is_empty()).map(Vec::as_slice)
        }
    }
}

/// Seals the secret of a credential to those of these regions that it is not sealed to; `None`: there is none.
pub(crate) async fn reseal(
    connection: &Connection,
    org: &str,
    credential: &str,
    keys: &RegionKeys,
    (statements, regions): (&[RegionStatement], &[mg::Region]),
    consent: Consent,
) -> Result<Option<(mg::Credential, u64)>> {
    let mut stub = CredentialServiceClient::new(connection.clone());
    let ask = mg::GetSealedSecretRequest { org: org.to_owned(), credential: credential.to_owned() };
    let seal = stub.get_sealed_secret(ask).await?.into_inner();
    let id: CredentialId = seal.credential.parse().context("credential id in the answer")?;
    let context = sealing::context(connection, org, id, seal.version).await?;
    let present = seal.sealed.context("the answer holds no seal")?;
    let Some(sealed) = more(&context, &present, keys, (statements, regions))? else { return Ok(None) };
    // The one before is for as long as both count; its version is not the present one's.
    let previous = match &seal.previous_sealed {
        None => None,
        Some(previous) => {
            let before = SealContext { version: seal.version - 1, ..context };
            more(&before, previous, keys, (statements, regions))?
        }
    };
    let ask = consent.with(mg::ResealSecretRequest {
        org: org.to_owned(),
        credential: seal.credential,
        version: seal.version,
        sealed: Some(sealed),
        previous_sealed: previous,
        ..Default::default()
    });
    let done = stub.reseal_secret(ask).await?.into_inner();
    Ok(Some((done.credential.unwrap_or_default(), done.revision)))
}

/// The same seal with wraps for further regions; `None`: it has them all.
fn more(
    context: &SealContext,
    seal: &fleet::SealedSecret,
    keys: &RegionKeys,
    (statements, regions): (&[RegionStatement], &[mg::Region]),
) -> Result<Option<fleet::SealedSecret>> {
    let secret: SealedSecret = seal.clone().try_into().context("seal in the answer")?;
    let has = |it: &RegionStatement| secret.regions().any(|region| region == it.region());
    let lacking: Vec<&RegionStatement> = statements.iter().filter(|it| !has(it)).collect();
    if lacking.is_empty() {
        return Ok(None);
    }
    let named = |id: String| regions.iter().find(|it| it.id == id).map_or(id, |it| it.name.clone());
    let wraps = match secret.rewrap(context, &keys.opening_keys(), &lacking) {
        Err(RewrapError::Open(OpenError::NoWrap)) => {
            let all: Vec<String> = secret.regions().map(|id| named(id.to_string())).collect();
            return Err(fault::usage(
                &format!(
                    "the key file is of region {}, to which this secret is not sealed",
                    named(keys.region().to_string())
                ),
                &format!("give the key file of one of {} with --region-key", all.join(", ")),
            ));
        }
        wraps => wraps?,
    };
    for it in lacking {
        note(&format!("sealing for region {} too", named(it.region().to_string())));
    }
    let wraps = [seal.wraps.clone(), wraps].concat();
    Ok(Some(fleet::SealedSecret { wraps, ..seal.clone() }))
}

/// The names of those regions, wanted by name or id, that a credential with a sealed secret is not sealed to.
fn lacking(credential: &mg::Credential, wanted: &[String], regions: &[mg::Region]) -> Vec<String> {
    let Some(sealed) = sealed_to(credential) else { return Vec::new() };
    let wanted =
        wanted.iter().filter_map(|it| regions.iter().find(|region| region.name == *it || region.id == *it));
    wanted.filter(|region| !sealed.contains(&region.id)).map(|region| region.name.clone()).collect()
}

/// Seals the secrets of credentials, by name or id, to those of these regions that they are not sealed to, with a key file that is
/// at hand. Where there is none, the call that needs them is refused with the remedy.
pub(crate) async fn to_regions(
    connection: &Connection,
    org: &str,
    credentials: &[String],
    wanted: &[String],
    key: SpareKeyArgs,
    regions_file: &Path,
    consent: Consent,
) -> Result<()> {
    let each: Vec<_> = credentials.iter().map(|it| (it.clone(), wanted.to_vec())).collect();
    each_to_regions(connection, org, &each, key, regions_file, (true, consent)).await
}

/// The same, each credential to regions of its own. Asks first, unless it was agreed to.
pub(crate) async fn each_to_regions(
    connection: &Connection,
    org: &str,
    credentials: &[(String, Vec<String>)],
    key: SpareKeyArgs,
    regions_file: &Path,
    (yes, consent): (bool, Consent),
) -> Result<()> {
    if !key.is_there() || credentials.iter().all(|(_, wanted)| wanted.is_empty()) {
        return Ok(());
    }
    let regions = region::list(connection.clone()).await?;
    let mut stub = CredentialServiceClient::new(connection.clone());
    let mut short = Vec::new();
    for (credential, wanted) in credentials {
        let ask =
            mg::GetCredentialRequest { org: org.to_owned(), credential: credential.clone(), revision: 0 };
        let found = stub.get_credential(ask).await?.into_inner().credential.unwrap_or_default();
        let lacking = lacking(&found, wanted, &regions);
        if !lacking.is_empty() {
            short.push((found, lacking));
        }
    }
    if short.is_empty() {
        return Ok(());
    }
    for (credential, lacking) in &short {
        note(&format!(
            "the secret of credential {} is not sealed to {}",
            credential.name,
            lacking.join(", ")
        ));
    }
    if !yes {
        prompt::confirm(
            "seal them to these regions too?",
            "cannot ask whether to seal secrets to further regions: standard input is not a terminal",
            "give --yes to agree, or leave out --region-key",
        )?;
    }
    // Nobody is asked for a passphrase for nothing.
    let Some(keys) = key.open()? else { return Ok(()) };
    for (credential, lacking) in short {
        let statements = TrustArgs::of(lacking, regions_file).choose(&regions)?;
        reseal(connection, org, &credential.id, &keys, (&statements, &regions), consent).await?;
    }
    Ok(())
}
