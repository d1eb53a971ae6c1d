//! Secrets of each kind, replaced while requests come: none of them fails, whenever the other side changes over.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rr_contract::runtime::Tasks;
use rr_integration::sample::REGION;
use rr_integration::secure::Secure;
use rr_integration::upstream::{Seen, Upstream};
use rr_integration::wait::eventually;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::own_values::Installation;

const SECRETS: [&str; 2] = ["9f86d081884c7d659a2feaa0c55ad015", "3f2b8c1d7e544a099c6bd18e2f7a5b30"];
const TOKEN: &str = "an-access-token-that-nobody-else-has";
const AWS: [&str; 6] =
    ["--access-key-id", "AKIAIOSFODNN7EXAMPLE", "--aws-region", "eu-central-1", "--service", "execute-api"];

/// Whether a request bears this secret, as the other side reads it.
type Bears = fn(&Seen, &str) -> bool;

struct Kind {
    name: &'static str,
    /// `{issuer}` stands for where tokens are asked for.
    flags: &'static [&'static str],
    bears: Bears,
    /// It is the issuer who reads it. The upstream takes [`TOKEN`].
    is_of_issuer: bool,
    /// The secret is a private key.
    is_key: bool,
}

/// A kind whose secret the upstream reads.
const fn read(name: &'static str, flags: &'static [&'static str], bears: Bears) -> Kind {
    Kind { name, flags, bears, is_of_issuer: false, is_key: false }
}

/// A kind whose secret gets a token.
const fn exchanged(name: &'static str, flags: &'static [&'static str], bears: Bears, is_key: bool) -> Kind {
    Kind { name, flags, bears, is_of_issuer: true, is_key }
}

const KINDS: [Kind; 12] = [
    read("bearer", &[], |seen, secret| text(seen, "authorization") == format!("Bearer {secret}")),
    read("api-key", &["--header", "authorization", "--prefix", "Key "], |seen, secret| {
        text(seen, "authorization") == format!("Key {secret}")
    }),
    read("api-key", &["--query", "key"], |seen, secret| seen.uri.query() == Some(&*format!("key={secret}"))),
    read("jwt", &[], |seen, secret| text(seen, "authorization") == format!("Bearer {secret}")),
    read("basic", &["--user", "ann"], |seen, secret| text(seen, "authorization") == basic("ann", secret)),
    read("custom-headers", &["--set-header", "x-id=id", "--set-header", "x-key=-"], |seen, secret| {
        (text(seen, "x-id"), text(seen, "x-key")) == ("app-1", secret)
    }),
    read(
        "hmac",
        &["--text", "{date}.{method}", "--sign-header", "x-signature=t={date},v1={signature}"],
        is_hashed,
    ),
    read("aws-sigv4", &AWS, is_signed),
    exchanged("oauth2", &["--token-url", "{issuer}", "--client-id", "edge"], is_client, false),
    exchanged("jwt-bearer", &["--token-url", "{issuer}", "--issuer", "robot"], asserts, true),
    exchanged(
        "oauth2",
        &["--token-url", "{issuer}", "--client-id", "edge", "--authentication", "private-key-jwt"],
        asserts,
        true,
    ),
    exchanged(
        "custom-token",
        &[
            "--token-url",
            "{issuer}",
            "--body",
            r#"{"password":"{secret:json}"}"#,
            "--token-path",
            "access_token",
        ],
        |seen, secret| seen.body == format!(r#"{{"password":"{secret}"}}"#),
        false,
    ),
];

fn text<'s>(seen: &'s Seen, name: &str) -> &'s str {
    seen.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

fn is_client(seen: &Seen, secret: &str) -> bool {
    text(seen, "authorization") == basic("edge", secret)
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// The header has a keyed hash of date and method.
fn is_hashed(seen: &Seen, secret: &str) -> bool {
    let Some((date, signature)) = text(seen, "x-signature").split_once(",v1=") else { return false };
    let signed = format!("{}.GET", date.strip_prefix("t=").unwrap_or_default());
    HEXLOWER.encode(&mac(secret.as_bytes(), signed.as_bytes())) == signature
}

/// The request is signed as AWS asks for.
fn is_signed(seen: &Seen, secret: &str) -> bool {
    let said = text(seen, "authorization");
    let part =
        |name: &str| said.split_once(name).map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default());
    let (scope, signed, signature) = (part("Credential="), part("SignedHeaders="), part("Signature="));
    let (_, scope) = scope.split_once('/').unwrap_or_default();
    let hash = |bytes: &[u8]| HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref());
    let headers: String = signed.split(';').map(|name| format!("{name}:{}\n", text(seen, name))).collect();
    let (path, query) = (seen.uri.path(), seen.uri.query().unwrap_or_default());
    let request = format!("{}\n{path}\n{query}\n{headers}\n{signed}\n{}", seen.method, hash(&seen.body));
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", text(seen, "x-amz-date"), hash(request.as_bytes()));
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| mac(&key, part.as_bytes()));
    HEXLOWER.encode(&mac(&key, to_sign.as_bytes())) == signature
}

