//! Decides which of two processes with the identity of one node has its place: the one that is there and answers.
//!
//! Neither a count of starts nor how long ago something was said proves anything: a copy has all that the original has.
//! So the process that has the place is asked, over its own stream, wherever that is. One that answers keeps its place,
//! and the newcomer is not let in; one that does not is fenced, and the newcomer takes over. A process that was
//! fenced by mistake comes again, is itself a newcomer then, and both are shown.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rr_contract::model::id::NodeId;
use rr_contract::runtime::Stop;
use rr_contract::seam::draw;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Fleet, LiveNode, Seat, Slot, State};
use crate::store::ledger::{Answer, Leased, Question};

/// How long a process may take to answer a ping.
const PING_LIMIT: Duration = Duration::from_secs(2);
/// How often a replica looks for what others ask it.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a replica may take to take a question up. One that has ended never does.
const HEARD_LIMIT: Duration = Duration::from_secs(1);
/// How long it may take to answer one that it took up.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How often it is looked for an answer.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How many questions wait for an answer at once. A newcomer beyond that is told to come again.
pub(super) const ASKING_MOST: usize = 32;
/// For how long a replica that took no question up is not asked another one: its word on nodes ends after that.
const SILENT_FOR: i64 = 20_000_000;
/// After how many turns a newcomer is told to come again: each time another one was quicker.
const TURNS: usize = 4;

/// A node that two processes claim to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) node: NodeId,
    pub(crate) region: rr_contract::model::id::RegionId,
    /// The address of the process that is connected, and of the one that is not let in.
    pub(crate) there: String,
    pub(crate) newcomer: String,
    /// It could not be found out whether the first process is there: no clash is noted.
    pub(crate) perhaps: bool,
}

/// Wakes a session to ping its node or to have it test a target, and the newcomers that wait for the answer.
#[derive(Default)]
pub(super) struct Pulse {
    pub(super) ask: Notify,
    pub(super) test: Notify,
    pub(super) told: Notify,
}

/// The outcome of a ping.
enum Life {
    There,
    Silent,
    /// Its stream ended, or another has its place by now.
    Gone,
}

/// What a newcomer meets.
enum Turn {
    In(Seat),
    /// A session here, which is pinged.
    Here(Pinged),
    /// Another replica's.
    Elsewhere(Box<Leased>),
}

/// A session that was asked whether its node is there.
struct Pinged {
    session: u64,
    number: u64,
    address: String,
    pulse: Arc<Pulse>,
}

impl Fleet {
    /// Takes a node's place. An older session of the same process is fenced; another process keeps its place if it is
    /// there to say so.
    pub(crate) async fn enter(&self, id: NodeId, node: LiveNode) -> Result<Seat, Clash> {
        let clash = |there: &str, perhaps| Clash {
            node: id,
            region: node.region,
            there: there.to_owned(),
            newcomer: node.address.clone(),
            perhaps,
        };
        for _ in 0..TURNS {
            match self.turn(id, &node) {
                Turn::In(seat) => return Ok(seat),
                Turn::Here(pinged) => match self.life(id, &pinged).await {
                    Life::There => return Err(self.meet(clash(&pinged.address, false))),
                    Life::Silent => self.fence(id, &pinged),
                    Life::Gone => {}
                },
                Turn::Elsewhere(there) => match self.ask(&there).await {
                    Answer::There => return Err(self.meet(clash(&there.address, false))),
                    Answer::Gone => self.state().is_gone(&there),
                    Answer::None | Answer::Heard => return Err(clash(&there.address, true)),
                },
            }
        }
        Err(clash("", true))
    }

