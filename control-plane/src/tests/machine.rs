//! Machines that join, and their connections to the fleet port.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use hyper_util::rt::TokioIo;
use rr_contract::model::id::InstallationId;
use rr_contract::seal::OpeningKey;
use rr_contract::seal::node_token::{NodeToken, NodeTokenDraft};
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::node_token_service_client::NodeTokenServiceClient;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::world::{Region, World, by};
use crate::authority::SERVER_NAME;

/// What a stream may be sent ahead of what is read.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;

/// A machine that joined.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) channel: Channel,
}

impl World {
    /// Registers a node token for a region.
    pub(super) async fn node_token(&self, region: &Region, uses: u32) -> NodeToken {
        let installation: InstallationId = self.installation().await.id.parse().expect("an id");
        let draft = NodeTokenDraft::draw(&SystemEntropy);
        let expires_at = SystemTime::now() + Duration::from_secs(3600);
        let statement = draft.statement(&region.keys, installation, uses, expires_at);
        let request =
            wire::CreateNodeTokenRequest { region: region.name.clone(), statement: Some(statement) };
        let mut client = NodeTokenServiceClient::new(self.channel.clone());
        let answer =
            client.create_node_token(by(&self.operator, request)).await.expect("is made").into_inner();
        draft.finish(answer.authority_pin.try_into().expect("32 bytes"))
    }

    /// Joins as a machine does.
    pub(super) async fn join(&self, token: &NodeToken) -> Result<Node, Status> {
        let key = rcgen::KeyPair::generate().expect("keys");
        let request = join_request(token, &key);
        let channel = self.fleet_channel(None, WINDOW).await;
        let answer = EnrolmentServiceClient::new(channel).join(request).await?.into_inner();
        assert!(token.keys().open(answer.statement.as_ref().expect("is there")).is_ok());
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Node { id: answer.node, channel: self.fleet_channel(Some((chain, key)), WINDOW).await })
    }

    /// Joins as a machine that then takes nothing of what it is sent, and answers pings.
    pub(super) async fn join_deaf(&self, token: &NodeToken) -> Node {
        let key = rcgen::KeyPair::generate().expect("keys");
        let request = join_request(token, &key);
        let channel = self.fleet_channel(None, WINDOW).await;
        let answer = EnrolmentServiceClient::new(channel).join(request).await.expect("joins").into_inner();
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Node { id: answer.node, channel: self.fleet_channel(Some((chain, key)), 0).await }
    }

    /// A connection to the fleet port, with or without a certificate of our own.
    pub(super) async fn fleet_channel(
        &self,
        certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
        window: u32,
    ) -> Channel {
        let pem = std::fs::read(self.folder.path().join("state/authority.crt")).expect("is there");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("is one");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("good")
            .with_root_certificates(roots);
        let mut tls = match certificate {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("match"),
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(tls));
        let address = self.running.fleet();
        let connect = tower::service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from(SERVER_NAME).expect("a name");
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://fleet").initial_stream_window_size(window);
        endpoint.connect_with_connector(connect).await.expect("connects")
    }
}

pub(super) fn join_request(token: &NodeToken, key: &rcgen::KeyPair) -> fleet::JoinRequest {
    let csr = rcgen::CertificateParams::default().serialize_request(key).expect("a request");
    let node_key = OpeningKey::generate().sealing_key();
    let keys = token.keys();
    fleet::JoinRequest {
        token: token.id().to_string(),
        auth: keys.auth().to_vec(),
        csr: csr.der().to_vec(),
        node_key: node_key.to_bytes().to_vec(),
        vouch: keys.vouch(&node_key, csr.der()),
        build: "test".to_owned(),
    }
}
