//! Sealing a secret: the regions it is sealed to and the credential it is bound to; for an upstream, also the origins it may
//! be sent to and the certificates that vouch for them. What verifies tokens is sent nowhere.
//!
//! The secret leaves this process only sealed.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rr_contract::model::id::{CredentialId, InstallationId, OrgId};
use rr_contract::model::origin::{BaseUrl, Origin};
use rr_contract::model::tls::CaBundle;
use rr_contract::seal::form::{Form, Placed};
use rr_contract::seal::region_key::RegionStatement;
use rr_contract::seal::{SealContext, SealedSecret, SecretSpec, Unusable};
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;

use crate::authority;
use crate::command::{region, target};
use crate::connect::Connection;
use crate::flags::page::Listing;
use crate::flags::trust::TrustArgs;
use crate::print::note;
use crate::{fault, prompt};

/// The contents of a seal.
#[derive(Args)]
pub(crate) struct SealingArgs {
    /// Target whose origins the secret may be sent to, by name or id; can be repeated.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Accepts the origins and certificates that the control plane names for --target, without asking.
    #[arg(long)]
    accept_target: bool,
    /// Origin that the secret may be sent to: scheme, host or `*.suffix`, and port; can be repeated.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// File with the certificates (PEM) that alone vouch for these origins, as the target has them in `ca`.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

impl SealingArgs {
    pub(super) async fn seal(
        &self,
        connection: &Connection,
        org: &str,
        (credential, version): (CredentialId, u64),
        form: Form,
        read: impl FnOnce() -> Result<Vec<Secret>>,
    ) -> Result<(fleet::SealedSecret, fleet::SealLabel)> {
        let ca = match &self.ca {
            Some(path) => Some((format!("--ca {}", path.display()), authority::read(path)?.1)),
            None => None,
        };
        let mut destination = Destination::new(parse_origins(&self.origins)?, ca);
        let mut targets = TargetServiceClient::new(connection.clone());
        for target in &self.target {
            let ask = mg::GetTargetRequest { org: org.to_owned(), target: target.clone(), revision: 0 };
            let found = targets.get_target(ask).await?.into_inner().target.unwrap_or_default();
            destination.add(&found)?;
        }
        if destination.is_nowhere() {
            return Err(fault::usage(
                "no origin was given that the secret may be sent to",
                "give --target NAME or --origin https://…",
            ));
        }
        destination.announce()?;
        if !self.origins.is_empty() {
            // Only for a word to the user: who may not see targets seals without it.
            let there = target::list(connection.clone(), org, &Listing::default()).await;
            destination.warn(&there.unwrap_or_default());
        }
        // The control plane names the origins of a target, and its certificates: a hostile one would name its own.
        if !self.target.is_empty() && !self.accept_target {
            prompt::confirm(
                "may the secret be sent there?",
                "the origins and certificates of --target come from the control plane, and without a terminal they cannot be confirmed",
                "give --origin and, for certificates, --ca; or --accept-target if you know that they are right",
            )?;
        }
        let statements = self.trust.choose(&region::list(connection.clone()).await?)?;
        let context = context(connection, org, credential, version).await?;
        seal(&context, &destination.spec(form, read()?)?, &statements)
    }
}

/// Seals a secret to regions, and says what the seal says.
pub(crate) fn seal(
    context: &SealContext,
    spec: &SecretSpec,
    statements: &[RegionStatement],
) -> Result<(fleet::SealedSecret, fleet::SealLabel)> {
    let regions: Vec<_> = statements.iter().collect();
    let sealed = SealedSecret::seal(context, spec, &regions, &SystemEntropy)?;
    Ok((sealed.to_wire(), spec.label()))
}

/// Seals to the regions that are given a secret that verifies tokens of these algorithms, for a version of a credential.
pub(crate) async fn seal_shared(
    connection: &Connection,
    org: &str,
    (credential, version): (CredentialId, u64),
    value: Secret,
    trust: &TrustArgs,
) -> Result<fleet::SealedSecret> {
    let statements = trust.choose(&region::list(connection.clone()).await?)?;
    let context = context(connection, org, credential, version).await?;
    let regions: Vec<_> = statements.iter().collect();
    Ok(SealedSecret::seal_shared(&context, value, None, &regions, &SystemEntropy)?.to_wire())
}

/// Parses origins.
pub(crate) fn parse_origins(texts: &[String]) -> Result<Vec<Origin>> {
    texts.iter().map(|text| text.parse().with_context(|| format!("origin {text:?}"))).collect()
}

/// Where a secret may be sent, and whose certificates vouch for it there.
pub(crate) struct Destination {
    origins: Vec<Origin>,
    /// Who named the certificates first, and which; `None`: nobody has named any, or that there are none.
    ca: Option<(String, Option<CaBundle>)>,
}

impl Destination {
    /// Origins, and certificates with the name of who gave them.
    pub(crate) fn new(origins: Vec<Origin>, ca: Option<(String, CaBundle)>) -> Self {
        Self { origins, ca: ca.map(|(whose, ca)| (whose, Some(ca))) }
    }

