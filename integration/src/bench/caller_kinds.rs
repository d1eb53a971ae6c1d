//! Standalone nodes for benches of callers: one that knows one key, and one that knows 10,000 callers of mixed kinds.

use std::fmt::Write as _;

use data_encoding::{BASE64, HEXLOWER};
use rr_contract::api_key::hash_foreign;
use rr_contract::password::{PasswordHash, Scratch};
use rr_contract::secret::Secret;
use rr_integration::fleet_100k::Dice;
use rr_integration::issuer::{AUDIENCE, SigningKey, document};
use rr_integration::standalone::{Behind, Standalone};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::machine;

/// Whose tokens are new: of one credential at the first proxy.
pub(crate) const ISSUER: &str = "https://issuer-0.example";
/// Proxies of the node that knows many.
const PROXIES: usize = 100;
/// Callers of each: 100, as many as a proxy admits.
const KEYS: usize = 35;
const BEARERS: usize = 35;
const FIXED: usize = 20;
const USERS: usize = 5;
const ISSUERS: usize = 5;
/// Of all users: to make a hash for each would take minutes, and changes nothing.
const PASSWORD: &str = "copper-lantern-orbit-velvet";

/// The requests of callers by kind, each of another caller.
pub(crate) struct Asked {
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) bearers: Vec<Vec<u8>>,
    pub(crate) fixed: Vec<Vec<u8>>,
    pub(crate) passwords: Vec<Vec<u8>>,
    pub(crate) tokens: Vec<Vec<u8>>,
    /// All of them in an order without a pattern.
    pub(crate) mixed: Vec<Vec<u8>>,
    /// Of all issuers.
    pub(crate) key: SigningKey,
}

/// A request to a proxy with a value behind `Bearer`.
pub(crate) fn bearer_request(proxy: usize, value: &str) -> Vec<u8> {
    request(proxy, &format!("Bearer {value}"))
}

fn request(proxy: usize, credential: &str) -> Vec<u8> {
    format!(
        "GET /api/local.gate-{proxy}/v1/items HTTP/1.1\r\nHost: edge\r\nAuthorization: {credential}\r\n\r\n"
    )
    .into_bytes()
}

/// A node that knows one key, and its requests.
pub(crate) async fn one(url: &str, processor: usize) -> anyhow::Result<(Standalone, Vec<Vec<u8>>)> {
    let node = start(url, processor, "").await?;
    let requests = vec![bearer_request(0, node.key())];
    Ok((node, requests))
}

/// A node that knows many callers, and their requests.
pub(crate) async fn many(url: &str, processor: usize) -> anyhow::Result<(Standalone, Asked)> {
    let key = SigningKey::new("k1");
    let jwks = document(&[&key]);
    let secret = Secret::new(PASSWORD.as_bytes().to_vec());
    let hash = PasswordHash::make(&secret, [7; 16], &mut Scratch::default()).to_phc();
    let mut dice = Dice::new(7);
    let mut asked = Asked {
        keys: Vec::new(),
        bearers: Vec::new(),
        fixed: Vec::new(),
        passwords: Vec::new(),
        tokens: Vec::new(),
        mixed: Vec::new(),
        key,
    };
    let mut text = String::new();
    for proxy in 0..PROXIES {
        let mut names = Vec::new();
        let mut add = |kind: &str, n: usize, lines: &str| {
            let name = format!("{kind}-{proxy}-{n}");
            write!(text, "---\nkind: credential\nname: {name}\n{lines}").expect("a text takes more");
            names.push(name);
        };
        let mut value = || format!("{:016x}{:016x}{:016x}", dice.roll(), dice.roll(), dice.roll());
        let hashed = |kind: &str, value: &str| {
            let hash = HEXLOWER.encode(hash_foreign(value.as_bytes()).as_bytes());
            format!("caller: {{kind: {kind}}}\nkey_hashes: [{hash}]\n")
        };
        for n in 0..KEYS {
            let (made, hash) = rr_contract::api_key::make(
                rr_contract::api_key::KeyKind::Caller,
                value().as_bytes()[..32].try_into().expect("32 bytes"),
            );
            let hash = HEXLOWER.encode(hash.as_bytes());
            add("key", n, &format!("caller: {{kind: api-key}}\nkey_hashes: [{hash}]\n"));
            asked.keys.push(bearer_request(proxy, str::from_utf8(made.expose())?));
        }
        for n in 0..BEARERS {
            let value = value();
            add("bearer", n, &hashed("bearer", &value));
            asked.bearers.push(bearer_request(proxy, &value));
        }
        for n in 0..FIXED {
            let value = format!("{}.{}.{}", value(), value(), value());
            add("fixed", n, &hashed("jwt", &value));
            asked.fixed.push(bearer_request(proxy, &value));
        }
        for n in 0..USERS {
            let user = format!("user-{proxy}-{n}");
            add("user", n, &format!("caller: {{kind: basic, username: {user}, password_hash: '{hash}'}}\n"));
            let both = BASE64.encode(format!("{user}:{PASSWORD}").as_bytes());
            asked.passwords.push(request(proxy, &format!("Basic {both}")));
        }
        for n in 0..ISSUERS {
            let issuer = format!("https://issuer-{}.example", proxy * ISSUERS + n);
            add(
                "issuer",
                n,
                &format!(
                    "caller:\n  kind: jwt-verify\n  jwt_verify:\n    jwks: '{jwks}'\n    issuer: {issuer}\n    \
                     audiences: [{AUDIENCE}]\n    algorithms: [ES256]\n"
                ),
            );
            asked.tokens.push(bearer_request(proxy, &asked.key.token(&issuer, "ann", 3600)));
        }
        write!(
            text,
            "---\nkind: proxy\nname: gate-{proxy}\ntarget: echo\nupstream_credential: open\n\
             caller_credentials: [{}]\n",
            names.join(", ")
        )?;
    }
    let kinds = [&asked.keys, &asked.bearers, &asked.fixed, &asked.passwords, &asked.tokens];
    let mut mixed: Vec<Vec<u8>> = kinds.into_iter().flatten().cloned().collect();
    for at in (1..mixed.len()).rev() {
        mixed.swap(at, dice.below(at + 1));
    }
    asked.mixed = mixed;
    Ok((start(url, processor, &text).await?, asked))
}

/// A node whose proxy `gate-0` takes its own key, unless there are more documents.
async fn start(url: &str, processor: usize, more: &str) -> anyhow::Result<Standalone> {
    let name = if more.is_empty() { "gate-0" } else { "echo" };
    let runtime = Handle::current();
    let behind = [Behind::new(name, url)];
    let start = || runtime.block_on(Standalone::start_with(&behind, more, &[]));
    block_in_place(|| machine::on(processor, start))
}
