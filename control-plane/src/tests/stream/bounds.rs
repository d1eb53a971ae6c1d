//! Nodes that are sent nothing, and nodes that take nothing.

use super::*;

/// What was published was changed: the node is a witness of what it was.
#[tokio::test]
async fn a_node_that_knows_another_audit_head_for_its_revision_is_sent_nothing_and_is_shown() {
    let world = World::start().await;
    let node = joined(&world).await;
    let mut edge = Edge::open(&node, None).await;
    let first = edge.take_well().await;
    drop(edge);
    let resume = fleet::Position { audit: vec![9; 32], ..first.position };
    let mut edge = Edge::open(&node, Some(resume)).await;
    eventually(&world, "diverged", |it| it.diverged && it.connected).await;
    let silence = async {
        let heard = edge.hear().await;
        assert!(matches!(heard, Down::Goaway(_)), "nothing was sent before the end: {heard:?}");
    };
    tokio::join!(silence, world.running.stop());
}

/// Its connection lives: it answers whatever the transport asks.
#[tokio::test]
async fn a_node_that_takes_nothing_of_what_it_is_sent_is_cut_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = crate::tests::world::config(folder.path());
    config.fleet_patience = Duration::from_secs(1);
    let world = World::over(folder, config).await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let token = world.node_token(&region, 2).await;
    let deaf = world.join_deaf(&token).await;
    let hello = fleet::Hello { protocol: 1, boot_id: vec![1; 16], ..Default::default() };
    let (up, messages) = mpsc::channel(8);
    up.send(fleet::SyncRequest { message: Some(Up::Hello(hello)) }).await.expect("has room");
    let mut client = ConfigServiceClient::new(deaf.channel.clone());
    let mut down = client.sync(ReceiverStream::new(messages)).await.expect("opens").into_inner();
    let ended = timeout(SOON, down.next()).await.expect("it is ended in time");
    assert!(ended.is_none_or(|heard| heard.is_err()), "nothing of it can have come");
    eventually(&world, "gone", |it| !it.connected).await;
    // One that reads is served as ever, and longer than that.
    let good = world.join(&token).await.expect("joins");
    let mut edge = Edge::open(&good, None).await;
    edge.take_well().await;
    let served = timeout(Duration::from_millis(1500), async {
        loop {
            if let Err(status) = edge.next().await {
                break status;
            }
        }
    });
    assert!(served.await.is_err(), "it is served on");
    world.suspend("acme", true).await;
    edge.take_well().await;
    world.running.stop().await;
}