    /// Takes the place where nobody else has it.
    fn turn(&self, id: NodeId, node: &LiveNode) -> Turn {
        let mut state = self.state();
        if let Some(slot) = state.nodes.get_mut(&id) {
            if slot.node.boot_id != node.boot_id {
                return Turn::Here(slot.ping());
            }
        } else if let Some(there) = state.elsewhere.get(&id)
            && there.boot_id != node.boot_id
        {
            return Turn::Elsewhere(Box::new(there.clone()));
        }
        state.next += 1;
        let session = state.next;
        let (fence, pulse) = (CancellationToken::new(), Arc::new(Pulse::default()));
        let mut node = node.clone();
        if let Some(proven) = state.proven(id) {
            node.had_proven(proven);
        }
        state.elsewhere.remove(&id);
        state.left.remove(&id);
        state.spoke.send_modify(|count| *count += 1);
        let slot = Slot {
            session,
            fence: fence.clone(),
            node,
            claimed: false,
            askers: Vec::new(),
            tests: Vec::new(),
            pulse: Arc::clone(&pulse),
            pinged: 0,
            answered: 0,
        };
        if let Some(older) = state.nodes.insert(id, slot) {
            older.fence.cancel();
            older.pulse.told.notify_waiters();
        }
        drop(state);
        if self.0.ledger.is_shared() {
            // So that no other replica lets a copy in meanwhile.
            self.0.moved.notify_one();
        }
        Turn::In(Seat { fleet: self.clone(), node: id, session, fence, pulse })
    }

    /// What comes of a ping.
    async fn life(&self, id: NodeId, pinged: &Pinged) -> Life {
        let deadline = Instant::now() + PING_LIMIT;
        loop {
            let told = pinged.pulse.told.notified();
            tokio::pin!(told);
            // From here on nothing is missed.
            told.as_mut().enable();
            match self.state().nodes.get(&id).filter(|slot| slot.session == pinged.session) {
                None => return Life::Gone,
                Some(slot) if slot.answered >= pinged.number => return Life::There,
                Some(_) => {}
            }
            if timeout_at(deadline, told).await.is_err() {
                return Life::Silent;
            }
        }
    }

    /// Ends a session that did not answer.
    fn fence(&self, id: NodeId, pinged: &Pinged) {
        let mut state = self.state();
        let silent = |slot: &&Slot| slot.session == pinged.session && slot.answered < pinged.number;
        if state.nodes.get(&id).is_none_or(|slot| !silent(&slot)) {
            return;
        }
        if let Some(slot) = state.leave(id) {
            slot.fence.cancel();
            slot.pulse.told.notify_waiters();
        }
        state.spoke.send_modify(|count| *count += 1);
        drop(state);
        self.0.moved.notify_one();
    }

    /// Asks the replica that holds a node. What cannot be found out is no answer.
    async fn ask(&self, there: &Leased) -> Answer {
        if self.state().is_silent(&there.replica, self.now()) {
            return Answer::Gone;
        }
        let Ok(_place) = self.0.asking.try_acquire() else { return Answer::None };
        let id = self.name();
        let question = Question { id: id.clone(), node: there.node, holder: there.replica.clone() };
        if let Err(error) = self.0.ledger.ask(question).await {
            debug!(%error, node.id = %there.node, "another replica not asked");
            return Answer::None;
        }
        let answer = self.answer_of(&id).await;
        if matches!(answer, Ok(Answer::None)) {
            let now = self.now();
            self.state().silent.insert(there.replica.clone(), now);
        }
        // One that stays is passed over later.
        self.0.ledger.withdraw(&id).await.ok();
        match answer {
            // It has ended: a replica that runs takes questions up at once.
            Ok(Answer::None) => Answer::Gone,
            Ok(answer) => answer,
            Err(error) => {
                debug!(%error, node.id = %there.node, "another replica's answer not read");
                Answer::None
            }
        }
    }

    async fn answer_of(&self, id: &str) -> Result<Answer, crate::store::StoreError> {
        let asked = Instant::now();
        loop {
            sleep(ASK_EVERY).await;
            let answer = self.0.ledger.answered(id).await?;
            let limit = match answer {
                Answer::There | Answer::Gone => return Ok(answer),
                Answer::None => HEARD_LIMIT,
                Answer::Heard => ANSWER_LIMIT,
            };
            if asked.elapsed() >= limit {
                return Ok(answer);
            }
        }
    }

