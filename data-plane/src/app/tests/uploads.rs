//! What a whole edge makes of what its control plane says of uploads.

use rr_contract::model::time::wire_duration;

use super::*;

/// An edge, and the control plane that has its first batch, and that answered it so.
async fn answered(folder: &Path, answer: fleet::UploadResponse) -> (ControlPlane, Running) {
    let mut control = ControlPlane::start().await;
    control.answers_uploads(Some(answer));
    let upstream = echo().await;
    control.publish(Mode::Snapshot, &resources(&control.region, &upstream));
    let edge = started(config(folder, &control, true)).await;
    ready(&edge).await;
    call(&edge).await;
    assert_eq!(control.upload().await.sequence, 1);
    (control, edge)
}

#[tokio::test]
async fn a_control_plane_that_does_not_say_that_it_unpacks_batches_gets_none_compressed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut control, edge) = answered(folder.path(), fleet::UploadResponse::default()).await;
    for _ in 0..3 {
        call(&edge).await;
        let upload = control.upload().await;
        assert_eq!((upload.codec(), upload.length), (BatchCodec::Unspecified, 0));
        assert!(upload.body.len() > 256, "it would be worth it: {}", upload.body.len());
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_node_that_is_told_to_send_one_batch_at_a_time_waits_for_its_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = fleet::UploadResponse { window: 1, ..fleet::UploadResponse::default() };
    let (mut control, edge) = answered(folder.path(), one.clone()).await;
    control.answers_uploads(None);
    call(&edge).await;
    assert_eq!(control.upload().await.sequence, 2);
    for _ in 0..3 {
        call(&edge).await;
        assert!(control.gets_nothing().await);
    }
    // Three wait, and one of them is next.
    control.answers_now(one);
    assert_eq!(control.upload().await.sequence, 3);
    assert!(control.gets_nothing().await);
    edge.stop().await;
}

#[tokio::test]
async fn a_node_that_is_told_to_wait_sends_nothing_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let pause = Some(wire_duration(LONG));
    let later = fleet::UploadResponse { pause, ..fleet::UploadResponse::default() };
    let (mut control, edge) = answered(folder.path(), later).await;
    call(&edge).await;
    assert!(control.gets_nothing().await);
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_about_another_spool_acknowledges_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = fleet::UploadResponse { spool: vec![9; 16], ..fleet::UploadResponse::default() };
    let (mut control, edge) = answered(folder.path(), other).await;
    call(&edge).await;
    assert_eq!(control.upload().await.sequence, 2);
    assert!(control.gets_nothing().await);
    let metrics = get(edge.admin(), "/metrics").await;
    let waiting = metrics.lines().find(|line| line.starts_with("requestrocket_edge_spool_bytes"));
    assert!(waiting.is_some_and(|line| !line.ends_with(" 0")), "{waiting:?}");
    edge.stop().await;
}