/// The form has an assertion that is signed with this key.
fn asserts(seen: &Seen, key: &str) -> bool {
    let form = String::from_utf8_lossy(&seen.body);
    let assertion = |pair: &str| {
        Some(pair.strip_prefix("assertion=").or(pair.strip_prefix("client_assertion="))?.to_owned())
    };
    let Some(assertion) = form.split('&').find_map(assertion) else { return false };
    let Some((signed, signature)) = assertion.rsplit_once('.') else { return false };
    let key = KeyPair::from_pem(key).expect("a key");
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap_or_default();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key_raw());
    public.verify(signed.as_bytes(), &signature).is_ok()
}

/// What the other side reads, and the secret that it takes at this time.
#[derive(Default)]
struct Takes(Mutex<Option<(Bears, String)>>);

impl Takes {
    fn now(&self, bears: Bears, secret: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((bears, secret.to_owned()));
    }

    fn are_met(&self, seen: &Seen) -> bool {
        let takes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        takes.as_ref().is_some_and(|(bears, secret)| bears(seen, secret))
    }

    /// A server that answers 401 to what does not meet it.
    async fn serve(self: &Arc<Self>, body: String) -> Upstream {
        let takes = Arc::clone(self);
        Upstream::start_with(move |seen| {
            let (status, body) = if takes.are_met(seen) { (200, body.clone()) } else { (401, String::new()) };
            Response::builder().status(status).body(Full::from(Bytes::from(body))).expect("an answer")
        })
        .await
    }
}

/// Asks over and over, and wants an answer each time.
struct Load<'i> {
    it: &'i Installation,
    what: &'i str,
    key: String,
}

impl<'i> Load<'i> {
    fn new(it: &'i Installation, what: &'i str) -> Self {
        Self { it, what, key: format!("Bearer {}", it.sample.key) }
    }

    async fn status(&self) -> StatusCode {
        self.it.get(&[("authorization", &self.key)]).await.status
    }

    async fn begins(&self) {
        let what = format!("{}: the upstream takes what it is shown", self.what);
        eventually(&what, || async { (self.status().await == 200).then_some(()) }).await;
    }

    async fn requests(&self, count: usize) {
        for n in 0..count {
            assert_eq!(self.status().await, 200, "{}, request {n}", self.what);
        }
    }

