//! Rules, filters and meters of one credential, target or proxy, compiled together.
//!
//! Decides nothing: `pipeline` runs them. The invariant: a [`Policy`] holds all that bears on its parent, or the
//! proxies concerned are closed.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::sync::{Arc, LazyLock};

use rr_contract::model::effect::Effect;
use rr_contract::model::filter::Direction;
use rr_contract::model::meter::Windows;
use rr_contract::policy::filter::{CompiledFilter, FilterStage};
use rr_contract::policy::meter::{Amount, CompiledMeter};
use rr_contract::policy::verdict::{CompiledRule, ScopeRules};

use crate::quota::Metered;

/// All that bears on one credential, target or proxy.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) rules: ScopeRules,
    /// Of responses.
    pub(crate) filters: FilterStage,
    pub(crate) request_filters: FilterStage,
    /// Of a proxy alone.
    pub(crate) meters: Box<[RunningMeter]>,
}

/// A meter and its counts, which outlive a change of it.
#[derive(Debug, Clone)]
pub(crate) struct RunningMeter {
    pub(crate) meter: Arc<CompiledMeter>,
    pub(crate) counts: Metered,
    /// In millionths.
    pub(crate) limits: Windows,
}

impl RunningMeter {
    /// A meter with its counts.
    pub(crate) fn new(meter: CompiledMeter, counts: Metered) -> Self {
        let scaled = |limit: Option<NonZeroU64>| {
            limit.and_then(|limit| NonZeroU64::new(Amount::whole(limit.get()).millionths()))
        };
        let Windows { minute, hour, day, month } = meter.limits;
        let limits =
            Windows { minute: scaled(minute), hour: scaled(hour), day: scaled(day), month: scaled(month) };
        Self { meter: Arc::new(meter), counts, limits }
    }
}

/// The parts of a policy, in any order.
#[derive(Default)]
pub(crate) struct PolicyParts {
    pub(crate) rules: Vec<Arc<CompiledRule>>,
    pub(crate) filters: Vec<Arc<CompiledFilter>>,
    pub(crate) meters: Vec<RunningMeter>,
}

impl Policy {
    /// Puts the parts together. `observe`: rules and default decide nothing.
    pub(crate) fn new(parts: PolicyParts, default: Effect, observe: bool) -> Self {
        let PolicyParts { rules, filters, mut meters } = parts;
        meters.sort_by_key(|running| running.meter.id);
        let (of_requests, of_responses) =
            filters.into_iter().partition(|filter| filter.direction() == Direction::Request);
        Self {
            rules: ScopeRules::new(rules, default, observe),
            filters: FilterStage::new(of_responses),
            request_filters: FilterStage::new(of_requests),
            meters: meters.into(),
        }
    }

    /// That of a parent without rules, filters and meters. Shared.
    pub(crate) fn plain(default: Effect, observe: bool) -> Arc<Self> {
        static PLAIN: LazyLock<[Arc<Policy>; 4]> = LazyLock::new(|| {
            [(Effect::Allow, false), (Effect::Allow, true), (Effect::Deny, false), (Effect::Deny, true)]
                .map(|(default, observe)| Arc::new(Policy::new(PolicyParts::default(), default, observe)))
        });
        let at = usize::from(default == Effect::Deny) * 2 + usize::from(observe);
        Arc::clone(&PLAIN[at])
    }

    /// All that it says, as text of one form.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        let mut put = |part: &dyn std::fmt::Debug| {
            write!(text, " {part:?}").expect("a string takes every write");
        };
        put(&self.rules);
        for filter in self.filters.filters().iter().chain(self.request_filters.filters()) {
            put(filter);
        }
        for running in &self.meters {
            put(&running.meter);
        }
        text
    }
}
