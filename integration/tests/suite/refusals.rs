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
async fn told(sample: &Sample, org: &str, kind: NotificationKind) -> Option<mg::Notification> {
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
    assert!(note.message.contains("light node: told so (WHY_INVALID)"), "{}", note.message);
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