    /// Everywhere that a target lives, with its certificates.
    pub(crate) fn add(&mut self, target: &mg::Target) -> Result<()> {
        let name = &target.name;
        for url in std::iter::once(&target.base_url).chain(&target.more_base_urls) {
            let url: BaseUrl = url.parse().with_context(|| format!("base URL of target {name}"))?;
            let origin = Origin::of(&url);
            if !self.origins.contains(&origin) {
                self.origins.push(origin);
            }
        }
        let ca =
            authority::of(&target.ca).with_context(|| format!("certificates (`ca`) of target {name}"))?;
        let Some((whose, before)) = &self.ca else {
            self.ca = Some((format!("target {name}"), ca));
            return Ok(());
        };
        if before != &ca {
            bail!(
                "{whose} and target {name} have different certificates (`ca`), and a secret is sealed for one `ca`; \
                 make a credential for each"
            );
        }
        Ok(())
    }

    pub(crate) fn is_nowhere(&self) -> bool {
        self.origins.is_empty()
    }

    /// Names targets that live where the secret may be sent, and that it does not go to.
    pub(crate) fn warn<'t>(&self, targets: impl IntoIterator<Item = &'t mg::Target>) {
        for target in targets.into_iter().filter(|target| self.misses(target)) {
            note(&format!(
                "the secret does not go to target {}, which has other certificates (`ca`)",
                target.name
            ));
        }
    }

    fn misses(&self, target: &mg::Target) -> bool {
        let mut urls = std::iter::once(&target.base_url).chain(&target.more_base_urls);
        let covered = |url: &BaseUrl| self.origins.iter().any(|origin| origin.covers(url));
        let is_here = urls.any(|url| url.parse().is_ok_and(|url| covered(&url)));
        // Certificates that cannot be read are refused elsewhere.
        is_here && authority::of(&target.ca).is_ok_and(|ca| ca.as_ref() != self.certificates())
    }

    fn certificates(&self) -> Option<&CaBundle> {
        self.ca.as_ref()?.1.as_ref()
    }

    /// Prints where a secret may be sent; an error where it could be sent to none of these.
    pub(crate) fn announce(&self) -> Result<()> {
        for origin in &self.origins {
            note(&format!("sealing for {origin}"));
            if origin.is_plaintext() && self.certificates().is_some() {
                bail!(Unusable::CaWithoutTls(origin.clone()));
            }
            if origin.is_plaintext() {
                note("  over http the secret is sent in the clear");
            }
        }
        if let Some(certificates) = self.certificates() {
            note("if one of these certificates vouches for it, and nobody else:");
            authority::lines(certificates).iter().for_each(|line| note(&format!("  {line}")));
        }
        Ok(())
    }

    pub(crate) fn spec(self, form: Form, values: Vec<Secret>) -> Result<SecretSpec> {
        let ca = self.certificates().map(|ca| *ca.hash());
        let Placed { value, means } = form.place(values).context("each place takes one value")?;
        let spec = SecretSpec { value, means, origins: self.origins, not_after: None, ca };
        spec.usable()?;
        Ok(spec)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_the_secret_would_not_go_to_is_named() {
        let target = |base_url: &str, ca: &str| mg::Target {
            base_url: base_url.to_owned(),
            ca: ca.to_owned(),
            ..mg::Target::default()
        };
        let to = |ca: Option<&str>| {
            let ca = ca.map(|ca| ("--ca".to_owned(), ca.parse().expect("a certificate")));
            Destination::new(vec!["https://a.example".parse().expect("an origin")], ca)
        };
        let ours = authority::OURS;
        for (destination, target, wanted) in [
            (to(None), target("https://a.example/v1", ""), false),
            (to(None), target("https://a.example/v1", ours), true),
            (to(None), target("https://b.example/v1", ours), false),
            (to(Some(ours)), target("https://a.example/v1", ours), false),
            (to(Some(ours)), target("https://a.example/v1", ""), true),
        ] {
            assert_eq!(destination.misses(&target), wanted, "{target:?}");
        }
    }
}
