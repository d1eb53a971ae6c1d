//! Callers that are known by their client certificates, from `rrctl` to a request over TLS: by a key that is rolled, and by a
//! SPIFFE name with the authorities that can give it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rr_contract::runtime::Tasks;
use rr_integration::sample::ORG;
use rr_integration::wait::eventually;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::own_values::Installation;

const EDGE: &str = "edge.example";
const NAME: &str = "spiffe://example.org/payments";

/// An authority, for the node or for callers.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Whoever shows a certificate.
struct Client {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root"))
    }

    /// A certificate with this name.
    fn issue(&self, name: SanType, usage: ExtendedKeyUsagePurpose) -> Client {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.0).expect("a leaf");
        Client { key, certificate: leaf.der().clone(), pem: leaf.pem() }
    }

    fn client(&self, name: &str) -> Client {
        let name = SanType::URI(name.try_into().expect("it is ASCII"));
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("it is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// An installation whose node speaks TLS.
struct Secure {
    it: Installation,
    authority: Authority,
    _files: tempfile::TempDir,
}

impl Secure {
    async fn start() -> Self {
        let (authority, files) = (Authority::new("of the node"), tempfile::tempdir().expect("a folder"));
        let name = SanType::DnsName(EDGE.try_into().expect("a name"));
        let served = authority.issue(name, ExtendedKeyUsagePurpose::ServerAuth);
        let (certificate, key) = (files.path().join("edge.crt"), files.path().join("edge.key"));
        write(&certificate, &served.pem);
        write(&key, &served.key.serialize_pem());
        let setting = |name, path: &Path| (name, path.display().to_string());
        let it = Installation::start_with(&[
            setting("RR_EDGE_TLS_CERTIFICATE", &certificate),
            setting("RR_EDGE_TLS_KEY", &key),
        ])
        .await;
        Self { it, authority, _files: files }
    }

    /// The status of a request of this client on a connection of its own.
    async fn get(&self, client: Option<&Client>, key: Option<&str>) -> anyhow::Result<u16> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(Client { key, certificate, .. }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
                builder.with_client_auth_cert(vec![certificate.clone()], key)?
            }
        };
        let socket = TcpStream::connect(self.it.edge.listen).await?;
        let stream =
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(EDGE)?, socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Tasks::new().spawn("caller", connection);
        let mut request = Request::get(format!("/api/{ORG}.echo/x")).header("host", EDGE);
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        let (head, body) = sender.send_request(request.body(Empty::<Bytes>::new())?).await?.into_parts();
        #[expect(clippy::disallowed_methods, reason = "tests know what they are sent")]
        body.collect().await?;
        Ok(head.status.as_u16())
    }

    /// Waits until requests of a client are answered so.
    async fn answers(&self, client: &Client, status: u16) {
        eventually(&format!("it is answered {status}"), || async {
            (self.get(Some(client), None).await.ok()? == status).then_some(())
        })
        .await;
    }

    fn put(&self, name: &str, text: &str) {
        write(&self.it.values.path().join(name), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_from_a_certificate_counts_beside_other_callers_and_is_rolled() {
    let secure = Secure::start().await;
    let (it, anybody) = (&secure.it, Authority::new("anybody"));
    let (partner, renewed, stranger) = (
        anybody.client("https://partner.example"),
        anybody.client("https://partner.example"),
        anybody.client("https://partner.example"),
    );
    secure.put("partner.pem", &partner.pem);
    secure.put("partner.key", &partner.key.serialize_pem());
    secure.put("renewed.pem", &renewed.pem);
    let create = ["credential", "create-caller", "partner", "--kind", "certificate", "--certificate"];
    let private = it.fails(&[&create[..], &["partner.key"]].concat(), "").await;
    let inside = partner.key.serialize_pem().lines().nth(1).expect("it has a line").to_owned();
    assert!(private.contains("private key") && !private.contains(&inside), "{private}");
    it.done(&[&create[..], &["partner.pem"]].concat(), "").await;
    it.done(&["proxy", "update", "echo", "--caller", "app", "--caller", "partner"], "").await;
    secure.answers(&partner, 200).await;
    // A claim of the request counts alone; callers of another kind go on, with and without a certificate.
    let key = it.sample.key.clone();
    for client in [None, Some(&stranger), Some(&partner)] {
        assert_eq!(secure.get(client, Some(&key)).await.expect("it answers"), 200);
        assert_eq!(secure.get(client, Some("Bearer a.b.c")).await.expect("it answers"), 401);
    }
    assert_eq!(secure.get(None, None).await.expect("it answers"), 401);
    assert_eq!(secure.get(Some(&stranger), None).await.expect("it answers"), 401);
    it.reason("missing").await;
    it.reason("certificate-unknown").await;

    let roll = ["credential", "roll", "partner", "--overlap", "10s", "--certificate", "renewed.pem"];
    it.done(&roll, "").await;
    secure.answers(&renewed, 200).await;
    assert_eq!(secure.get(Some(&partner), None).await.expect("it answers"), 200, "for a time");
    let shown = it.done(&["credential", "show", "partner"], "").await;
    assert!(shown.contains("older value until") && shown.matches("key ").count() == 2, "{shown}");
    secure.answers(&partner, 401).await;
    it.reason("superseded").await;
    assert_eq!(secure.get(Some(&renewed), None).await.expect("it answers"), 200);

    // The same in a file, whose key another credential has.
    let set = "kind: credential\nname: again\ncaller: {kind: certificate}\nvalue_from: {file: renewed.pem}\n";
    secure.put("set.yaml", set);
    it.fails(&["apply", "-f", "set.yaml", "--yes"], "").await;
    secure.put("set.yaml", &set.replace("again", "partner"));
    let said = it.done(&["apply", "-f", "set.yaml", "--yes"], "").await;
    assert!(said.contains("nothing to change: 1 unchanged"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spiffe_name_counts_from_the_authorities_of_its_credential_alone() {
    let secure = Secure::start().await;
    let (it, root, next) = (&secure.it, Authority::new("root"), Authority::new("next"));
    secure.put("root.pem", &root.0.pem());
    secure.put("both.pem", &format!("{}{}", root.0.pem(), next.0.pem()));
    let create = ["credential", "create-caller", "payments", "--kind", "certificate", "--spiffe-id"];
    let said = it.fails(&[&create[..], &[NAME]].concat(), "").await;
    assert!(said.contains("--ca-bundle"), "{said}");
    let said =
        it.fails(&[&create[..], &["spiffe://Example.org/a", "--ca-bundle", "root.pem"]].concat(), "").await;
    assert!(said.contains("--spiffe-id") && said.contains("trust domain"), "{said}");
    it.done(&[&create[..], &[NAME, "--ca-bundle", "root.pem"]].concat(), "").await;
    it.done(&["proxy", "update", "echo", "--caller", "app", "--caller", "payments"], "").await;
    let (good, of_next) = (root.client(NAME), next.client(NAME));
    secure.answers(&good, 200).await;
    let for_servers =
        root.issue(SanType::URI(NAME.try_into().expect("it is ASCII")), ExtendedKeyUsagePurpose::ServerAuth);
    for client in [&of_next, &for_servers, &root.client("spiffe://example.org/other")] {
        assert_eq!(secure.get(Some(client), None).await.expect("it answers"), 401);
    }
    it.reason("certificate-chain").await;
    it.reason("certificate-unknown").await;
    it.done(&["credential", "update", "payments", "--ca-bundle", "both.pem"], "").await;
    secure.answers(&of_next, 200).await;
    assert_eq!(secure.get(Some(&good), None).await.expect("it answers"), 200);
    let rolled = it.fails(&["credential", "roll", "payments", "--overlap", "0"], "").await;
    assert!(rolled.contains("SPIFFE name"), "{rolled}");
    // What is exported is applied as it is.
    let exported = it.done(&["export"], "").await;
    assert!(exported.contains(NAME) && exported.contains("BEGIN CERTIFICATE"), "{exported}");
    secure.put("all.yaml", &exported);
    let said = it.done(&["apply", "-f", "all.yaml", "--yes"], "").await;
    assert!(said.contains("nothing to change"), "{said}");
}
