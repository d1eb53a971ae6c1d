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
/// How long an apply waits where nothing is said.
const USUALLY: Duration = Duration::from_secs(30);

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
    #[arg(long, alias = "timeout", default_value = "30s", value_parser = deadline)]
    deadline: Duration,
    /// Ends with exit code 0 even if a node refuses a resource.
    #[arg(long)]
    allow_refusals: bool,
}

/// Whether a change waits for the nodes.
#[derive(Args)]
pub(crate) struct Awaited {
    /// Waits until the connected nodes of each region run the revision: the stage, as `active`, `serving` or `proven`, and
    /// the share of the nodes, as `serving:99%`. All of them serving when nothing is given.
    #[arg(long, num_args = 0..=1, default_missing_value = "serving:100%", require_equals = true, value_name = "STAGE:PERCENT", value_parser = goal, conflicts_with = "dry_run")]
    wait: Option<Goal>,
    /// With --wait: longest time to wait, as `90s` or `2m`; at most 10 minutes. 30 seconds when not given.
    #[arg(long, value_name = "DURATION", value_parser = deadline, requires = "wait")]
    timeout: Option<Duration>,
    /// With --wait: ends with exit code 0 even if a node refuses a resource.
    #[arg(long, requires = "wait")]
    allow_refusals: bool,
}

impl Awaited {
    /// What is waited for; `None`: nothing is.
    pub(crate) fn goal(&self) -> Result<Option<Wait>> {
        let goal = self.wait.map(|goal| goal.within(self.timeout)).transpose()?;
        Ok(goal.map(|goal| Wait { goal, allow_refusals: self.allow_refusals }))
    }
}

/// A goal, and whether nodes that refuse a resource count.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    goal: Goal,
    allow_refusals: bool,
}

/// A stage of a revision on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
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

/// How far a revision has to get, and on how many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goal {
    stage: Stage,
    /// Of the connected nodes of each region.
    percent: u32,
    /// The longest time to wait, where the goal itself says it.
    deadline: Option<Duration>,
}

/// A stage and a share: `serving`, `serving:99%`. A time alone, as `30s`, is the time in which all nodes have to serve.
pub(crate) fn goal(text: &str) -> Result<Goal, String> {
    if let Ok(time) = deadline(text) {
        return Ok(Goal { stage: Stage::Serving, percent: 100, deadline: Some(time) });
    }
    let wrong = || "write it like serving or serving:99%; stages are active, serving and proven".to_owned();
    let (stage, share) = text.split_once(':').unwrap_or((text, "100%"));
    let stage = Stage::from_str(stage, false).map_err(|_| wrong())?;
    let percent = share.strip_suffix('%').and_then(|number| number.parse().ok());
    let percent = percent.filter(|percent| (1..=100).contains(percent)).ok_or_else(wrong)?;
    Ok(Goal { stage, percent, deadline: None })
}

impl Goal {
    /// The same with the time that was given beside it.
    pub(crate) fn within(self, time: Option<Duration>) -> Result<Self> {
        match (self.deadline, time) {
            (Some(_), Some(_)) => Err(fault::usage(
                "--wait and --timeout both say how long to wait",
                "leave the time to --timeout, as in `--wait=serving:100% --timeout 30s`",
            )),
            (said, time) => Ok(Self { deadline: Some(said.or(time).unwrap_or(USUALLY)), ..self }),
        }
    }
}

impl Stage {
    fn to_wire(self) -> fleet::Stage {
        match self {
            Self::Active => fleet::Stage::Active,
            Self::Serving => fleet::Stage::Serving,
            Self::Proven => fleet::Stage::Proven,
        }
    }
}

impl WaitArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let ask = fleet::WaitForRevisionRequest {
            revision: self.revision,
            regions: self.regions,
            stage: self.stage.to_wire().into(),
            percent: self.percent,
            deadline: Some(wire_duration(self.deadline)),
        };
        let answer = answered(session, ask, self.deadline).await?;
        session.print.list(&answer.regions)?;
        ended(&answer, self.allow_refusals)
    }
}

impl Wait {
    /// Waits until the connected nodes that the caller can see have got as far with a revision. Programs have read the answer
    /// to what made the revision, and get no second one.
    pub(crate) async fn until(self, session: &Session, revision: u64) -> Result<()> {
        let Goal { stage, percent, deadline } = self.goal;
        let deadline = deadline.unwrap_or(USUALLY);
        let ask = fleet::WaitForRevisionRequest {
            revision,
            stage: stage.to_wire().into(),
            percent,
            deadline: Some(wire_duration(deadline)),
            ..Default::default()
        };
        let answer = answered(session, ask, deadline).await?;
        if !session.print.is_data() {
            session.print.list(&answer.regions)?;
        }
        ended(&answer, self.allow_refusals)
    }
}

/// The same, where another output is what was asked for: prints nothing, and refusals are an error. How many nodes are
/// connected.
pub(crate) async fn until_served_beside(session: &Session, revision: u64, deadline: Duration) -> Result<u32> {
    let deadline_said = Some(wire_duration(deadline));
    let ask = fleet::WaitForRevisionRequest { revision, deadline: deadline_said, ..Default::default() };
    let answer = answered(session, ask, deadline).await?;
    judge(&answer, false)?;
    Ok(answer.regions.iter().map(|region| region.connected).sum())
}

async fn answered(
    session: &Session,
    ask: fleet::WaitForRevisionRequest,
    deadline: Duration,
) -> Result<fleet::WaitForRevisionResponse> {
    let mut stub = FleetServiceClient::new(session.endpoint.connect_for(deadline + GRACE).await?);
    Ok(stub.wait_for_revision(ask).await?.into_inner())
}

fn ended(answer: &fleet::WaitForRevisionResponse, allow_refusals: bool) -> Result<()> {
    let verdict = judge(answer, allow_refusals);
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
            &format!("too few nodes run revision {} in time", answer.revision),
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

    #[test]
    fn a_goal_is_a_stage_and_a_share_and_a_time_alone_means_all_nodes_serving() {
        let of =
            |text: &str| goal(text).and_then(|goal| goal.within(None).map_err(|error| error.to_string()));
        let wanted = |stage, percent, seconds| {
            Ok(Goal { stage, percent, deadline: Some(Duration::from_secs(seconds)) })
        };
        assert_eq!(of("serving:99%"), wanted(Stage::Serving, 99, 30));
        assert_eq!(of("active"), wanted(Stage::Active, 100, 30));
        assert_eq!(of("proven:100%"), wanted(Stage::Proven, 100, 30));
        assert_eq!(of("5s"), wanted(Stage::Serving, 100, 5));
        let timed = goal("serving:50%").map(|goal| goal.within(Some(Duration::from_secs(120))).ok());
        assert_eq!(timed.map(|goal| goal.and_then(|goal| goal.deadline)), Ok(Some(Duration::from_secs(120))));
        for wrong in ["", "served", "serving:", "serving:99", "serving:0%", "serving:101%", "99%", ":99%"] {
            assert!(goal(wrong).is_err(), "{wrong}");
        }
        let twice = goal("5s").map(|goal| goal.within(Some(Duration::from_secs(1))).is_err());
        assert_eq!(twice, Ok(true));
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