    /// Replaces the secret under load, and goes on until the node shows the new one.
    async fn replaces(&self, name: &str, flags: &[&str], secret: &str, is_shown: impl Fn() -> bool) {
        let replace = [&["credential", "replace-secret", name, "--overlap", "1h"][..], flags].concat();
        let (replaced, ()) = tokio::join!(self.it.done(&replace, secret), self.requests(100));
        assert!(replaced.contains(name), "{replaced}");
        eventually(&format!("{}: the node shows the new one", self.what), || async {
            self.requests(1).await;
            is_shown().then_some(())
        })
        .await;
        self.requests(50).await;
        let said = self.it.fails(&replace, secret).await;
        assert!(said.contains("two live values until"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_a_secret_is_replaced_with_an_overlap_whenever_the_other_side_changes_over() {
    let (of_upstream, of_issuer) = (Arc::<Takes>::default(), Arc::<Takes>::default());
    let granted = format!(r#"{{"access_token":"{TOKEN}"}}"#);
    let issuer = of_issuer.serve(granted).await;
    let it = Installation::start_before(of_upstream.serve(String::new()).await, &[]).await;
    let (origin, fingerprint) = (it.upstream.url(), format!("{REGION}={}", it.sample.keys.fingerprint()));
    let token_url = format!("{}/token", issuer.url());
    std::fs::write(it.values.path().join("id"), "app-1").expect("a file");
    let keys = [(); 2].map(|()| KeyPair::generate().expect("a key").serialize_pem());
    for (n, kind) in KINDS.iter().enumerate() {
        let secrets = if kind.is_key { keys.each_ref().map(|key| &**key) } else { SECRETS };
        let reader = if kind.is_of_issuer { &of_issuer } else { &of_upstream };
        of_upstream.now(|seen, token| text(seen, "authorization") == format!("Bearer {token}"), TOKEN);
        reader.now(kind.bears, secrets[0]);
        let flags = kind.flags.iter().map(|flag| if *flag == "{issuer}" { &*token_url } else { flag });
        let sealing = ["--origin", &*origin, "--region", REGION, "--fingerprint", &*fingerprint];
        let mut said: Vec<&str> = sealing.into_iter().chain(flags).collect();
        if kind.name != "custom-headers" {
            said.extend(["--value-file", "-"]);
        }
        let name = &*format!("api-{n}");
        let create = ["credential", "create-upstream", name, "--kind", kind.name];
        it.done(&[&create[..], &said].concat(), secrets[0]).await;
        it.done(&["proxy", "update", "echo", "--upstream", name], "").await;
        let load = Load::new(&it, kind.name);
        load.begins().await;
        let asked = if kind.is_of_issuer { &issuer } else { &it.upstream };
        // The other side does not know it yet.
        let is_shown = || asked.seen().iter().rev().any(|seen| (kind.bears)(seen, secrets[1]));
        load.replaces(name, &said, secrets[1], is_shown).await;
        reader.now(kind.bears, secrets[1]);
        load.requests(50).await;
        let shown = it.done(&["-o", "json", "credential", "show", name], "").await;
        assert!(shown.contains("previousNotAfter"), "{shown}");
    }
    let lines = keys.each_ref().map(|key| key.lines().nth(1).expect("a line"));
    it.forgets(&[SECRETS[0], SECRETS[1], TOKEN, lines[0], lines[1]]).await;
}

/// A server that lets in who shows a certificate of the authority that it knows at this time.
struct Demanding {
    port: u16,
    secure: Secure,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    /// Handshakes that it broke off.
    refused: Arc<AtomicUsize>,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root")
}

impl Demanding {
    async fn start(first: &Authority) -> Self {
        let secure = Secure::new();
        let acceptor = Arc::new(Mutex::new(secure.demanding(first.der())));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (refused, tasks) = (Arc::<AtomicUsize>::default(), Tasks::new());
        let it = Self { port, secure, acceptor: Arc::clone(&acceptor), refused: Arc::clone(&refused) };
        tasks.clone().spawn("upstream", async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                let acceptor = acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let refused = Arc::clone(&refused);
                tasks.spawn("connection", async move {
                    match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => {
                            let answer = service_fn(async |_| {
                                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                            });
                            // How it ends is seen on the other side.
                            http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
                        }
                        Err((_, mut stream)) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            // A connection that is closed with something unread in it is reset, and its alert perhaps lost.
                            stream.read_to_end(&mut Vec::new()).await.ok();
                        }
                    }
                });
            }
        });
        it
    }

    fn knows(&self, other: &Authority) {
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = self.secure.demanding(other.der());
    }

    fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_while_a_client_certificate_is() {
    let authorities = [authority(), authority()];
    let upstream = Demanding::start(&authorities[0]).await;
    let it = Installation::start().await;
    let (origin, ca) = (format!("https://localhost:{}", upstream.port), upstream.secure.file("ca.pem"));
    it.done(&["target", "create", "tls", "--base-url", &origin, "--ca", &ca], "").await;
    let keys = [0, 1].map(|n| {
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::default().signed_by(&key, &authorities[n]).expect("a leaf");
        std::fs::write(it.values.path().join(format!("chain-{n}.pem")), leaf.pem()).expect("a file");
        key.serialize_pem()
    });
    let fingerprint = format!("{REGION}={}", it.sample.keys.fingerprint());
    let sealing = ["--target", "tls", "--accept-target", "--region", REGION, "--fingerprint", &*fingerprint];
    let said = [&sealing[..], &["--value-file", "-", "--certificate"]].concat();
    let create = ["credential", "create-upstream", "bank", "--kind", "client-certificate"];
    it.done(&[&create[..], &said, &["chain-0.pem"]].concat(), &keys[0]).await;
    it.done(&["proxy", "update", "echo", "--target", "tls", "--upstream", "bank"], "").await;
    let in_the_clear = [&["--target", "echo"], &said[2..]].concat();
    let wrong = it.fails(&[&create[..], &in_the_clear, &["chain-0.pem"]].concat(), &keys[0]).await;
    assert!(wrong.contains("shown in TLS alone"), "{wrong}");
    let load = Load::new(&it, "client-certificate");
    load.begins().await;
    let before = upstream.refused();
    load.replaces("bank", &[&said[..], &["chain-1.pem"]].concat(), &keys[1], || upstream.refused() > before)
        .await;
    upstream.knows(&authorities[1]);
    let refused = upstream.refused();
    load.requests(50).await;
    assert_eq!(upstream.refused(), refused, "the newest comes first");
    it.forgets(&keys.each_ref().map(|key| key.lines().nth(1).expect("a line"))).await;
}
