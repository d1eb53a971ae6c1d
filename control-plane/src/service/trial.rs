//! Permissions to have a request explained.
//!
//! Makes no request and sees none: the authority signs, and nodes look at that. The invariants: whoever gets a permission is an
//! editor of the proxy's organization, and it is good for one region and a minute at the most.

use rr_contract::model::time::timestamp;
use rr_contract::runtime::chain;
use rr_contract::trial::{Claims, LASTS};
use rr_contract::wire::management::{self as wire, Region};
use tokio::time::Instant;
use tracing::info;

use super::{OrgCaller, Reason, ServiceError, Services};
use crate::authority::SignError;
use crate::store::{StoreError, Stored};

impl Services {
    /// A permission for one request of a proxy, at each node of a region.
    pub(crate) async fn permit_trial(
        &self,
        at: &OrgCaller,
        request: &wire::PermitTrialRequest,
    ) -> Result<wire::PermitTrialResponse, ServiceError> {
        let proxy = self.show::<wire::Proxy>(at, &request.proxy, 0).await?;
        let region = self.trial_region(&proxy.document, &request.region).await?;
        self.trials.take(&at.org.id, Instant::now())?;
        let damaged = || ServiceError::Store(StoreError::Damaged("id"));
        let now = self.seams.clock.now();
        let claims = Claims {
            installation: self.authority.installation(),
            org: at.org.id.parse().map_err(|_| damaged())?,
            proxy: proxy.row.id.parse().map_err(|_| damaged())?,
            region: region.row.id.parse().map_err(|_| damaged())?,
            issued_at: now,
            not_after: now + LASTS,
            nonce: self.random(),
        };
        let permission = self.authority.sign_trial(&claims).await.map_err(|error| unsigned(&error))?;
        info!(
            org = at.org.name,
            proxy = proxy.row.name,
            region = region.row.name,
            by = at.caller.principal.name,
            "a request may be explained"
        );
        Ok(wire::PermitTrialResponse {
            permission,
            not_after: Some(timestamp(claims.not_after)),
            path_prefix: format!("/api/{}.{}", at.org.name, proxy.row.name),
            region: region.row.name,
            base_url: region.document.base_url,
        })
    }

    /// Where the request is made.
    async fn trial_region(
        &self,
        proxy: &wire::Proxy,
        reference: &str,
    ) -> Result<Stored<Region>, ServiceError> {
        let references: Vec<String> =
            Some(reference.to_owned()).into_iter().filter(|it| !it.is_empty()).collect();
        let mut regions = self.regions_of(proxy, "region", &references).await?;
        if regions.len() > 1 {
            let (known, unknown): (Vec<_>, Vec<_>) =
                regions.into_iter().partition(|region| !region.document.base_url.is_empty());
            regions = match known.len() {
                1 => known,
                _ => [known, unknown].concat(),
            };
        }
        match regions.len() {
            1 => Ok(regions.remove(0)),
            0 => Err(ServiceError::field(
                "proxy",
                format!(
                    "{:?} is served in no region: `rrctl proxy update {} --region REGION` adds one",
                    proxy.name, proxy.name
                ),
            )),
            _ => {
                let names: Vec<&str> = regions.iter().map(|region| region.row.name.as_str()).collect();
                Err(ServiceError::field(
                    "region",
                    format!(
                        "is missing, and proxy {:?} is served in {}: name one",
                        proxy.name,
                        names.join(", ")
                    ),
                ))
            }
        }
    }
}

/// What an editor is told where nothing was signed: to tell an operator.
fn unsigned(error: &SignError) -> ServiceError {
    tracing::warn!(error = %chain(error), "cannot sign a permission to have a request explained");
    ServiceError::Refused {
        reason: Reason::Unavailable,
        text: "the authority of the installation did not sign: an operator finds the cause in the log of the control plane".to_owned(),
        preconditions: Vec::new(),
    }
}
