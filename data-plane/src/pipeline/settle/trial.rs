//! What a request that is to be explained notes of its stages.
//!
//! Costs any other request a look at each stage. The invariant: only who has a permission for the very proxy is told anything.

use std::time::Duration;

use rr_contract::runtime::chain;
use rr_contract::wire::fleet::{RequestStage, TrialEnd, TrialStage};
use tokio::sync::oneshot;

use crate::reply::{Denial, Refused};
use crate::report::RawRecord;
use crate::snapshot::CompiledProxy;
use crate::trials::{Trial, TrialFault};

use super::Draft;

/// How much of a reason is told.
const REASON_MAX: usize = 500;

/// What is known when the head of the response is, and where the rest will be told.
pub(in crate::pipeline) struct Explanation {
    pub(in crate::pipeline) stages: Vec<TrialStage>,
    pub(in crate::pipeline) node: String,
    pub(in crate::pipeline) end: oneshot::Receiver<TrialEnd>,
}

/// The stages of one request so far.
pub(super) struct Tried {
    trial: Trial,
    stages: Vec<TrialStage>,
    tell: oneshot::Sender<TrialEnd>,
    /// Until the head of the response is there.
    told: Option<oneshot::Receiver<TrialEnd>>,
}

impl Tried {
    fn close(&mut self, now: Duration) {
        if let Some(last) = self.stages.last_mut() {
            last.took_us = micros(now).saturating_sub(last.began_us);
        }
    }

    fn open(&mut self, stage: RequestStage, now: Duration) {
        self.close(now);
        self.stages.push(TrialStage { stage: stage.into(), began_us: micros(now), ..TrialStage::default() });
    }

    /// The request has ended.
    pub(super) fn end(mut self, now: Duration, record: RawRecord) {
        self.close(now);
        let record = Some(record.into_record());
        // Who asked may have gone.
        self.tell.send(TrialEnd { stages: self.stages, record, broken_off: false }).ok();
    }
}

impl Draft {
    /// It is to be explained to who made it.
    pub(in crate::pipeline) fn tries(&mut self, trial: Option<Trial>) {
        let Some(trial) = trial else { return };
        let (tell, told) = oneshot::channel();
        let mut tried = Tried { trial, stages: Vec::new(), tell, told: Some(told) };
        tried.open(RequestStage::Resolve, self.started.elapsed());
        self.tried = Some(Box::new(tried));
    }

    /// Which proxy it is for. Nothing is told of another one.
    pub(in crate::pipeline) fn is_tried_at(&mut self, proxy: Option<&CompiledProxy>) -> Result<(), Denial> {
        let Some(tried) = &self.tried else { return Ok(()) };
        let is_it = |proxy: &CompiledProxy| (proxy.org_id, proxy.id) == (tried.trial.org, tried.trial.proxy);
        // Alike, so that names of others cannot be probed.
        if proxy.is_some_and(is_it) { Ok(()) } else { Err(Denial::Trial(TrialFault::Proxy)) }
    }

    /// Refuses what cannot be explained.
    pub(in crate::pipeline) fn is_untried(&self) -> Result<(), Denial> {
        if self.tried.is_some() { Err(Denial::Trial(TrialFault::Kind)) } else { Ok(()) }
    }

    /// The stage begins, and the one before it has ended.
    pub(in crate::pipeline) fn enters(&mut self, stage: RequestStage) {
        if let Some(tried) = &mut self.tried {
            tried.open(stage, self.started.elapsed());
        }
    }

    /// The request ends in the stage that it came to.
    pub(super) fn ends_by(&mut self, refused: &Refused) {
        if let Refused::Denial(Denial::Trial(_)) = refused {
            self.tried = None;
        }
        let Some(tried) = &mut self.tried else { return };
        if let Some(last) = tried.stages.last_mut() {
            last.refused = true;
            last.reason = chain(refused).to_string();
            if last.reason.len() > REASON_MAX {
                last.reason = last.reason.chars().take(REASON_MAX / 4).collect();
            }
        }
    }

    /// The head of the response is there: what is told with it, to who may see it.
    pub(in crate::pipeline) fn explanation(&mut self) -> Option<Explanation> {
        self.enters(RequestStage::Settle);
        let tried = self.tried.as_mut()?;
        let stages = tried.stages.split_last().map(|(_, done)| done.to_vec()).unwrap_or_default();
        Some(Explanation { stages, node: tried.trial.node.to_string(), end: tried.told.take()? })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
