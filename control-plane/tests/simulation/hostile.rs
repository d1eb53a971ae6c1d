//! Nodes that say what is not so, and nodes that never come back.

use super::*;

#[tokio::test(start_paused = true)]
async fn two_nodes_that_say_they_ended_on_what_was_never_published_hold_nothing() {
    let world = World::start().await;
    world.database.furnish(20);
    let nodes: Vec<Node> = (1..4).map(|n| world.node(n)).collect();
    world.eventually("known", || world.is_current()).await;
    let real = world.publisher.position(REGION).expect("is loaded");
    let made_up = fleet::Position { digest: vec![0xaa; 32], revision: real.revision + 1_000, ..real };
    for node in &nodes[..2] {
        node.crash_on(made_up.clone());
        world.connect(node);
    }
    world.eventually("the two", || nodes[..2].iter().all(|node| world.in_step(node))).await;
    world.database.change(1);
    world.connect(&nodes[2]);
    world.eventually("all", || nodes.iter().all(|node| world.in_step(node))).await;
    assert!(world.database.known("").await.expect("answers").crashes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_always_runs_something_else_than_it_took_is_given_up() {
    let world = World::start().await;
    world.database.furnish(20);
    let node = world.node(1);
    node.faults(Faults { checks: true, lies: true, ..Faults::default() });
    world.connect(&node);
    world.eventually("given up", || node.ended() == Some(tonic::Code::DeadlineExceeded)).await;
    assert!(node.sent().modes.len() <= 3, "{:?}", node.sent().modes);
    // An honest one is asked once, and goes on.
    node.faults(Faults { checks: true, ..Faults::default() });
    world.connect(&node);
    world.database.change(1);
    world.eventually("in step", || world.in_step(&node)).await;
    assert!(node.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_diverged_node_that_never_comes_back_stops_writes_until_somebody_adopts_and_no_longer() {
    let world = World::start().await;
    world.database.furnish(20);
    let node = world.node(1);
    world.connect(&node);
    world.eventually("in step", || node.at().is_some() && world.in_step(&node)).await;
    node.disconnect();
    node.stand(|at| at.revision += 50);
    world.connect(&node);
    world.eventually("diverged", || !world.publisher.fleet().diverged().is_empty()).await;
    node.disconnect();
    let head = world.publisher.position(REGION).expect("is loaded");
    let undecided = || world.publisher.fleet().undecided(&head.lineage).len();
    assert_eq!(undecided(), 1);
    let adopted = |lineage: &[u8]| Adopted {
        lineage: lineage.to_vec(),
        revision: head.revision,
        revived: Vec::new(),
        at: world.database.now(),
    };
    world.database.adopt(REGION, adopted(&[9; 16]));
    world.publisher.fleet().refresh().await.expect("answers");
    assert_eq!(undecided(), 1, "that was about another history");
    world.database.adopt(REGION, adopted(&head.lineage));
    world.publisher.fleet().refresh().await.expect("answers");
    assert_eq!((undecided(), world.publisher.fleet().diverged().len()), (0, 1));
}

/// Whoever decides looks at the nodes that are known to be diverged then.
#[tokio::test(start_paused = true)]
async fn an_adoption_brings_over_no_node_that_diverges_after_it() {
    let world = World::start().await;
    world.database.furnish(20);
    let (early, late) = (world.node(1), world.node(2));
    for node in [&early, &late] {
        world.connect(node);
        world.eventually("in step", || node.at().is_some() && world.in_step(node)).await;
        node.disconnect();
        node.stand(|at| at.revision += 50);
    }
    world.connect(&early);
    world.eventually("diverged", || !world.publisher.fleet().diverged().is_empty()).await;
    let head = world.publisher.position(REGION).expect("is loaded");
    let adopted = || Adopted {
        lineage: head.lineage.clone(),
        revision: head.revision,
        revived: Vec::new(),
        at: world.database.now(),
    };
    world.database.adopt(REGION, adopted());
    world.eventually("brought over", || world.publisher.fleet().diverged().is_empty()).await;

    sleep(Duration::from_secs(1)).await;
    late.lose(1);
    let before = late.sent().resources;
    world.connect(&late);
    world.eventually("diverged", || !world.publisher.fleet().diverged().is_empty()).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(late.sent().resources, before);
    assert_eq!(world.publisher.fleet().undecided(&head.lineage).len(), 1);
    // That takes another decision.
    world.database.adopt(REGION, adopted());
    world.eventually("brought over", || world.in_step(&late)).await;
}
