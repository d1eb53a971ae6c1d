//! Versions that nodes refuse, and nodes in trouble: what the control plane does about them by itself.

#![allow(clippy::needless_update, reason = "a request may gain fields, which a test does not say")]

use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::FieldMask;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::fleet::{self as wire, Why};
use rr_contract::wire::management::notification_service_client::NotificationServiceClient;
use rr_contract::wire::management::revision_service_client::RevisionServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_contract::wire::management::{self as mg, NotificationKind};
use rr_integration::fleet::{Fleet, LightNode};
use rr_integration::sample::{ORG, Sample};
use rr_integration::wait::eventually;

const ORIGIN: &str = "https://upstream.example";

async fn sample(nodes: usize) -> (tempfile::TempDir, Sample, Fleet) {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::start(folder.path(), ORIGIN, &[]).await.expect("starts");
    let fleet = sample.fleet_in_step(nodes).await.expect("joins");
    (folder, sample, fleet)
}

fn target_of(node: &LightNode) -> Key {
    let view = node.view();
    let found = view.iter().map(|(key, _)| *key).find(|key| matches!(key.id, ResourceId::Target(_)));
    found.expect("the view holds one")
}

/// Until so many nodes are not connected: a node that comes back sooner was never away.
async fn away(sample: &Sample, count: usize) {
    eventually("they are away", || async {
        let nodes = sample.api.nodes().await.ok()?;
        (nodes.iter().filter(|node| !node.connected).count() == count).then_some(())
    })
    .await;
}

/// Leads the target elsewhere. Returns the revision.
async fn lead(sample: &Sample, base_url: &str) -> u64 {
    let ask = mg::UpdateTargetRequest {
        org: ORG.to_owned(),
        name: "echo".to_owned(),
        target: Some(mg::Target { base_url: base_url.to_owned(), ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["base_url".to_owned()] }),
        ..Default::default()
    };
    let mut stub = TargetServiceClient::new(sample.api.connection());
    stub.update_target(ask).await.expect("writes").into_inner().revision
}

