//! `rrctl revision wait`: until a revision has come to the nodes.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;

use crate::fault;
use crate::print::{Row, few, note};
use crate::session::Session;

/// What the answer may take beyond the deadline.
const GRACE: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(crate) struct WaitArgs {
    /// Its number, or `head` for the newest.
    #[arg(value_parser = revision)]
    revision: u64,
    /// Only of this region, by name or id; can be given more than once. All when never given.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// How far.
    #[arg(long, value_enum, default_value_t = Stage::Serving)]
    stage: Stage,
    /// How many of each region's connected nodes.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    percent: u32,
    /// How long, as `30s` or `5m`; at most 10 minutes.
    #[arg(long, default_value = "30s", value_parser = deadline)]
    deadline: Duration,
    /// Ends with 0 although some nodes refuse something.
    #[arg(long)]
    allow_refusals: bool,
}

/// How far a revision has come on a node.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// On disk, and in force for what comes.
    Active,
    /// Every traffic worker has run on it.
    Serving,
    /// The node stayed alive on it for a while.
    Proven,
}

fn revision(text: &str) -> Result<u64, String> {
    if text == "head" {
        return Ok(0);
    }
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "it is a number, or `head`".to_owned())
}

/// A time to wait: seconds, or minutes.
pub(crate) fn deadline(text: &str) -> Result<Duration, String> {
    let wrong = || "it is a time as 30s or 5m, 10 minutes at most".to_owned();
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

/// What an answer comes to. A node that refuses something may run less than the revision says: that is no success unless
/// somebody said so.
fn judge(answer: &fleet::WaitForRevisionResponse, allow_refusals: bool) -> Result<()> {
    if !answer.reached {
        return Err(fault::ended(
            &format!("revision {} has not come to all nodes in time", answer.revision),
            "`rrctl node list --behind` and `rrctl node why NODE` say which and why",
        ));
    }
    let refusing: Vec<String> = answer.regions.iter().flat_map(|region| &region.refusing).cloned().collect();
    if refusing.is_empty() {
        return Ok(());
    }
    let what =
        format!("revision {} has come, and some nodes refuse something: {}", answer.revision, few(&refusing));
    if allow_refusals {
        note(&format!("{what}; `rrctl node why NODE` and `rrctl explain` say what"));
        return Ok(());
    }
    Err(fault::ended(
        &what,
        "`rrctl node why NODE` and `rrctl explain` say what; --allow-refusals takes it as done",
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
