//! `kill -9` in the middle of writes, of the control plane and of its database: what was acknowledged is there, what
//! was numbered has no gap, the audit chain verifies, and a rewritten row is caught.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rr_contract::audit::{Chain, Entry};
use rr_contract::runtime::Tasks;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::audit_service_client::AuditServiceClient;
use rr_contract::wire::management::target_service_client::TargetServiceClient;
use rr_integration::api::Api;
use rr_integration::fleet_100k::Dice;
use rr_integration::postgres::Postgres;
use rr_integration::process::Control;
use rr_integration::wait::eventually;
use sqlx::Connection as _;
use tokio::sync::Semaphore;

const ORG: &str = "acme";
const ROUNDS: usize = 20;
/// Writes of each round: a thousand in all.
const WRITES: usize = 50;
const WRITERS: usize = 5;

/// Names of the targets that were made, by the revision that was told.
type Acknowledged = Arc<Mutex<BTreeMap<u64, String>>>;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_rewritten_is_missed_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
    let control = Control::start_with(folder.path(), &variables).await;
    let (control, api) = survive(control, None).await;
    let file = control.database();
    let rewrite = async move |statement: &str| {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
        let mut database = sqlx::SqliteConnection::connect_with(&options).await.expect("opens");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut database).await.expect("runs");
    };
    a_rewritten_row_is_caught(&api, rewrite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_rewritten_is_missed_on_postgres() {
    let Some(mut server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [("RR_CONTROL_TOKEN_RATE", "0".to_owned()), ("RR_CONTROL_DATABASE", server.address())];
    let control = Control::start_with(folder.path(), &variables).await;
    let (_control, api) = survive(control, Some(&mut server)).await;
    let rewrite = async |statement: &str| drop(server.execute(statement));
    a_rewritten_row_is_caught(&api, rewrite).await;
}

/// Who is killed in a round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    ControlPlane,
    Server,
    Connection,
}

async fn survive(mut control: Control, mut server: Option<&mut Postgres>) -> (Control, Api) {
    let api = control.bootstrap().await;
    api.org(ORG).await.expect("make the org");
    let acknowledged = Acknowledged::default();
    let mut dice = Dice::new(7);
    for round in 0..ROUNDS {
        let victim = match (server.is_some(), round % 10) {
            (true, 1) => Victim::Server,
            (true, 4) => Victim::Connection,
            _ => Victim::ControlPlane,
        };
        let after = 5 + dice.below(WRITES - 15) as u32;
        let ended = Arc::new(Semaphore::new(0));
        let (tasks, mut writers) = (Tasks::new(), Vec::new());
        for writer in 0..WRITERS {
            let (api, acknowledged, ended) = (api.clone(), Arc::clone(&acknowledged), Arc::clone(&ended));
            writers.push(tasks.spawn("writer", async move {
                for n in 0..WRITES / WRITERS {
                    let name = format!("t-{round}-{writer}-{n}");
                    if let Ok(revision) = create(&api, &name).await {
                        let mut book = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                        let other = book.insert(revision, name);
                        assert_eq!(other, None, "revision {revision} was told twice");
                    }
                    ended.add_permits(1);
                }
            }));
        }
        // Failed or not: nothing is waited for that may not come.
        drop(ended.acquire_many(after).await.expect("nobody closes it"));
        match (victim, &mut server) {
            (Victim::Server, Some(server)) => server.crash(),
            (Victim::Connection, Some(server)) => server.crash_backend(),
            _ => control.kill(),
        }
        for writer in writers {
            writer.await.expect("no writer panics");
        }
        if victim == Victim::ControlPlane {
            control = control.restart().await;
        }
        let name = format!("after-{round}");
        eventually("writes are taken again", || {
            let (api, name) = (&api, &name);
            async move {
                match create(api, name).await {
                    Ok(_) => Some(()),
                    Err(status) => (status.code() == tonic::Code::AlreadyExists).then_some(()),
                }
            }
        })
        .await;
    }
    let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(acknowledged.len() >= ROUNDS * 5, "only {} were acknowledged", acknowledged.len());

    let there = names(&api).await;
    for name in acknowledged.values() {
        assert!(there.contains(name), "{name} was acknowledged and is gone");
    }
    let history = export(&api).await;
    verify(&history).expect("the chain holds");
    for (revision, name) in &acknowledged {
        let entry = &history[usize::try_from(*revision).expect("small") - 1];
        let changes: Vec<&str> = entry.changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(changes, [name], "revision {revision}");
    }
    (control, api)
}

async fn a_rewritten_row_is_caught(api: &Api, execute: impl AsyncFn(&str)) {
    let before = export(api).await;
    let victim = before.len() / 2;
    let honest = before[victim - 1].actor.clone().expect("an actor").name;
    execute(&format!("UPDATE revision SET actor = 'somebody else' WHERE rev = {victim}")).await;
    let rewritten = export(api).await;
    assert_eq!(verify(&rewritten), Err(victim as u64));
    execute(&format!("UPDATE revision SET actor = '{honest}' WHERE rev = {victim}")).await;
    assert_eq!(verify(&export(api).await), Ok(()));
    execute(&format!("UPDATE change SET name = 'another' WHERE rev = {victim}")).await;
    assert_eq!(verify(&export(api).await), Err(victim as u64));
}

async fn create(api: &Api, name: &str) -> Result<u64, tonic::Status> {
    let target = mg::Target {
        name: name.to_owned(),
        base_url: "https://upstream.example".to_owned(),
        ..mg::Target::default()
    };
    let ask = mg::CreateTargetRequest { org: ORG.to_owned(), target: Some(target), ..Default::default() };
    Ok(TargetServiceClient::new(api.connection()).create_target(ask).await?.into_inner().revision)
}

async fn names(api: &Api) -> std::collections::BTreeSet<String> {
    let mut stub = TargetServiceClient::new(api.connection());
    let (mut found, mut page_token) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let ask =
            mg::ListTargetsRequest { org: ORG.to_owned(), page_size: 1000, page_token, ..Default::default() };
        let page = stub.list_targets(ask).await.expect("lists").into_inner();
        found.extend(page.targets.into_iter().map(|target| target.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// Every entry, whole, in the order in which they came.
async fn export(api: &Api) -> Vec<mg::AuditEntry> {
    let mut stub = AuditServiceClient::new(api.connection());
    let ask = mg::ExportAuditRequest { from: 0, to: 0 };
    let mut stream = stub.export_audit(ask).await.expect("exports").into_inner();
    let mut entries: Vec<mg::AuditEntry> = Vec::new();
    while let Some(reply) = stream.message().await.expect("goes on") {
        let entry = reply.entry.expect("an entry");
        match entries.last_mut() {
            Some(last) if last.revision == entry.revision => last.changes.extend(entry.changes),
            _ => entries.push(entry),
        }
    }
    entries
}

/// The first revision that does not fit.
fn verify(history: &[mg::AuditEntry]) -> Result<(), u64> {
    let mut chain = Chain::start();
    for (number, entry) in (1..).zip(history) {
        let hash = entry.changes.iter().fold(Entry::new(entry), |hash, change| hash.change(change)).finish();
        chain = chain.next(number, &hash);
        let whole = entry.change_count == entry.changes.len() as u64;
        if entry.revision != number || !whole || entry.audit != chain.head() {
            return Err(number);
        }
    }
    Ok(())
}
