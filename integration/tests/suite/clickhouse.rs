//! Records of a region that goes to ClickHouse and back while requests come, the control plane is killed, and the server, too: each is
//! there once, is counted once, and is found by `rrctl`.

use rr_integration::clickhouse::ClickHouse;
use rr_integration::process::Edge;
use rr_integration::sample::{REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use sqlx::Connection as _;

use crate::own_values::{get, rrctl};

/// How many requests are sent between two events.
const REQUESTS: usize = 25;

/// How many records lie in the central database.
async fn in_central(sample: &Sample) -> i64 {
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(sample.control.database()).read_only(true);
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.expect("opens");
    let (rows,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM request_record").fetch_one(&mut database).await.expect("reads");
    database.close().await.expect("closes");
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_once_to_clickhouse_while_it_and_the_control_plane_are_killed() {
    let Some(mut server) = ClickHouse::start() else {
        eprintln!("not run: there is no ClickHouse, see .ci/clickhouse");
        return;
    };
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
    let stores = [("RR_CONTROL_RECORD_STORE", format!("big={}", server.url()))];
    let mut sample = Sample::start(folder.path(), &upstream.url(), &stores).await.expect("a sample");
    let token = sample.api.node_token(REGION, &sample.keys, 1).await.expect("a token");
    let edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    let key = format!("Bearer {}", sample.key);
    let run = |sample: &Sample, args: &[&str]| {
        let output = rrctl(&sample.control, &sample.api, folder.path(), args).output().expect("rrctl runs");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let mut sent = 0;
    let mut send = async |count: usize| {
        for _ in 0..count {
            assert_eq!(get(edge.listen, &[("authorization", &key)]).await.status, 200);
            sent += 1;
        }
        sent
    };
    eventually("the node serves", || async {
        (get(edge.listen, &[("authorization", &key)]).await.status == 200).then_some(())
    })
    .await;
    let listed = |sample: &Sample| {
        let (done, said) =
            run(sample, &["-o", "json", "request", "list", "--status", "200", "--limit", "1000"]);
        if !done {
            return None;
        }
        let rows: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        rows.as_array().map(Vec::len)
    };
    for store in ["big", "central", "big"] {
        send(REQUESTS).await;
        let (done, said) = run(&sample, &["region", "update", REGION, "--record-store", store]);
        assert!(done, "{said}");
        send(REQUESTS).await;
        if store == "big" {
            eventually("it has its turn", || async {
                let rows: usize = server.run("SELECT count() FROM request_record").trim().parse().ok()?;
                (rows > 0).then_some(())
            })
            .await;
            // In the middle of batches.
            send(REQUESTS).await;
            server.kill();
            send(REQUESTS).await;
            eventually("who asks is told which store does not answer", || async {
                let (done, said) = run(&sample, &["request", "list"]);
                (!done && said.contains("record store \"big\" does not answer")).then_some(())
            })
            .await;
            server.restart();
        } else {
            eventually("the central database has its turn", || async {
                (in_central(&sample).await > 0).then_some(())
            })
            .await;
        }
        sample.control.kill();
        send(REQUESTS).await;
        sample.control = sample.control.restart().await;
    }
    // And the first, which found the node serving.
    let all = send(REQUESTS).await + 1;
    eventually("all records are there", || async {
        let found = listed(&sample)?;
        assert!(found <= all, "{found} records of {all}");
        (found == all).then_some(())
    })
    .await;
    eventually("all are counted", || async {
        let (done, said) = run(&sample, &["-o", "json", "metrics", "query", "--status", "200"]);
        assert!(done, "{said}");
        let answer: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let counted: usize = answer["all"]["total"]["requests"].as_str()?.parse().expect("a number");
        assert!(counted <= all, "{counted} counted of {all}");
        (counted == all).then_some(())
    })
    .await;
    let outside: usize = server.run("SELECT count() FROM request_record").trim().parse().expect("a number");
    let central = in_central(&sample).await;
    assert!(outside > 0 && central > 0, "{outside} outside and {central} of {all}");
    // Neither table nor log has its password.
    let folder = folder.path().display();
    let found = std::process::Command::new("grep")
        .args(["-rl", server.password(), &folder.to_string()])
        .output()
        .expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
