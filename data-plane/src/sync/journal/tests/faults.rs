//! A part of the faults that `bench lkg-faults` plays, and the negative control: with the checks of the journal off, the
//! judge finds something.

use crate::bench::LastKnownGood;
use crate::fixture::disk;
use crate::sync::{AuditHead, Position};

use super::CHECKS_OFF;

#[path = "../../../../../integration/src/bench/lkg_faults/play.rs"]
mod play;

pub(super) use self::play::frames;
use self::play::play;

/// I13.
#[test]
fn no_fault_on_the_disk_makes_a_configuration_that_was_never_published() {
    let outcome = play(97);
    assert_eq!(outcome.violations, Vec::<String>::new());
    assert!(outcome.total() > 300 && outcome.faults.len() >= 10, "{outcome:?}");
}

#[test]
fn with_the_checks_off_the_judge_finds_what_was_never_published() {
    CHECKS_OFF.set(true);
    let outcome = play(97);
    CHECKS_OFF.set(false);
    assert!(outcome.violated > 0);
}
