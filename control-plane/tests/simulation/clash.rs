//! Two processes of one node, at one replica and at two.

use super::*;

const SOON: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn a_second_process_of_one_node_is_not_let_in_and_is_told_of() {
    let world = World::start().await;
    world.database.furnish(5);
    let (node, copy) = (world.node(1), world.node(1));
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    copy.boots_as([9; 16]);
    world.connect(&copy);
    world.eventually("refused", || copy.ended() == Some(tonic::Code::AlreadyExists)).await;
    assert!(copy.at().is_none());
    // The first is none the worse.
    world.database.change(1);
    world.eventually("in step", || world.in_step(&node)).await;
}

/// A node in step at a replica, and another process that has its key.
async fn twins(world: &World) -> (Node, Node) {
    world.database.furnish(5);
    let (node, copy) = (world.node(1), world.node(1));
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    copy.boots_as([9; 16]);
    (node, copy)
}

/// Another replica on the same database.
async fn beside(world: &World) -> World {
    let other = World::opened(world.seed + 1, world.database.clone());
    other.eventually("loaded", || other.publisher.position(REGION).is_some()).await;
    other
}

/// Until a replica has read whose node it is.
async fn known(world: &World, node: &Node) {
    let id = node.id().to_string();
    world.eventually("known elsewhere", || world.publisher.fleet().is_connected(&id)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_while_its_former_stream_hangs_is_back_within_three_seconds() {
    let world = World::start().await;
    let (node, restarted) = twins(&world).await;
    node.faults(Faults { checks: true, deaf: true, ..Faults::default() });
    let came = Instant::now();
    world.connect(&restarted);
    world.eventually("in step", || restarted.at().is_some() && world.in_step(&restarted)).await;
    assert!(came.elapsed() <= SOON, "{:?}", came.elapsed());
    world.eventually("fenced", || node.ended() == Some(tonic::Code::Aborted)).await;
    assert!(world.publisher.fleet().met().is_empty(), "nobody is told of a restart");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_busy_with_a_transaction_keeps_its_place() {
    let world = World::start().await;
    let (node, copy) = twins(&world).await;
    node.faults(Faults { checks: true, lose_next_chunk: true, ..Faults::default() });
    world.database.change_all(5);
    world.connect(&copy);
    world.eventually("refused", || copy.ended() == Some(tonic::Code::AlreadyExists)).await;
    world.eventually("in step", || world.in_step(&node)).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_comes_to_another_replica_is_not_let_in_while_the_original_is_there() {
    let world = World::start().await;
    let (node, copy) = twins(&world).await;
    let other = beside(&world).await;
    known(&other, &node).await;
    other.connect(&copy);
    other.eventually("refused", || copy.ended() == Some(tonic::Code::AlreadyExists)).await;
    let met = other.publisher.fleet().met();
    assert_eq!(met.len(), 1, "people are told");
    assert_eq!(met[0].node, node.id());
    assert!(node.is_connected() && copy.at().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_replica_has_ended_is_let_in_by_another_within_three_seconds() {
    let world = World::start().await;
    let other = beside(&world).await;
    let (node, restarted) = {
        // It writes once whose node it is, and nothing after that, as one that is killed.
        let killed = World::silent(9, world.database.clone());
        killed.eventually("loaded", || killed.publisher.position(REGION).is_some()).await;
        let twins = twins(&killed).await;
        killed.publisher.fleet().exchange().await.expect("writes");
        twins
    };
    known(&other, &node).await;
    let came = Instant::now();
    other.connect(&restarted);
    other.eventually("in step", || restarted.at().is_some() && other.in_step(&restarted)).await;
    assert!(came.elapsed() <= SOON, "{:?}", came.elapsed());
    assert!(other.publisher.fleet().met().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_machine_is_let_in_by_another_replica_within_three_seconds() {
    let world = World::start().await;
    let (node, restarted) = twins(&world).await;
    let other = beside(&world).await;
    known(&other, &node).await;
    node.faults(Faults { checks: true, deaf: true, ..Faults::default() });
    let came = Instant::now();
    other.connect(&restarted);
    other.eventually("in step", || restarted.at().is_some() && other.in_step(&restarted)).await;
    assert!(came.elapsed() <= SOON, "{:?}", came.elapsed());
    world.eventually("fenced", || node.ended() == Some(tonic::Code::Aborted)).await;
    let one = node.id().to_string();
    world.eventually("known", || world.publisher.fleet().node(&one).is_none()).await;
}

/// Who was fenced by mistake finds out, and so do people.
#[tokio::test(start_paused = true)]
async fn an_original_that_was_fenced_by_mistake_comes_again_and_both_are_shown() {
    let world = World::start().await;
    let (node, copy) = twins(&world).await;
    node.faults(Faults { checks: true, deaf: true, ..Faults::default() });
    world.connect(&copy);
    world.eventually("fenced", || node.ended() == Some(tonic::Code::Aborted)).await;
    node.faults(Faults { checks: true, ..Faults::default() });
    world.connect(&node);
    world.eventually("refused", || node.ended() == Some(tonic::Code::AlreadyExists)).await;
    assert_eq!(world.publisher.fleet().met().len(), 1);
}
