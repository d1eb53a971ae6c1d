//! Machines that joined and were away for so long that their certificates ended: they come to renew them, all at once.
//!
//! Their certificates are made to have ended with the authority's own key, so that the control plane need not be made
//! to believe in another time. Follows no configuration: light nodes do.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType, SerialNumber,
};
use rr_contract::runtime::Tasks;
use rr_contract::seal::node_token::NodeToken;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, sleep_until};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::join::join_with_keys;
use super::place::{Place, origin};
use super::script::Counts;

const DAY: Duration = Duration::from_secs(86_400);
/// Over how long nodes spread their first try, as an edge does.
const SPREAD: Duration = Duration::from_secs(2);
/// How often one tries.
const TRIES: u32 = 10;

/// Nodes with certificates that ended two days ago.
pub struct Late {
    place: Place,
    nodes: Vec<Arc<ClientConfig>>,
}

impl Late {
    /// Joins so many machines. `state` is the state folder of the control plane, where its authority's key is.
    pub async fn join(place: &Place, state: &Path, token: &NodeToken, count: usize) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(&std::fs::read_to_string(state.join("authority.key"))?)?;
        let issuer = Issuer::from_ca_cert_der(place.root(), key)?;
        let mut nodes = Vec::with_capacity(count);
        for (_, chain, key) in join_with_keys(place, token, count).await? {
            let ended = ended(chain.first().context("a certificate")?, &key, &issuer)?;
            nodes.push(place.tls(Some((vec![ended], key.serialize_der())))?);
        }
        Ok(Self { place: place.clone(), nodes })
    }

    /// Renews all of them. Returns after how long each had its certificate, from the moment in which they came.
    pub async fn renew(&self) -> anyhow::Result<Vec<Duration>> {
        let (tasks, began, count) = (Tasks::new(), Instant::now(), self.nodes.len());
        let mut all = Vec::with_capacity(count);
        for (number, tls) in self.nodes.iter().enumerate() {
            let (place, tls) = (self.place.clone(), Arc::clone(tls));
            let comes = began + SPREAD.mul_f64(number as f64 / count as f64);
            all.push(tasks.spawn("renew", async move {
                let mut turn = 0;
                loop {
                    sleep_until(comes + SPREAD * turn).await;
                    turn += 1;
                    match renew(&place, &tls).await {
                        Ok(()) => return Ok(began.elapsed()),
                        Err(error) if turn == TRIES => {
                            return Err(error.context(format!("a node was refused {TRIES} times")));
                        }
                        Err(_) => {}
                    }
                }
            }));
        }
        let mut took = Vec::with_capacity(count);
        for one in all {
            took.push(one.await??);
        }
        Ok(took)
    }
}

async fn renew(place: &Place, tls: &Arc<ClientConfig>) -> anyhow::Result<()> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let csr = CertificateParams::default().serialize_request(&key)?.der().to_vec();
    let connection = place.connect(tls, 0, &Arc::new(Counts::default()), false).await?;
    let mut client = EnrolmentServiceClient::with_origin(connection.service(), origin());
    let answer = client.renew(fleet::RenewRequest { csr, build: "light".to_owned() }).await?.into_inner();
    anyhow::ensure!(!answer.chain.is_empty(), "no certificate came");
    Ok(())
}

/// The same certificate, but for its time.
fn ended(
    certificate: &CertificateDer<'_>,
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
) -> anyhow::Result<CertificateDer<'static>> {
    let (_, parsed) = X509Certificate::from_der(certificate)?;
    let names = parsed.subject_alternative_name()?.context("a name")?;
    let name = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(parsed.raw_serial()));
    params.subject_alt_names = vec![SanType::URI(name.context("a node")?.try_into()?)];
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let now = SystemTime::now();
    params.not_before = (now - 3 * DAY).into();
    params.not_after = (now - 2 * DAY).into();
    Ok(params.signed_by(key, issuer)?.der().clone())
}
