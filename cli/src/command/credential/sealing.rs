//! Sealing a secret for an upstream: the origins it may be sent to, the regions it is sealed to, and the credential it
//! is bound to.
//!
//! The secret leaves this process only sealed.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::model::origin::{BaseUrl, Origin};
use rr_contract::seal::region_key::RegionStatement;
use rr_contract::seal::{SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;

use crate::command::region;
use crate::connect::Connection;
use crate::flags::trust::TrustArgs;
use crate::print::note;
use crate::{fault, prompt};

/// The contents of a seal.
#[derive(Args)]
pub(crate) struct SealingArgs {
    /// Target whose origins the secret may be sent to, by name or id; can be repeated.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Accepts the origins that the control plane names for --target, without asking.
    #[arg(long)]
    accept_target: bool,
    /// Origin that the secret may be sent to: scheme, host or `*.suffix`, and port; can be repeated.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Header that the secret goes into.
    #[arg(long, value_name = "NAME")]
    pub(super) header: Option<String>,
    /// Prefix of the secret in the header, with its space.
    #[arg(long)]
    prefix: Option<String>,
    /// File that holds the secret; `-` is standard input. A prompt when not given.
    #[arg(long, value_name = "FILE")]
    pub(super) value_file: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

impl SealingArgs {
    pub(super) async fn seal(
        &self,
        connection: &Connection,
        org: &str,
        credential: CredentialId,
        version: u64,
        default_slot: Slot,
    ) -> Result<fleet::SealedSecret> {
        let slot = slot(self.header.as_deref(), self.prefix.as_deref(), default_slot)?;
        let mut origins = parse_origins(&self.origins)?;
        let mut targets = TargetServiceClient::new(connection.clone());
        for target in &self.target {
            let ask = mg::GetTargetRequest { org: org.to_owned(), target: target.clone(), revision: 0 };
            let found = targets.get_target(ask).await?.into_inner().target.unwrap_or_default();
            for base_url in std::iter::once(&found.base_url).chain(&found.more_base_urls) {
                origins.push(origin_of(base_url).context("base URL in the answer")?);
            }
        }
        if origins.is_empty() {
            return Err(fault::usage(
                "no origin was given that the secret may be sent to",
                "give --target NAME or --origin https://…",
            ));
        }
        announce(&origins);
        // The control plane names the origin of a target: a hostile one would name its own host.
        if !self.target.is_empty() && !self.accept_target {
            prompt::confirm(
                "may the secret be sent there?",
                "the origins of --target come from the control plane, and without a terminal they cannot be confirmed",
                "give --origin, or --accept-target if you know that they are right",
            )?;
        }
        let statements = self.trust.choose(&region::list(connection.clone()).await?)?;
        let context = context(connection, org, credential, version).await?;
        let value = prompt::read_new("value", self.value_file.as_deref(), "--value-file")?;
        seal(&context, &SecretSpec { value, origins, slot, not_after: None, ca: None }, &statements)
    }
}

/// Seals a secret to regions.
pub(crate) fn seal(
    context: &SealContext,
    spec: &SecretSpec,
    statements: &[RegionStatement],
) -> Result<fleet::SealedSecret> {
    let regions: Vec<_> = statements.iter().collect();
    Ok(SealedSecret::seal(context, spec, &regions, &SystemEntropy)?.to_wire())
}

/// The header and prefix of a secret. A header that was named gets no prefix by default: `Bearer ` belongs to
/// Authorization.
pub(crate) fn slot(header: Option<&str>, prefix: Option<&str>, default: Slot) -> Result<Slot> {
    if header.is_none() && prefix.is_none() {
        return Ok(default);
    }
    let bare = if header.is_some() { "" } else { default.prefix() };
    Ok(Slot::header(header.unwrap_or(default.name().as_str()), prefix.unwrap_or(bare))?)
}

/// Parses origins.
pub(crate) fn parse_origins(texts: &[String]) -> Result<Vec<Origin>> {
    texts.iter().map(|text| text.parse().with_context(|| format!("origin {text:?}"))).collect()
}

/// The origin of a target.
pub(crate) fn origin_of(base_url: &str) -> Result<Origin> {
    Ok(Origin::of(&base_url.parse::<BaseUrl>()?))
}

/// Prints the origins that a secret is sealed for.
pub(crate) fn announce(origins: &[Origin]) {
    for origin in origins {
        note(&format!("sealing for {origin}"));
        if origin.is_plaintext() {
            note("  over http the secret is sent in the clear");
        }
    }
}

/// The context that a seal is bound to.
pub(crate) async fn context(
    connection: &Connection,
    org: &str,
    credential: CredentialId,
    version: u64,
) -> Result<SealContext> {
    let mut installations = InstallationServiceClient::new(connection.clone());
    let installation = installations.get_installation(mg::GetInstallationRequest {}).await?.into_inner();
    let installation: InstallationId = installation.id.parse().context("installation id in the answer")?;
    let ask = mg::GetOrgRequest { org: org.to_owned(), revision: 0 };
    let org =
        OrgServiceClient::new(connection.clone()).get_org(ask).await?.into_inner().org.unwrap_or_default();
    let org: OrgId = org.id.parse().context("org id in the answer")?;
    Ok(SealContext { installation, org, credential, version })
}
