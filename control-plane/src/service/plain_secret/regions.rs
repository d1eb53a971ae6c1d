//! Where a secret that came in the clear may be opened, and where it may be sent.
//!
//! The invariant: none is sealed to a region that takes only what was sealed elsewhere, to one of another organization, or to a
//! key whose statement has ended.

use rr_contract::model::invalid::Violations;
use rr_contract::model::origin::{BaseUrl, Origin};
use rr_contract::model::tls::{CaBundle, CaHash};
use rr_contract::seal::region_key::RegionStatement;
use rr_contract::wire::management::{Region, Target};

use super::Plain;
use crate::noun::Noun;
use crate::service::error::Precondition;
use crate::service::region::{by_reference, statement};
use crate::service::resource::show;
use crate::service::{OrgCaller, Reason, ServiceError, Services};
use crate::store::{self, Stored, time_of};

/// The remedy where a region takes no secret in the clear.
const SEAL_ELSEWHERE: &str =
    "`rrctl credential create-upstream`, `create-caller`, `replace-secret` and `roll` seal on your machine";

impl Services {
    /// The keys that a secret in the clear is sealed to: those of the regions that are named, or of all that the organization
    /// may use and that take one.
    pub(super) async fn regions_for_plain(
        &self,
        at: &OrgCaller,
        named: &[String],
        field: &str,
    ) -> Result<Vec<RegionStatement>, ServiceError> {
        let now = time_of(self.store.now());
        if named.is_empty() {
            let rows = store::resource::all(&self.store, Noun::Region, "").await?;
            let all = store::resource::with_documents::<Region>(&self.store, rows).await?;
            let allowed = &at.org.document.allowed_regions;
            let is_allowed = |region: &Stored<Region>| {
                !region.document.dedicated_to.is_empty()
                    || allowed.is_empty()
                    || allowed.contains(&region.row.id)
            };
            let usable: Vec<_> =
                all.into_iter().filter(|region| is_usable(at, region) && is_allowed(region)).collect();
            let blind = usable.iter().filter(|region| region.document.blind_only).count();
            let mut keys = Vec::new();
            for region in usable.iter().filter(|region| !region.document.blind_only) {
                keys.push(statement(&region.document)?);
            }
            keys.retain(|key| key.not_after() > now);
            if keys.is_empty() && blind > 0 {
                let blind: Vec<_> = usable.iter().filter(|region| region.document.blind_only).collect();
                return Err(refused(&blind));
            }
            if keys.is_empty() {
                let what = "are missing: there is no region whose key the secret could be sealed to";
                return Err(ServiceError::field(format!("{field}.regions"), what));
            }
            return Ok(keys);
        }
        let (mut faults, mut keys, mut blind) = (Violations::default(), Vec::new(), Vec::new());
        for (i, reference) in named.iter().enumerate() {
            let field = format!("{field}.regions[{i}]");
            let found = by_reference(&self.store, reference).await?.filter(|region| is_usable(at, region));
            let Some(region) = found else {
                faults.add(field, format!("names region {reference:?}, which was not found"));
                continue;
            };
            let key = statement(&region.document)?;
            if key.not_after() <= now {
                faults.add(
                    field,
                    format!(
                        "names region {:?}, the statement of whose key has ended: its operator renews it",
                        region.row.name
                    ),
                );
            } else if keys.iter().any(|other: &RegionStatement| other.region() == key.region()) {
                faults.add(field, "is there twice");
            }
            if region.document.blind_only {
                blind.push(region);
            }
            keys.push(key);
        }
        faults.finish(|| Some(()))?;
        if !blind.is_empty() {
            return Err(refused(&blind.iter().collect::<Vec<_>>()));
        }
        Ok(keys)
    }

    /// Where a secret for an upstream may be sent, and the certificates that alone vouch for it there.
    pub(super) async fn destination(
        &self,
        at: &OrgCaller,
        plain: &Plain,
        field: &str,
        faults: &mut Violations,
    ) -> Result<Option<(Vec<Origin>, Option<CaHash>)>, ServiceError> {
        let mut origins = Vec::new();
        for (i, text) in plain.origins().iter().enumerate() {
            origins.extend(faults.take(format!("origins[{i}]"), text.parse::<Origin>()));
        }
        // Who named certificates first, and which; none where there are none.
        let mut ca: Option<(String, Option<CaHash>)> = None;
        if !plain.ca().is_empty() {
            let given = faults.take("ca", plain.ca().parse::<CaBundle>());
            ca = given.map(|given| (format!("{field}.ca"), Some(*given.hash())));
        }
        for (i, reference) in plain.targets().iter().enumerate() {
            let place = format!("targets[{i}]");
            let target = match show::<Target>(&self.store, at.scope(), reference, 0).await {
                Ok(target) => target.document,
                Err(ServiceError::NotFound { .. }) => {
                    faults.add(place, format!("names target {reference:?}, which was not found"));
                    continue;
                }
                Err(other) => return Err(other),
            };
            for url in std::iter::once(&target.base_url).chain(&target.more_base_urls) {
                // They were checked when they came.
                let url: BaseUrl = url.parse().map_err(|_| store::StoreError::Damaged("target"))?;
                let origin = Origin::of(&url);
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
            }
            let its = match &*target.ca {
                "" => None,
                text => {
                    let read = text.parse::<CaBundle>().map_err(|_| store::StoreError::Damaged("target"))?;
                    Some(*read.hash())
                }
            };
            match &ca {
                None => ca = Some((format!("target {:?}", target.name), its)),
                Some((_, before)) if *before == its => {}
                Some((whose, _)) => faults.add(
                    place,
                    format!(
                        "names target {:?}, which has other certificates (`ca`) than {whose}, and a secret is sealed for one \
                         `ca`: make a credential for each",
                        target.name
                    ),
                ),
            }
        }
        if origins.is_empty() && faults.is_empty() {
            faults.add("origins", "are missing, and so are `targets`: the secret could be sent nowhere");
        }
        Ok(Some((origins, ca.and_then(|(_, hash)| hash))))
    }
}

/// Whether the organization may use it. One that is dedicated to another is not found.
fn is_usable(at: &OrgCaller, region: &Stored<Region>) -> bool {
    let dedicated = &region.document.dedicated_to;
    dedicated.is_empty() || *dedicated == at.org.id
}

fn refused(blind: &[&Stored<Region>]) -> ServiceError {
    let names: Vec<String> = blind.iter().map(|region| format!("{:?}", region.row.name)).collect();
    ServiceError::Refused {
        reason: Reason::BlindOnly,
        text: format!(
            "no secret that comes in the clear is sealed to {} (`blind_only`), so that the control plane sees none: {SEAL_ELSEWHERE}",
            match &*names {
                [one] => format!("region {one}"),
                all => format!("regions {}", all.join(", ")),
            }
        ),
        preconditions: blind
            .iter()
            .map(|region| Precondition {
                subject: format!("regions/{}", region.row.id),
                text: format!("region {:?} takes no secret in the clear", region.row.name),
            })
            .collect(),
    }
}
