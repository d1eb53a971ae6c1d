//! What bounds a control plane that asks without end, and what a question can be about.

use rr_contract::model::id::TargetId;

use super::*;

const ORG: OrgId = OrgId::from_random([1; 16]);
const OTHER: OrgId = OrgId::from_random([2; 16]);

fn org(n: u8) -> OrgId {
    OrgId::from_random([n; 16])
}

#[test]
fn an_organization_has_one_test_at_a_time_and_thirty_a_minute_and_keeps_no_other_from_its_own() {
    let (bounds, now) = (Rc::default(), Instant::now());
    let first = Bounds::take(&bounds, ORG, now).expect("it has room");
    assert!(Bounds::take(&bounds, ORG, now).is_none(), "one is under way");
    drop(Bounds::take(&bounds, OTHER, now).expect("another organization"));
    drop(first);
    for _ in 1..A_MINUTE {
        drop(Bounds::take(&bounds, ORG, now).expect("one after the other"));
    }
    assert!(Bounds::take(&bounds, ORG, now).is_none(), "too many within the minute");
    assert!(Bounds::take(&bounds, OTHER, now).is_some());
    assert!(Bounds::take(&bounds, ORG, now + MINUTE).is_some(), "a minute later");
}

#[test]
fn all_organizations_together_are_bounded_too() {
    let (bounds, now) = (Rc::default(), Instant::now());
    let running: Vec<Place> =
        (0..8).map(|n| Bounds::take(&bounds, org(n), now).expect("there is room")).collect();
    assert!(Bounds::take(&bounds, org(9), now).is_none(), "as many as run at once");
    drop(running);
    for n in 8..A_MINUTE_IN_ALL {
        // Each of another organization.
        let id = u8::try_from(n).expect("few");
        drop(Bounds::take(&bounds, org(id), now).expect("there is room"));
    }
    assert!(Bounds::take(&bounds, org(200), now).is_none(), "as many as begin within a minute");
}

#[test]
fn a_question_about_what_the_node_does_not_have_is_refused() {
    let asked = fleet::TestTarget {
        org: ORG.to_string(),
        proxy: ProxyId::from_random([3; 16]).to_string(),
        target: TargetId::from_random([4; 16]).to_string(),
        ..fleet::TestTarget::default()
    };
    let refused = |asked: &fleet::TestTarget| found(&Snapshot::default(), asked).err();
    assert_eq!(refused(&asked), Some(TestRefusal::Unknown));
    assert_eq!(
        refused(&fleet::TestTarget { org: "acme/../".to_owned(), ..asked }),
        Some(TestRefusal::Unknown)
    );
}

#[test]
fn no_control_plane_makes_a_test_last_longer_than_thirty_seconds() {
    let said = |seconds| Some(pbjson_types::Duration { seconds, nanos: 0 });
    for (said, wanted) in [(None, 10), (said(3), 3), (said(3600), 30), (said(-1), 10)] {
        assert_eq!(within(said.as_ref()), Duration::from_secs(wanted), "{said:?}");
    }
}

#[test]
fn a_time_that_is_over_is_told_of_the_phase_that_it_was_over_in() {
    for (phase, stage) in [
        (Phase::Resolve, TestStage::Resolve),
        (Phase::Connect, TestStage::Connect),
        (Phase::Tls, TestStage::Tls),
        (Phase::Wait, TestStage::Wait),
    ] {
        assert_eq!(stage_of(&SendError::ConnectTimeout, phase), stage);
    }
}