    /// Answers what other replicas ask about nodes here, until the stop.
    pub(crate) async fn answer(self, stop: Stop) {
        if !self.0.ledger.is_shared() {
            return;
        }
        let mut pinging = FuturesUnordered::new();
        // Not put off by answers that come one after the other: where a question is not taken up in time, this
        // replica counts as ended, and other replicas let copies of its nodes in.
        let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let looked = tokio::select! {
                biased;
                () = stop.requested() => return,
                _ = looks.tick() => self.0.ledger.questions(&self.0.replica).await,
                Some(()) = pinging.next(), if !pinging.is_empty() => continue,
            };
            // A database that does not answer is told of elsewhere, and the replica that asks gets no answer from it either.
            for question in looked.unwrap_or_default() {
                let pinged = self.state().nodes.get_mut(&question.node).map(Slot::ping);
                let first = if pinged.is_some() { Answer::Heard } else { Answer::Gone };
                if self.0.ledger.answer(&question.id, first).await.is_err() {
                    continue;
                }
                if let Some(pinged) = pinged {
                    pinging.push(self.answer_one(question, pinged));
                }
            }
        }
    }

    async fn answer_one(&self, question: Question, pinged: Pinged) {
        let answer = match self.life(question.node, &pinged).await {
            Life::There => Answer::There,
            Life::Gone => Answer::Gone,
            Life::Silent => {
                self.fence(question.node, &pinged);
                Answer::Gone
            }
        };
        if let Err(error) = self.0.ledger.answer(&question.id, answer).await {
            debug!(%error, node.id = %question.node, "another replica not answered");
        }
    }

    /// Remembers a clash, for people.
    fn meet(&self, clash: Clash) -> Clash {
        let at = self.now();
        self.state().meet(&clash, at);
        self.0.moved.notify_one();
        clash
    }

    /// A random name, for a question.
    pub(super) fn name(&self) -> String {
        HEXLOWER.encode(&draw::<16>(&*self.0.entropy))
    }
}

impl Slot {
    /// Has the session ping its node.
    fn ping(&mut self) -> Pinged {
        self.pinged += 1;
        self.pulse.ask.notify_one();
        let (session, number, address) = (self.session, self.pinged, self.node.address.clone());
        Pinged { session, number, address, pulse: Arc::clone(&self.pulse) }
    }
}

impl State {
    /// Another replica's process is not there any more.
    fn is_gone(&mut self, there: &Leased) {
        let same = |known: &Leased| known.replica == there.replica && known.boot_id == there.boot_id;
        if self.elsewhere.get(&there.node).is_some_and(same) {
            self.elsewhere.remove(&there.node);
        }
    }

    fn is_silent(&mut self, replica: &str, now: i64) -> bool {
        self.silent.retain(|_, since| now.saturating_sub(*since) < SILENT_FOR);
        self.silent.contains_key(replica)
    }
}

impl Seat {
    /// Ends when somebody wants to know whether the node is there.
    pub(in crate::publish) async fn pinged(&self) {
        self.pulse.ask.notified().await;
    }

    /// The number of the ping to send; none where another session has the place.
    pub(in crate::publish) fn ping(&self) -> Option<u64> {
        let state = self.fleet.state();
        let slot = state.nodes.get(&self.node).filter(|slot| slot.session == self.session);
        slot.map(|slot| slot.pinged)
    }

    /// Takes the node's answer in.
    pub(in crate::publish) fn answered(&self, number: u64) {
        let mut state = self.fleet.state();
        let slot = state.nodes.get_mut(&self.node).filter(|slot| slot.session == self.session);
        // What was not asked is no answer.
        if let Some(slot) = slot.filter(|slot| number <= slot.pinged) {
            slot.answered = slot.answered.max(number);
            self.pulse.told.notify_waiters();
        }
    }

    /// For tests without a session: the node answers what it is asked.
    #[cfg(test)]
    pub(crate) async fn answer_pings(&self) -> std::convert::Infallible {
        loop {
            self.pinged().await;
            if let Some(number) = self.ping() {
                self.answered(number);
            }
        }
    }
}
