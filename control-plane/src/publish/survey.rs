//! Finds out by buckets what a node holds that our history cannot have brought it, or not that we remember.
//!
//! Sums first, then lists of the buckets whose sums differ. The region may change meanwhile: what is compared belongs to
//! the revision at which the sums were, and what changed since comes out of the log. Sums are hints; the digest at
//! the commit is the proof. Changes nothing and sends nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rr_contract::digest::{BUCKETS_LOG2_MAX, ResourceHash, bucket};
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet::{self, BucketQuery, BucketReport, Position};

use super::index::Index;
use super::parsed::ParsedResource;
use super::{Base, Publisher};

/// How many resources a bucket has where that can be chosen.
const A_BUCKET: u64 = 16;
/// A region this small is never sent as a whole to a node that holds something.
const SMALL: u64 = 64;
/// Buckets that are read from the index at once.
const SLICE: usize = 128;

/// A question that is open.
pub(super) struct Survey {
    query: [u8; 8],
    log2: u32,
    stage: Stage,
}

enum Stage {
    Sums,
    Lists(Lists),
}

struct Lists {
    /// Where the node stood when it told the sums; none where only a list was asked for.
    at: Option<Position>,
    /// The revision of ours that its sums were compared with.
    revision: u64,
    asked: BTreeSet<u32>,
    held: HashMap<Key, ResourceHash>,
}

/// What to do after a report.
pub(super) enum Step {
    /// More of the answer is to come, or it is to another question.
    Wait(Survey),
    /// This is to be asked.
    Ask(Survey, BucketQuery),
    /// This is what the node has.
    Known(Base),
    /// The index is gone that it was compared with.
    Gone,
}

/// Why a report is not an answer to the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidReport {
    #[error("the report has no position")]
    NoPosition,
    #[error("the content of the node changed during the report")]
    Moved,
    #[error("the report has {0} sums, another number than was asked for")]
    Sums(usize),
    #[error("the report lists a resource that was not asked for, or cannot be read")]
    Held,
    #[error("the report lists more resources than the node says it holds")]
    Endless,
}

impl Survey {
    /// The first question to a node that says it holds so many resources.
    pub(super) fn open(query: [u8; 8], index: &Index, region: RegionId, holds: u64) -> (Self, BucketQuery) {
        let log2 = buckets(index.position(region).count.max(holds));
        // One bucket has one sum, and that it differs is known.
        let (stage, list) = if log2 == 0 {
            (Stage::Lists(Lists::of(None, index.head(), BTreeSet::from([0]))), vec![0])
        } else {
            (Stage::Sums, Vec::new())
        };
        (Self { query, log2, stage }, BucketQuery { query: query.to_vec(), log2_buckets: log2, list })
    }

    /// Takes a report in.
    pub(super) async fn take(
        self,
        publisher: &Publisher,
        (region, generation): (RegionId, u64),
        report: BucketReport,
    ) -> Result<Step, InvalidReport> {
        if report.query != self.query {
            return Ok(Step::Wait(self));
        }
        match self.stage {
            Stage::Sums => sums(self.query, self.log2, publisher, (region, generation), report),
            Stage::Lists(mut lists) => {
                let more = report.more;
                lists.take(self.log2, report)?;
                if more {
                    return Ok(Step::Wait(Self { stage: Stage::Lists(lists), ..self }));
                }
                Ok(match lists.compare(self.log2, publisher, (region, generation)).await {
                    Some(base) => Step::Known(base),
                    None => Step::Gone,
                })
            }
        }
    }
}

