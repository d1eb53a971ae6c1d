//! An identity provider of a test's own: keys, tokens, and a server that publishes what it is told to.
//!
//! Signs by a library that the product has no part of, so that no misunderstanding of tokens is shared by both sides.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rr_contract::runtime::{Shutdown, Tasks};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::secure::Secure;

/// `aud` of all tokens.
pub const AUDIENCE: &str = "api";

/// A key that signs, by ES256.
pub struct SigningKey {
    kid: String,
    pair: KeyPair,
    key: EncodingKey,
}

impl SigningKey {
    /// A new one with a name.
    pub fn new(kid: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { kid: kid.to_owned(), pair, key }
    }

    /// As it is published.
    pub fn published(&self) -> Value {
        // A byte that says that it is not compressed, and both coordinates.
        let (x, y) = self.pair.public_key_raw()[1..].split_at(32);
        let text = |bytes| BASE64URL_NOPAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": self.kid, "use": "sig", "alg": "ES256"})
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.key).expect("a token")
    }

    /// A token of an issuer for one of its people, which counts for so many seconds.
    pub fn token(&self, issuer: &str, subject: &str, seconds: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
        self.sign(&json!({
            "iss": issuer, "aud": AUDIENCE, "sub": subject, "iat": now.as_secs(), "exp": now.as_secs() + seconds,
        }))
    }
}

/// The document that publishes keys.
pub fn document(keys: &[&SigningKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.published()).collect::<Vec<_>>()}).to_string()
}

/// A server on loopback that publishes a document by TLS, as `localhost`.
pub struct KeyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
}

struct Shared {
    document: Mutex<String>,
    status: AtomicU16,
    fetches: AtomicUsize,
}

impl KeyServer {
    /// Publishes a document.
    pub async fn start(secure: &Secure, document: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared =
            Arc::new(Shared { document: Mutex::new(document), status: 200.into(), fetches: 0.into() });
        let (shutdown, tasks, acceptor) = (Shutdown::new(), Tasks::new(), secure.acceptor(&["http/1.1"]));
        let (stop, serving) = (shutdown.stop(), Arc::clone(&shared));
        tasks.clone().spawn("key server", async move {
            while let Some(accepted) = stop.cut(listener.accept()).await {
                let (socket, _) = accepted.expect("accept on loopback");
                let (shared, stop, acceptor) = (Arc::clone(&serving), stop.clone(), acceptor.clone());
                tasks.spawn("key server connection", async move {
                    // A node that does not trust it goes away.
                    let Ok(socket) = acceptor.accept(socket).await else { return };
                    let service = hyper::service::service_fn(move |_| {
                        let answer = shared.answer();
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let mut builder = http1::Builder::new();
                    builder.timer(TokioTimer::new());
                    drop(stop.cut(builder.serve_connection(TokioIo::new(socket), service)).await);
                });
            }
        });
        Self { address, shared, shutdown }
    }

    /// Where the document is.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/keys", self.address.port())
    }

    /// Publishes another document.
    pub fn publish(&self, document: String) {
        *self.shared.document.lock().unwrap_or_else(PoisonError::into_inner) = document;
    }

    /// Answers with this status from now on.
    pub fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// How often it was asked.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Shared {
    fn answer(&self) -> Response<Full<Bytes>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let document = self.document.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = Response::builder().status(self.status.load(Ordering::SeqCst));
        answer.body(Full::from(document)).expect("a status")
    }
}
