//! `rrctl revision wait`: waits until the nodes run a revision.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;

use crate::fault;
use crate::print::{Row, few, note};
use crate::session::Session;

/// Time for the answer beyond the deadline.
const GRACE: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(crate) struct WaitArgs {
    /// Number of the revision, or `head` for the newest.
    #[arg(value_parser = revision)]
    revision: u64,
    /// Waits only for nodes of this region, by name or id; can be repeated. All regions when not given.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// Stage that the nodes have to reach.
    #[arg(long, value_enum, default_value_t = Stage::Serving)]
    stage: Stage,
    /// Share of the connected nodes of each region, in percent.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    percent: u32,
    /// Longest time to wait, as `30s` or `5m`; at most 10 minutes.
    #[arg(long, default_value = "30s", value_parser = deadline)]
    deadline: Duration,
    /// Ends with exit code 0 even if a node refuses a resource.
    #[arg(long)]
    allow_refusals: bool,
}

/// A stage of a revision on a node.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// In force for new requests, and on disk.
    Active,
    /// Every traffic worker uses it.
    Serving,
    /// The node has run it for ten seconds without a crash.
    Proven,
}

fn revision(text: &str) -> Result<u64, String> {
    if text == "head" {
        return Ok(0);
    }
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| "a revision is a number, or `head`".to_owned())
}

/// A time to wait, in seconds or minutes.
pub(crate) fn deadline(text: &str) -> Result<Duration, String> {
    let wrong = || "write it like 30s or 5m; at most 10 minutes".to_owned();
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|seconds| *seconds <= 600).map(Duration::from_secs).ok_or_else(wrong)
}

impl WaitArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let stage = match self.stage {
            Stage::Active => fleet::Stage::Active,
            Stage::Serving => fleet::Stage::Serving,
            Stage::Proven => fleet::Stage::Proven,
        };
        let ask = fleet::WaitForRevisionRequest {
            revision: self.revision,
            regions: self.regions,
            stage: stage.into(),
            percent: self.percent,
            deadline: Some(wire_duration(self.deadline)),
        };
        wait(session, ask, self.deadline, self.allow_refusals).await
    }
}

/// Waits until every connected node that the caller can see serves a revision.
pub(crate) async fn until_served(
    session: &Session,
    revision: u64,
    deadline: Duration,
    allow_refusals: bool,
) -> Result<()> {
    let deadline_said = Some(wire_duration(deadline));
    let ask = fleet::WaitForRevisionRequest { revision, deadline: deadline_said, ..Default::default() };
    wait(session, ask, deadline, allow_refusals).await
}

/// The same, where another output is what was asked for: prints nothing, and refusals are an error.
pub(crate) async fn until_served_beside(session: &Session, revision: u64, deadline: Duration) -> Result<()> {
    let deadline_said = Some(wire_duration(deadline));
    let ask = fleet::WaitForRevisionRequest { revision, deadline: deadline_said, ..Default::default() };
    let mut stub = FleetServiceClient::new(session.endpoint.connect_for(deadline + GRACE).await?);
    judge(&stub.wait_for_revision(ask).await?.into_inner(), false)
}

async fn wait(
    session: &Session,
    ask: fleet::WaitForRevisionRequest,
    deadline: Duration,
    allow_refusals: bool,
) -> Result<()> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect_for(deadline + GRACE).await?);
    let answer = stub.wait_for_revision(ask).await?.into_inner();
    session.print.list(&answer.regions)?;
    let verdict = judge(&answer, allow_refusals);
    if verdict.is_ok() && answer.regions.iter().all(|region| region.connected == 0) {
        note("no node is connected; nodes receive the revision when they connect");
    }
    verdict
}

/// Whether the wait succeeded. A node that refuses a resource may not run all of the revision: that is a failure unless
/// refusals are allowed.
fn judge(answer: &fleet::WaitForRevisionResponse, allow_refusals: bool) -> Result<()> {
    if !answer.reached {
        return Err(fault::ended(
            &format!("not all nodes run revision {} in time", answer.revision),
            "`rrctl node list --behind` lists the others, and `rrctl node why NODE` shows the reason",
        ));
    }
    let refusing: Vec<String> = answer.regions.iter().flat_map(|region| &region.refusing).cloned().collect();
    if refusing.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the nodes run revision {}, and these refuse a resource: {}",
        answer.revision,
        few(&refusing)
    );
    if allow_refusals {
        note(&format!("{what}; `rrctl node why NODE` and `rrctl explain` show which"));
        return Ok(());
    }
    Err(fault::ended(
        &what,
        "`rrctl node why NODE` and `rrctl explain` show which; --allow-refusals accepts refusals",
    ))
}

impl Row for fleet::RegionProgress {
    const COLUMNS: &'static [&'static str] =
        &["region", "connected", "reached", "behind", "refusing", "disconnected"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.region.clone(),
            self.connected.to_string(),
            self.reached.to_string(),
            few(&self.behind),
            few(&self.refusing),
            few(&self.disconnected),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_a_unit_and_an_end() {
        assert_eq!(deadline("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(deadline("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["11m", "601s", "soon", "-1s", ""] {
            assert!(deadline(wrong).is_err(), "{wrong}");
        }
    }

    fn answer(reached: bool, refusing: &[&str]) -> fleet::WaitForRevisionResponse {
        let region = fleet::RegionProgress {
            connected: 2,
            refusing: refusing.iter().map(|id| (*id).to_owned()).collect(),
            ..fleet::RegionProgress::default()
        };
        fleet::WaitForRevisionResponse { revision: 7, reached, regions: vec![region] }
    }

    #[test]
    fn what_has_not_come_in_time_or_is_refused_is_no_success() {
        assert!(judge(&answer(true, &[]), false).is_ok());
        for allow_refusals in [false, true] {
            let late = judge(&answer(false, &[]), allow_refusals).expect_err("not in time");
            assert!(late.to_string().contains("in time"), "{late}");
        }
        let refused = judge(&answer(true, &["nd_1"]), false).expect_err("a node refuses").to_string();
        assert!(refused.contains("nd_1") && refused.contains("--allow-refusals"), "{refused}");
        assert!(judge(&answer(true, &["nd_1"]), true).is_ok());
        assert!(judge(&answer(false, &["nd_1"]), true).is_err());
    }

    #[test]
    fn head_is_the_newest_and_zero_is_no_revision() {
        assert_eq!(revision("head"), Ok(0));
        assert_eq!(revision("7"), Ok(7));
        assert!(revision("0").is_err() && revision("latest").is_err());
    }
}
