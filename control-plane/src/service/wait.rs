//! Waiting until a revision has come to the nodes.
//!
//! Looks when a node said something or the head moved, and not oftener than that is useful.

use std::collections::HashSet;
use std::time::Duration;

use rr_contract::model::id::RegionId;
use rr_contract::wire::fleet::{self, Stage};
use tokio::time::{Instant, sleep, sleep_until};

use super::node::NAMED;
use super::region::is_visible;
use super::{ServiceError, Services};
use crate::authz::Principal;
use crate::noun::Noun;
use crate::store::{self, Stored, decision, node_row};
use rr_contract::wire::management::Region;

const DEADLINE: Duration = Duration::from_secs(30);
const DEADLINE_MOST: Duration = Duration::from_secs(600);
/// How long to gather reports of nodes before the progress is computed again.
const GATHER: Duration = Duration::from_millis(20);
/// How often rows are read again, for nodes that joined and for the nodes of other replicas.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// How many regions may be named.
const REGIONS_MOST: usize = 100;

/// The condition that the call waits for.
struct Wanted {
    revision: u64,
    stage: Stage,
    percent: u64,
    regions: Vec<Stored<Region>>,
}

impl Services {
    /// Waits until a revision has come as far as asked.
    pub(crate) async fn revision_wait(
        &self,
        principal: &Principal,
        request: fleet::WaitForRevisionRequest,
    ) -> Result<fleet::WaitForRevisionResponse, ServiceError> {
        let until = Instant::now() + deadline(request.deadline.as_ref())?;
        let wanted = self.wanted(principal, &request).await?;
        let (mut spoke, mut heads) = (self.publisher.fleet().spoke(), self.publisher.heads());
        loop {
            let rows = self.rows_of(&wanted).await?;
            let read_again = Instant::now() + READ_AGAIN;
            loop {
                spoke.mark_unchanged();
                heads.mark_unchanged();
                let answer = self.progress(&wanted, &rows);
                let now = Instant::now();
                if answer.reached || now >= until || self.stop.is_requested() {
                    return Ok(answer);
                }
                if now >= read_again {
                    break;
                }
                tokio::select! {
                    _ = spoke.changed() => sleep(GATHER).await,
                    _ = heads.changed() => {}
                    () = self.stop.requested() => {}
                    () = sleep_until(until.min(read_again)) => {}
                }
            }
        }
    }

    async fn wanted(
        &self,
        principal: &Principal,
        request: &fleet::WaitForRevisionRequest,
    ) -> Result<Wanted, ServiceError> {
        let head = self.installation().await?.revision;
        if request.revision > head {
            return Err(ServiceError::field(
                "revision",
                format!("does not exist yet: the newest revision is {head}"),
            ));
        }
        if request.percent > 100 {
            return Err(ServiceError::field("percent", "must be 1 to 100, or 0 for all nodes"));
        }
        if request.regions.len() > REGIONS_MOST {
            return Err(ServiceError::field("regions", format!("must have at most {REGIONS_MOST} entries")));
        }
        let stage = match Stage::try_from(request.stage) {
            Ok(Stage::Unspecified) => Stage::Serving,
            Ok(stage) => stage,
            Err(_) => return Err(ServiceError::field("stage", "is not known")),
        };
        let mut regions: Vec<Stored<Region>> = Vec::new();
        for reference in &request.regions {
            let region = self.region_show(principal, reference).await?;
            if regions.iter().all(|known| known.row.id != region.row.id) {
                regions.push(region);
            }
        }
        if request.regions.is_empty() {
            let rows = store::resource::all(&self.store, Noun::Region, "").await?;
            regions = store::resource::with_documents(&self.store, rows).await?;
            regions.retain(|region| is_visible(principal, region));
        }
        let revision = if request.revision == 0 { head } else { request.revision };
        let percent = if request.percent == 0 { 100 } else { u64::from(request.percent) };
        Ok(Wanted { revision, stage, percent, regions })
    }

    async fn rows_of(
        &self,
        wanted: &Wanted,
    ) -> Result<(Vec<node_row::Model>, HashSet<String>), ServiceError> {
        let ids: Vec<String> = wanted.regions.iter().map(|region| region.row.id.clone()).collect();
        let strays = decision::notes(&self.store, self.store.now()).await?.strays.into_keys().collect();
        Ok((self.node_rows(&ids).await?, strays))
    }

    fn progress(
        &self,
        wanted: &Wanted,
        (rows, strays): &(Vec<node_row::Model>, HashSet<String>),
    ) -> fleet::WaitForRevisionResponse {
        let mut regions = Vec::with_capacity(wanted.regions.len());
        let mut all = true;
        for region in &wanted.regions {
            let mut progress =
                fleet::RegionProgress { region: region.row.name.clone(), ..fleet::RegionProgress::default() };
            let id = region.row.id.parse::<RegionId>().ok();
            for row in rows.iter().filter(|row| row.region == region.row.id) {
                let Some(status) = self.status_of(row) else {
                    name(&mut progress.disconnected, &row.id);
                    continue;
                };
                progress.connected += 1;
                if !status.standing.is_empty() {
                    name(&mut progress.refusing, &row.id);
                }
                let at = match wanted.stage {
                    Stage::Active => &status.running,
                    Stage::Proven => &status.proven,
                    Stage::Unspecified | Stage::Serving => &status.serving,
                };
                let there = |at: &fleet::Position| {
                    id.is_some_and(|id| self.publisher.has_reached(id, at, wanted.revision))
                };
                if at.as_ref().is_some_and(there) && !strays.contains(&row.id) {
                    progress.reached += 1;
                } else {
                    name(&mut progress.behind, &row.id);
                }
            }
            all &= u64::from(progress.reached) * 100 >= u64::from(progress.connected) * wanted.percent;
            regions.push(progress);
        }
        fleet::WaitForRevisionResponse { reached: all, revision: wanted.revision, regions }
    }

    /// The last status of a connected node, here or at another replica; none where it is not connected.
    pub(super) fn status_of(&self, row: &node_row::Model) -> Option<fleet::Status> {
        use prost::Message as _;

        if let Some(live) = self.publisher.fleet().node(&row.id) {
            return Some(live.status);
        }
        let leased = row.leased_until > self.store.now();
        leased.then(|| fleet::Status::decode(row.status.as_slice()).unwrap_or_default())
    }
}

/// The first ids are told.
pub(super) fn name(ids: &mut Vec<String>, id: &str) {
    if ids.len() < NAMED {
        ids.push(id.to_owned());
    }
}

fn deadline(said: Option<&pbjson_types::Duration>) -> Result<Duration, ServiceError> {
    let Some(said) = said else { return Ok(DEADLINE) };
    let wrong = || ServiceError::field("deadline", "must be 0 s to 10 minutes");
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(said.seconds), u32::try_from(said.nanos)) else {
        return Err(wrong());
    };
    if nanos >= 1_000_000_000 || seconds > DEADLINE_MOST.as_secs() {
        return Err(wrong());
    }
    let said = Duration::new(seconds, nanos);
    if said > DEADLINE_MOST { Err(wrong()) } else { Ok(said) }
}
