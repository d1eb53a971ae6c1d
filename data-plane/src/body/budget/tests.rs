//! Who gets room, who does not, and that all of it comes back.

use super::*;
use crate::counters::Totals;
use crate::fixture::log_of;

const MOST: usize = 64 * 1024;
const HALF: usize = MOST / 2;
const FEW: usize = MOST / 64;

fn budget() -> Rc<BodyBudget> {
    BodyBudget::new(MOST, Arc::default())
}

fn held(budget: &Rc<BodyBudget>, org: u8, bytes: usize) -> Option<Held> {
    let mut held = budget.hold(OrgId::from_random([org; 16]), Gathered::Request);
    held.hold(bytes).is_ok().then_some(held)
}

#[test]
fn an_organization_holds_half_and_not_a_byte_more() {
    let budget = budget();
    let all = held(&budget, 1, HALF).expect("there is room");
    assert!(held(&budget, 1, 1).is_none());
    assert!(held(&budget, 2, 1).is_some());
    drop(all);
    assert!(held(&budget, 1, HALF + 1).is_none());
    let mut parts: Vec<_> = (0..HALF / 1024).filter_map(|_| held(&budget, 1, 1024)).collect();
    assert_eq!((parts.len(), budget.held()), (HALF / 1024, HALF));
    assert!(held(&budget, 1, 1).is_none());
    parts.pop();
    assert!(held(&budget, 1, 1024).is_some(), "what was given back is there for the next");
}

#[test]
fn an_eighth_is_kept_for_organizations_that_hold_few_bytes() {
    let budget = budget();
    let first = held(&budget, 1, HALF).expect("there is room");
    let second = held(&budget, 2, HALF - MOST / 8).expect("there is room");
    assert!(held(&budget, 2, HALF - MOST / 8 + 1).is_none());
    assert!(held(&budget, 3, FEW + 1).is_none(), "many bytes wait for others to go");
    let mut few: Vec<_> = (3..100).filter_map(|org| held(&budget, org, FEW)).collect();
    assert_eq!((few.len(), budget.held()), (MOST / 8 / FEW, MOST));
    assert!(held(&budget, 200, 1).is_none(), "and these have an end, too");
    let last = few.last_mut().expect("there are some");
    last.keep(FEW - 1);
    assert!(held(&budget, 200, 1).is_some());
    assert!(last.hold(FEW + 1).is_err(), "it is not one of few any longer");
    drop((first, second, few));
    assert!(budget.held() == 0 && budget.orgs.borrow().is_empty());
}

#[test]
fn what_a_body_holds_grows_and_shrinks_with_it_and_a_refusal_takes_nothing() {
    let budget = budget();
    let mut one = held(&budget, 1, 10).expect("there is room");
    let mut copy = one.another();
    copy.hold(20).expect("there is room");
    assert_eq!(budget.held(), 30);
    assert_eq!(one.hold(HALF), Err(NoRoom));
    assert_eq!((one.bytes(), budget.held()), (10, 30));
    one.hold(HALF - 20).expect("it is all that the organization may hold");
    assert_eq!(copy.check(21), Err(NoRoom));
    assert!(copy.check(20).is_ok());
    one.hold(5).expect("less is always held");
    copy.keep(40);
    assert_eq!(budget.held(), 25, "nobody is given more by keeping less");
    drop(one);
    assert_eq!(budget.held(), 20);
    assert_eq!(copy.hold(usize::MAX), Err(NoRoom));
}

#[test]
fn a_buffer_is_held_with_its_room_and_fitted_to_its_bytes() {
    let mut held = Held::ample();
    let mut buffer = Buffer::default();
    held.grow(&mut buffer, 10_000, 50_000, usize::MAX).expect("there is room");
    assert_eq!((held.bytes(), buffer.room()), (60_000, 60_000));
    buffer.extend_from_slice(&[0; 60_000]);
    held.grow(&mut buffer, 1, 0, usize::MAX).expect("there is room");
    assert_eq!((held.bytes(), buffer.room()), (120_000, 120_000), "as much again");
    held.grow(&mut buffer, 120_000, 0, usize::MAX).expect("there is room");
    assert_eq!((held.bytes(), buffer.room()), (240_000, 240_000), "it moves into a mapping");
    buffer.extend_from_slice(&[0; 180_000]);
    held.grow(&mut buffer, 1, 0, usize::MAX).expect("there is room");
    assert_eq!((held.bytes(), buffer.room()), (240_001 + SPARE_MAX, 240_001 + SPARE_MAX), "a step");
    held.grow(&mut buffer, SPARE_MAX, 1_000, 240_010 + SPARE_MAX).expect("there is room");
    held.fit(&mut buffer);
    assert_eq!((held.bytes(), buffer.room()), (241_664, 241_664), "its pages");
}

#[test]
fn of_a_buffer_that_moves_both_copies_are_held() {
    let grown = |most: usize| {
        let (mut held, mut buffer) = (Held::of(2 * most), Buffer::default());
        held.grow(&mut buffer, 100_000, 0, usize::MAX).expect("there is room");
        buffer.extend_from_slice(&[0; 100_000]);
        let grown = held.grow(&mut buffer, 100_000, 0, 200_000);
        (grown, held.bytes(), buffer.room())
    };
    assert_eq!(grown(300_000), (Ok(()), 200_000, 200_000));
    assert_eq!(grown(299_999), (Err(NoRoom), 100_000, 100_000));
}

#[test]
fn what_is_spare_is_given_back_by_a_copy_where_there_is_room_for_both() {
    for (most, left) in [(120_000, 10_000), (100_000, 100_000)] {
        let (mut held, mut buffer) = (Held::of(2 * most), Buffer::default());
        held.grow(&mut buffer, 100_000, 0, 100_000).expect("there is room");
        buffer.extend_from_slice(&[0; 10_000]);
        held.fit(&mut buffer);
        assert_eq!((held.bytes(), buffer.room()), (left, left));
        let (mut held, mut copy) = (Held::of(2 * most), Vec::with_capacity(100_000));
        held.hold(100_000).expect("there is room");
        copy.resize(10_000, 0);
        held.fit_copy(&mut copy);
        assert_eq!((held.bytes(), copy.capacity()), (left, left));
    }
    let (mut held, mut buffer) = (Held::of(100), Buffer::default());
    assert_eq!(held.grow(&mut buffer, 51, 0, 100), Err(NoRoom));
    assert_eq!((held.bytes(), buffer.room()), (0, 0));
}

#[test]
fn what_is_held_and_what_found_no_room_is_counted_and_said_once_a_minute() {
    let counters: Arc<Counters> = Arc::default();
    let log = log_of(|| {
        let budget = BodyBudget::new(MOST, Arc::clone(&counters));
        let org = OrgId::from_random([1; 16]);
        let mut kept = budget.hold(org, Gathered::Request);
        kept.hold(HALF).expect("there is room");
        assert_eq!(Totals::of(std::iter::once(&*counters)).gathered_bytes, HALF as u64);
        for what in [Gathered::Response, Gathered::Copy, Gathered::Copy] {
            assert!(budget.hold(org, what).hold(1).is_err());
        }
    });
    let totals = Totals::of(std::iter::once(&*counters));
    assert_eq!(totals.gathered_bytes, 0);
    assert_eq!(totals.not_gathered, [("request", 0), ("response", 1), ("copy", 2)]);
    assert_eq!(log.matches("--gathered-bodies-mib").count(), 1, "{log}");
}