/// Notifications of the installation where the organization is empty.
pub(crate) async fn told(sample: &Sample, org: &str, kind: NotificationKind) -> Option<mg::Notification> {
    let mut stub = NotificationServiceClient::new(sample.api.connection());
    let found = if org.is_empty() {
        let ask = mg::ListInstallationNotificationsRequest::default();
        stub.list_installation_notifications(ask).await.expect("lists").into_inner().notifications
    } else {
        let ask = mg::ListNotificationsRequest { org: org.to_owned(), ..Default::default() };
        stub.list_notifications(ask).await.expect("lists").into_inner().notifications
    };
    found.into_iter().find(|it| it.kind() == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_three_of_ten_nodes_refuse_is_withdrawn_by_the_system_and_all_nodes_are_in_step() {
    let (_folder, sample, fleet) = sample(10).await;
    let key = target_of(fleet.node(0));
    let before = *fleet.node(0).view().digest();
    for node in &fleet.nodes()[..3] {
        node.script(|script| script.refuse = [(key, Why::Invalid)].into());
    }
    let bad = lead(&sample, "https://broken.example").await;
    let mut revisions = RevisionServiceClient::new(sample.api.connection());
    let withdrawn = eventually("the version is withdrawn", || {
        let mut revisions = revisions.clone();
        async move {
            let ask = mg::ListRevisionsRequest { page_size: 1, ..Default::default() };
            let newest = revisions.list_revisions(ask).await.ok()?.into_inner().revisions.pop()?;
            (newest.revision > bad).then_some(newest)
        }
    })
    .await;
    assert_eq!(
        (withdrawn.revision, withdrawn.actor.as_str(), withdrawn.author.as_str()),
        (bad + 1, "system", "")
    );
    let words = &withdrawn.changes.iter().find(|change| change.kind == "region").expect("says why").name;
    let wanted = format!("eu: revision {bad} of target echo withdrawn to revision");
    assert!(words.starts_with(&wanted) && words.contains("refused by 3 of 10 nodes in region eu"), "{words}");

    fleet.in_step(withdrawn.revision).await;
    eventually("nobody refuses anything", || async {
        fleet.nodes().iter().all(|node| node.standing().is_empty()).then_some(())
    })
    .await;
    assert!(fleet.nodes().iter().all(|node| *node.view().digest() == before), "what was before it");

    let note = told(&sample, ORG, NotificationKind::ResourceWithdrawn).await.expect("it was told");
    assert_eq!(note.subject, key.to_wire().id);
    assert!(note.message.contains("light node: told so (invalid)"), "{}", note.message);
    let ask = wire::ExplainResourceRequest {
        org: ORG.to_owned(),
        kind: "target".to_owned(),
        resource: "echo".to_owned(),
        ..Default::default()
    };
    let mut stub = FleetServiceClient::new(sample.api.connection());
    let explained = stub.explain_resource(ask).await.expect("explains").into_inner();
    assert!(explained.why.contains("withdrew"), "{}", explained.why);
    // It is over: nothing more is written.
    let get = mg::GetRevisionRequest { revision: withdrawn.revision + 1 };
    assert!(revisions.get_revision(get).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_two_processes_claim_to_be_is_told_to_the_operators() {
    let (_folder, sample, fleet) = sample(1).await;
    let twin = fleet.twin(fleet.node(0));
    twin.up();
    let note = eventually("the operators are told", || told(&sample, "", NotificationKind::NodeClash)).await;
    assert_eq!(note.subject, fleet.node(0).id());
    assert!(note.message.contains("copied"), "{}", note.message);
    twin.down();
}

/// I14 and I15, the control plane's half: what two nodes ended on goes no further.
#[tokio::test(flavor = "multi_thread")]
async fn a_revision_on_which_two_nodes_crashed_goes_no_further_until_a_person_releases_it() {
    let (_folder, sample, fleet) = sample(4).await;
    let before = fleet.node(3).position().expect("it stands somewhere");
    // Two are away while the revision goes to a third, and come back having ended on it.
    fleet.node(0).down();
    fleet.node(1).down();
    fleet.node(3).down();
    away(&sample, 3).await;
    let revision = sample.set_active("echo", false).await.expect("writes");
    let tried = eventually("the third runs it", || async {
        fleet.node(2).position().filter(|at| at.revision >= revision)
    })
    .await;
    for node in &fleet.nodes()[..2] {
        let crash = wire::CrashReport { tried: Some(tried.clone()), running: node.position(), boots: 2 };
        node.script(|script| script.crash = Some(crash));
        node.up();
    }
    let mut stub = FleetServiceClient::new(sample.api.connection());
    let held = || async {
        let mut stub = stub.clone();
        let states = stub.list_region_states(wire::ListRegionStatesRequest {}).await.ok()?.into_inner();
        states.regions.into_iter().find(|state| state.held_revision > 0)
    };
    let state = eventually("the region is held", held).await;
    assert_eq!(state.held_revision, revision);
    let note = eventually("the operators are told", || told(&sample, "", NotificationKind::RegionHeld)).await;
    assert!(note.message.contains("rrctl revision release"), "{}", note.message);
    // The fourth comes back, and later content is held back from it too.
    fleet.node(3).up();
    let later = lead(&sample, "https://later.example").await;
    eventually("it is known to be held", || async {
        let nodes = sample.api.nodes().await.ok()?;
        nodes.iter().any(|node| node.id == fleet.node(3).id() && node.connected && node.held).then_some(())
    })
    .await;
    assert_eq!(fleet.node(3).position().expect("it stands").digest, before.digest);
    assert!(fleet.nodes()[..2].iter().all(|node| node.revision() < revision));

    let wrong = wire::ReleaseRevisionRequest {
        region: "eu".to_owned(),
        revision: revision + 1,
        ..Default::default()
    };
    let refused = stub.clone().release_revision(wrong).await.expect_err("that is not held");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    for node in &fleet.nodes()[..2] {
        node.script(|script| script.crash = None);
    }
    let release = wire::ReleaseRevisionRequest { region: "eu".to_owned(), revision, ..Default::default() };
    stub.release_revision(release).await.expect("is released");
    fleet.in_step(later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_taken_out_of_service_and_put_back_over_a_restart_of_the_control_plane() {
    let (_folder, mut sample, fleet) = sample(2).await;
    let drain =
        |undo| wire::DrainNodeRequest { node: fleet.node(0).id().to_owned(), undo, ..Default::default() };
    let mut stub = FleetServiceClient::new(sample.api.connection());
    stub.drain_node(drain(false)).await.expect("is drained");
    let is = |drained: bool| {
        let node = fleet.node(0);
        async move { (node.is_draining() == drained).then_some(()) }
    };
    eventually("it hears of it", || is(true)).await;
    assert!(!fleet.node(1).is_draining());
    sample.control.kill();
    sample.control = sample.control.restart().await;
    let revision = sample.set_active("echo", false).await.expect("writes");
    fleet.in_step(revision).await;
    assert!(fleet.node(0).is_draining(), "its Welcome says so");
    let mut stub = FleetServiceClient::new(sample.api.connection());
    stub.drain_node(drain(true)).await.expect("is put back");
    eventually("it hears of it", || is(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_history_is_told_to_the_operators_with_the_remedy() {
    let (_folder, sample, fleet) = sample(1).await;
    let node = fleet.node(0);
    node.down();
    away(&sample, 1).await;
    node.stand(|at| at.revision += 100);
    node.up();
    eventually("it is diverged", || async {
        let nodes = sample.api.nodes().await.ok()?;
        nodes.iter().all(|node| node.diverged).then_some(())
    })
    .await;
    let note =
        eventually("the operators are told", || told(&sample, "", NotificationKind::NodeDiverged)).await;
    assert_eq!(note.subject, node.id());
    assert!(note.message.contains("rrctl revision adopt"), "{}", note.message);
}