fn sums(
    query: [u8; 8],
    log2: u32,
    publisher: &Publisher,
    (region, generation): (RegionId, u64),
    report: BucketReport,
) -> Result<Step, InvalidReport> {
    let at = report.at.ok_or(InvalidReport::NoPosition)?;
    if report.sums.len() != 1 << log2 {
        return Err(InvalidReport::Sums(report.sums.len()));
    }
    let index = publisher.read();
    let Some(index) = index.as_ref().filter(|index| index.generation() == generation) else {
        return Ok(Step::Gone);
    };
    let position = index.position(region);
    if at.digest == position.digest {
        return Ok(Step::Known(Base::Differs(at, Arc::default(), position.revision)));
    }
    let ours = index.view(region).map_or_else(|| vec![0; 1 << log2], |view| view.sums(log2));
    let asked: BTreeSet<u32> = (0..)
        .zip(ours.iter().zip(&report.sums))
        .filter(|(_, (ours, theirs))| ours != theirs)
        .map(|(bucket, _)| bucket)
        .collect();
    let most = asked.len() * 10 > ours.len() * 9 && position.count > SMALL;
    // Equal sums of another content are no way to find what differs.
    if at.count == 0 || asked.is_empty() || most {
        return Ok(Step::Known(Base::Nothing));
    }
    let list = asked.iter().copied().collect();
    let lists = Lists::of(Some(at), position.revision, asked);
    let survey = Survey { query, log2, stage: Stage::Lists(lists) };
    Ok(Step::Ask(survey, BucketQuery { query: query.to_vec(), log2_buckets: log2, list }))
}

impl Lists {
    fn of(at: Option<Position>, revision: u64, asked: BTreeSet<u32>) -> Self {
        Self { at, revision, asked, held: HashMap::new() }
    }

    fn take(&mut self, log2: u32, report: BucketReport) -> Result<(), InvalidReport> {
        let at = report.at.ok_or(InvalidReport::NoPosition)?;
        match &self.at {
            None => self.at = Some(at),
            Some(before) if before.digest == at.digest => {}
            Some(_) => return Err(InvalidReport::Moved),
        }
        let most = self.at.as_ref().map_or(0, |at| at.count);
        for held in report.held {
            let (key, hash) = read(held).ok_or(InvalidReport::Held)?;
            if !self.asked.contains(&bucket(&key, log2)) {
                return Err(InvalidReport::Held);
            }
            self.held.insert(key, hash);
            if self.held.len() as u64 > most {
                return Err(InvalidReport::Endless);
            }
        }
        Ok(())
    }

    /// In which keys the node differs from us. None where the index it was compared with is gone.
    async fn compare(
        mut self,
        log2: u32,
        publisher: &Publisher,
        (region, generation): (RegionId, u64),
    ) -> Option<Base> {
        let mut keys = Vec::new();
        let asked: Vec<u32> = std::mem::take(&mut self.asked).into_iter().collect();
        for slice in asked.chunks(SLICE) {
            let ours: Vec<(Key, Arc<ParsedResource>)> = {
                let index = publisher.read();
                let index = index.as_ref().filter(|index| index.generation() == generation)?;
                let view = index.view(region);
                let listed = |bucket: &u32| view.map(|view| view.bucket(log2, *bucket)).unwrap_or_default();
                slice.iter().flat_map(listed).collect()
            };
            for (key, entry) in ours {
                if self.held.remove(&key) != Some(*entry.payload.hash()) {
                    keys.push(key);
                }
            }
            tokio::task::yield_now().await;
        }
        // What is left over is nowhere with us.
        keys.extend(self.held.into_keys());
        let at = self.at?;
        if keys.is_empty() {
            let index = publisher.read();
            let index = index.as_ref().filter(|index| index.generation() == generation)?;
            let same = match index.view(region) {
                Some(view) => view.digest_at(self.revision).is_some_and(|digest| digest[..] == at.digest),
                None => at.count == 0,
            };
            if !same {
                // It holds what we hold and calls it otherwise: only everything anew helps.
                return Some(Base::Nothing);
            }
        }
        Some(Base::Differs(at, keys.into(), self.revision))
    }
}

pub(super) fn read(held: fleet::Held) -> Option<(Key, ResourceHash)> {
    let key = Key::try_from(&held.key?).ok()?;
    Some((key, held.hash.try_into().ok()?))
}

/// So many that each has about 16 resources.
fn buckets(count: u64) -> u32 {
    count.div_ceil(A_BUCKET).next_power_of_two().trailing_zeros().min(BUCKETS_LOG2_MAX)
}
