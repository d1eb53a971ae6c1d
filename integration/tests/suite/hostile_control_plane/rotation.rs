//! A revoked node is to get the next key of its region all the same. What the control plane says of it is what the attacker likes:
//! that it is not revoked, that it is another node, or that its key is another node's.

use rr_contract::seal::OpeningKey;
use rr_contract::seal::node_token::NodeToken;
use rr_integration::fleet::join_with;
use rr_integration::sample::REGION;
use sqlx::Connection as _;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::regions::{KEY, key_file};
use super::stage::hold;
use crate::own_values::Installation;

/// A machine that joined: its key is what grants are sealed to.
struct Machine {
    node: String,
    key: Vec<u8>,
    token: NodeToken,
}

impl Machine {
    /// Joins with a token of its own, or with that of another.
    async fn join(it: &Installation, token: Option<&NodeToken>) -> Self {
        let token = match token {
            Some(token) => {
                let text = token.to_secret();
                std::str::from_utf8(text.expose()).expect("text").parse().expect("a token")
            }
            None => it.sample.api.node_token(REGION, &it.sample.keys, 2).await.expect("a token"),
        };
        let own = OpeningKey::generate();
        let joined = join_with(&it.sample.place, &token, &own).await.expect("joins");
        Self { node: joined.node, key: own.sealing_key().to_bytes().to_vec(), token }
    }
}

/// Which of these got a key of an epoch.
async fn granted(it: &Installation, epoch: i64, machines: &[&Machine]) -> Vec<bool> {
    let options = SqliteConnectOptions::new().filename(it.sample.control.database()).read_only(true);
    let mut database = SqliteConnection::connect_with(&options).await.expect("opens");
    let read = sqlx::query("SELECT recipient FROM region_grant WHERE epoch = ?").bind(epoch);
    let rows = read.fetch_all(&mut database).await.expect("reads");
    database.close().await.expect("closes");
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    machines.iter().map(|it| found.contains(&data_encoding::HEXLOWER.encode(&it.key))).collect()
}

async fn rotate(it: &Installation, more: &[&str]) -> String {
    let args = ["region", "rotate-key", REGION, "--yes", "--now"];
    it.told(&[&args[..], &KEY, more].concat(), "").await
}

const REVIVE: &str = "UPDATE node SET revoked_at = NULL WHERE id = ?";

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_of_which_the_control_plane_says_that_it_is_not_gets_no_key() {
    let it = Installation::start().await;
    key_file(&it);
    let (revoked, stays) = (Machine::join(&it, None).await, Machine::join(&it, None).await);
    let said = it.told(&["node", "revoke", &revoked.node, "--yes"], "").await;
    // What is printed is what its operator runs.
    let remedy = format!("rotate-key {REGION} --exclude {}", revoked.node);
    assert!(said.contains(&remedy), "{said}");
    let it = hold(it, async |database| assert_eq!(database.run(REVIVE, &[&revoked.node]).await, 1)).await;
    let said = rotate(&it, &["--exclude", &revoked.node]).await;
    assert!(said.contains("is left out") && said.contains("named by --exclude"), "{said}");
    assert_eq!(granted(&it, 2, &[&revoked, &stays]).await, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_left_out_once_gets_no_later_key_under_another_name() {
    let it = Installation::start().await;
    key_file(&it);
    let (revoked, stays) = (Machine::join(&it, None).await, Machine::join(&it, None).await);
    rotate(&it, &["--exclude", &revoked.node]).await;
    assert_eq!(granted(&it, 2, &[&revoked, &stays]).await, [false, true]);
    let fresh = Machine::join(&it, None).await;
    let rename = "UPDATE node SET id = 'nd_00000000000000000000000000', revoked_at = NULL WHERE id = ?";
    let it = hold(it, async |database| assert_eq!(database.run(rename, &[&revoked.node]).await, 1)).await;
    let said = rotate(&it, &[]).await;
    assert!(said.contains("left out before, or joined with a token that is left out"), "{said}");
    // Another machine with the text of its token would be one more name for it.
    assert_eq!(granted(&it, 3, &[&revoked, &stays, &fresh]).await, [false, true, true]);
    let again = Machine::join(&it, Some(&revoked.token)).await;
    let said = rotate(&it, &[]).await;
    assert!(said.contains(&again.node), "{said}");
    assert_eq!(granted(&it, 4, &[&again, &stays]).await, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_changes_names_with_another_is_left_out_by_its_token() {
    let it = Installation::start().await;
    key_file(&it);
    let (revoked, stays) = (Machine::join(&it, None).await, Machine::join(&it, None).await);
    // No id is in what a token vouches for, so the control plane can say that each is the other.
    let it = hold(it, async |database| {
        let rename = "UPDATE node SET id = ? WHERE id = ?";
        for [to, from] in
            [["between", &*revoked.node], [&*revoked.node, &*stays.node], [&*stays.node, "between"]]
        {
            assert_eq!(database.run(rename, &[to, from]).await, 1);
        }
    })
    .await;
    // The region signed which token it is.
    let token = revoked.token.id().to_string();
    let said = rotate(&it, &["--exclude", &token]).await;
    assert!(said.contains("is left out"), "{said}");
    assert_eq!(granted(&it, 2, &[&revoked, &stays]).await, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_which_no_token_vouches_stops_the_rotation() {
    let it = Installation::start().await;
    key_file(&it);
    let stays = Machine::join(&it, None).await;
    let theirs = OpeningKey::generate().sealing_key().to_bytes().to_vec();
    let theirs = data_encoding::HEXUPPER.encode(&theirs);
    let plant = "UPDATE node SET node_key = unhex(?) WHERE id = ?";
    let ours = data_encoding::HEXUPPER.encode(&stays.key);
    let it =
        hold(it, async |database| assert_eq!(database.run(plant, &[&theirs, &stays.node]).await, 1)).await;
    let args = ["region", "rotate-key", REGION, "--yes", "--now"];
    let said = it.fails(&[&args[..], &KEY].concat(), "").await;
    let refusal = format!("the region does not stand behind the key of {}", stays.node);
    assert!(said.contains(&refusal), "{said}");
    assert_eq!(granted(&it, 2, &[&stays]).await, [false], "there is no next key");
    let it = hold(it, async |database| assert_eq!(database.run(plant, &[&ours, &stays.node]).await, 1)).await;
    rotate(&it, &[]).await;
    assert_eq!(granted(&it, 2, &[&stays]).await, [true]);
}
