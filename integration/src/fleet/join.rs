//! Light nodes join as machines do: a token, a key of their own, a certificate each.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rr_contract::runtime::Tasks;
use rr_contract::seal::OpeningKey;
use rr_contract::seal::node_token::NodeToken;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rustls::pki_types::CertificateDer;

use super::place::{Connection, Identity, Place, origin};
use super::script::Counts;

/// Joins of one connection: it may not last without a certificate.
const EACH: usize = 25;
const AT_ONCE: usize = 8;

/// Joins so many nodes with one token.
pub(crate) async fn join(place: &Place, token: &NodeToken, count: usize) -> anyhow::Result<Vec<Identity>> {
    let joined = join_with_keys(place, token, count).await?;
    let identity =
        |(id, chain, key): Joined| Ok(Identity { id, tls: place.tls(Some((chain, key.serialize_der())))? });
    joined.into_iter().map(identity).collect()
}

/// Id, certificate and key of a node.
pub(super) type Joined = (String, Vec<CertificateDer<'static>>, KeyPair);

/// The same, with what each connects with.
pub(super) async fn join_with_keys(
    place: &Place,
    token: &NodeToken,
    count: usize,
) -> anyhow::Result<Vec<Joined>> {
    let tasks = Tasks::new();
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let token = Arc::new(token.to_secret());
    let mut batches = Vec::new();
    let mut left = count;
    while left > 0 {
        let batch = left.min(EACH);
        left -= batch;
        let (place, token, places) = (place.clone(), Arc::clone(&token), Arc::clone(&places));
        batches.push(tasks.spawn("join", async move {
            let _place = places.acquire().await?;
            let token: NodeToken = std::str::from_utf8(token.expose())?.parse()?;
            some(&place, &token, batch).await
        }));
    }
    let mut joined = Vec::with_capacity(count);
    for batch in batches {
        joined.extend(batch.await??);
    }
    Ok(joined)
}

async fn some(place: &Place, token: &NodeToken, count: usize) -> anyhow::Result<Vec<Joined>> {
    let connection = connect(place).await?;
    let mut joined = Vec::with_capacity(count);
    for _ in 0..count {
        let (answer, key) = one(&connection, token, &OpeningKey::generate()).await?;
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        joined.push((answer.node, chain, key));
    }
    Ok(joined)
}

/// Joins one machine with a key of the caller's. It never connects.
pub async fn join_with(
    place: &Place,
    token: &NodeToken,
    own_key: &OpeningKey,
) -> anyhow::Result<fleet::JoinResponse> {
    Ok(one(&connect(place).await?, token, own_key).await?.0)
}

async fn connect(place: &Place) -> anyhow::Result<Connection> {
    place.connect(&place.tls(None)?, 0, &Arc::new(Counts::default()), false).await
}

async fn one(
    connection: &Connection,
    token: &NodeToken,
    own_key: &OpeningKey,
) -> anyhow::Result<(fleet::JoinResponse, KeyPair)> {
    let mut client = EnrolmentServiceClient::with_origin(connection.service(), origin());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let csr = CertificateParams::default().serialize_request(&key)?.der().to_vec();
    let (keys, node_key) = (token.keys(), own_key.sealing_key());
    let request = fleet::JoinRequest {
        token: token.id().to_string(),
        auth: keys.auth().to_vec(),
        node_key: node_key.to_bytes().to_vec(),
        vouch: keys.vouch(&node_key, &csr),
        csr,
        build: "light".to_owned(),
    };
    let answer = client.join(request).await.context("join")?.into_inner();
    keys.open(answer.statement.as_ref().context("a statement")?)?;
    Ok((answer, key))
}
