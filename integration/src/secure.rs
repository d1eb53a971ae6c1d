//! TLS of a test's own: an authority, and a certificate for `localhost`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// An authority, and the files of a server that it vouches for.
pub struct Secure {
    folder: TempDir,
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Secure {
    /// Makes both. Keys are of the kind ECDSA P-256.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A leaf of the same name would look as if it had signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let leaf = params.signed_by(&key, &authority).expect("a leaf");
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in
            [("ca.pem", authority.pem()), ("server.pem", leaf.pem()), ("server.key", key.serialize_pem())]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("it is ours");
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is ours");
        }
        Self { leaf: leaf.der().clone(), key: key.serialize_der(), folder }
    }

    /// The file of the authority: `ca.pem`, or of the server: `server.pem` and `server.key`.
    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A client that trusts the authority, and offers no protocol.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.file("ca.pem")).expect("a certificate");
        roots.add(authority).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A server that agrees on these protocols.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        self.server(protocols, WebPkiClientVerifier::no_client_auth())
    }

    /// A server that demands a certificate of this authority.
    pub fn demanding(&self, authority: &CertificateDer<'static>) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        self.server(&["http/1.1"], verifier.build().expect("a verifier"))
    }

    fn server(&self, protocols: &[&str], clients: Arc<dyn ClientCertVerifier>) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.key.clone()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![self.leaf.clone()], key)
            .expect("a configuration");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Default for Secure {
    fn default() -> Self {
        Self::new()
    }
}
