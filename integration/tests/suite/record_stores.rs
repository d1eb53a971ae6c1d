//! Records of a region that goes from one database to another while requests come and the control plane is killed: each is
//! there once, wherever it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rr_integration::process::Edge;
use rr_integration::sample::{REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use sqlx::Connection as _;

use crate::own_values::{get, rrctl};

/// How many requests are sent between two events.
const REQUESTS: usize = 25;

/// Ids of the records of answers that were 200, and how many of those the rollups of a database count.
async fn found(path: &Path) -> (Vec<String>, i64) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.expect("opens");
    let ids: Vec<(String,)> = sqlx::query_as("SELECT id FROM request_record WHERE status = 200")
        .fetch_all(&mut database)
        .await
        .expect("reads");
    let (counted,): (i64,) = sqlx::query_as(
        "SELECT COALESCE(SUM(r.requests), 0) FROM rollup r JOIN series s ON s.id = r.series WHERE r.level = 3 AND s.detail = 0 AND s.status = 200",
    )
    .fetch_one(&mut database)
    .await
    .expect("reads");
    database.close().await.expect("closes");
    (ids.into_iter().map(|(id,)| id).collect(), counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_once_to_whichever_store_their_region_has_while_it_changes_and_all_is_killed() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
    let file = |name: &str| folder.path().join(name);
    let named = |name: &str| format!("{name}=sqlite://{}", file(&format!("{name}.db")).display());
    let stores = [("RR_CONTROL_RECORD_STORE", format!("{},{}", named("europe"), named("other")))];
    let mut sample = Sample::start(folder.path(), &upstream.url(), &stores).await.expect("a sample");
    let token = sample.api.node_token(REGION, &sample.keys, 1).await.expect("a token");
    let edge = Edge::start(&file("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    let key = format!("Bearer {}", sample.key);
    let mut sent = 0;
    eventually("the node serves", || async {
        (get(edge.listen, &[("authorization", &key)]).await.status == 200).then_some(())
    })
    .await;
    sent += 1;
    let run = |sample: &Sample, args: &[&str]| {
        let output = rrctl(&sample.control, &sample.api, folder.path(), args).output().expect("rrctl runs");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    };
    let (done, said) = run(&sample, &["region", "update", REGION, "--record-store", "mars"]);
    assert!(!done && said.contains("--record-store NAME=URL") && said.contains("europe, other"), "{said}");
    let place = |sample: &Sample, store: &str| match store {
        "central" => sample.control.database(),
        name => file(&format!("{name}.db")),
    };
    for store in ["europe", "other", "central", "europe"] {
        for _ in 0..REQUESTS {
            assert_eq!(get(edge.listen, &[("authorization", &key)]).await.status, 200);
            sent += 1;
        }
        let (done, said) = run(&sample, &["region", "update", REGION, "--record-store", store]);
        assert!(done, "{said}");
        for _ in 0..REQUESTS {
            assert_eq!(get(edge.listen, &[("authorization", &key)]).await.status, 200);
            sent += 1;
        }
        let database = place(&sample, store);
        let before = found(&database).await.0.len();
        for _ in 0..REQUESTS {
            assert_eq!(get(edge.listen, &[("authorization", &key)]).await.status, 200);
            sent += 1;
        }
        eventually("the store has its turn", || async {
            (found(&database).await.0.len() > before).then_some(())
        })
        .await;
        // In the middle of batches.
        for _ in 0..REQUESTS {
            assert_eq!(get(edge.listen, &[("authorization", &key)]).await.status, 200);
            sent += 1;
        }
        sample.control.kill();
        assert_eq!(get(edge.listen, &[("authorization", &key)]).await.status, 200);
        sent += 1;
        sample.control = sample.control.restart().await;
    }
    let databases: [PathBuf; 3] = ["central", "europe", "other"].map(|store| place(&sample, store));
    eventually("all records are there, and counted", || async {
        let (mut all, mut sum) = (0, 0);
        for database in &databases {
            let (ids, counted) = found(database).await;
            all += ids.len();
            sum += usize::try_from(counted).expect("no less than nothing");
        }
        assert!(all <= sent && sum <= sent, "{all} records and {sum} counted of {sent}");
        (all == sent && sum == sent).then_some(())
    })
    .await;
    let mut distinct = BTreeSet::new();
    for database in &databases {
        let (ids, _) = found(database).await;
        assert!(!ids.is_empty(), "{} had its turn", database.display());
        distinct.extend(ids);
    }
    assert_eq!(distinct.len(), sent, "none is in two");
    let (done, listed) =
        run(&sample, &["-o", "json", "request", "list", "--status", "200", "--limit", "1000"]);
    assert!(done, "{listed}");
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(sent));
}
