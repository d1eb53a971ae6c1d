//! Files, good and bad.

mod callers;
mod fields;
mod follow;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use rr_contract::api_key::KeyHash;
use rr_contract::model::resource::ResourceId;
use rr_contract::runtime::chain;
use rr_contract::seal::key_file;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seal::{Means, SealContext, SealedSecret, SecretSpec, Slot};
use rr_contract::seam::{Clock as _, SystemClock, SystemEntropy};
use rr_contract::secret::Secret;

use super::load::Loaded;
use super::*;

const GATEWAY: &str = "\
kind: target
name: echo
base_url: https://echo.example/base
---
kind: credential
name: token
upstream: {kind: bearer}
value_from: {file: value, targets: [echo]}
---
kind: credential
name: app
caller: {kind: api-key}
value_from: {file: app.key}
---
kind: proxy
name: echo
target: echo
caller_credentials: [app]
upstream_credential: token
owner: git
";

/// A folder with a file, a value and a key.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(text: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        place.write(text);
        fs::write(place.path("value"), "s3cr3t\n").expect("a file");
        fs::write(place.path("ca.pem"), fields::CA).expect("a file");
        make_key(&place.path("app.key"), &Seams::real()).expect("a key");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, text: &str) {
        let path = self.path("gateway.yaml");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    }

    fn settings(&self) -> Standalone {
        Standalone {
            file: self.path("gateway.yaml"),
            org: "local".parse().expect("a name"),
            installation: None,
            region_key: None,
            region_passphrase: None,
        }
    }

    fn loader(&self) -> Loader {
        self.loader_with(self.settings())
    }

    fn loader_with(&self, settings: Standalone) -> Loader {
        let own = Own::generate(settings.subject(), &Seams::real());
        Loader::new(settings, own, Seams::real()).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    fn fault(&self) -> String {
        let fault = self.loader().load(&Held::new()).err().expect("it cannot be served");
        chain(&fault).to_string()
    }
}

fn good(loader: &Loader, held: &Held) -> Loaded {
    loader.load(held).unwrap_or_else(|fault| panic!("{}", chain(&fault)))
}

fn held(loaded: &Loaded) -> Held {
    loaded.resources.iter().map(|(key, offered)| (*key, Arc::clone(&offered.payload))).collect()
}

#[test]
fn the_example_of_the_manual_becomes_one_resource_of_each_kind() {
    let manual = include_str!("../../../docs/apply.md");
    let example = manual.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = example.expect("an example");
    fields(example).expect("all fields are taken");
    let text = example.replace("env: GITHUB_TOKEN", "file: value");
    let text = text.replace("  kind: api-key\n", "  kind: api-key\nvalue_from: {file: app.key}\n");
    let place = Place::new(&text);
    let offer = place.loader().offer(&Held::new()).unwrap_or_else(|fault| panic!("{}", chain(&fault)));
    let kinds: BTreeSet<_> = offer.resources.iter().map(|(key, _)| key.kind().as_str_name()).collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    assert_eq!(offer.resources.len(), 10);
}

#[test]
fn ids_follow_from_names_and_a_value_that_did_not_change_keeps_its_seal() {
    let place = Place::new(GATEWAY);
    let loader = place.loader();
    let first = good(&loader, &Held::new());
    let again = good(&loader, &held(&first));
    assert_eq!((first.digest, first.count), (again.digest, again.count));
    let fresh = good(&loader, &Held::new());
    assert_ne!(first.digest, fresh.digest, "a seal is random");
    let keys = |loaded: &Loaded| loaded.resources.iter().map(|(key, _)| *key).collect::<BTreeSet<_>>();
    assert_eq!(keys(&first), keys(&fresh));
    assert_eq!(keys(&first), keys(&good(&place.loader(), &Held::new())), "another node gives the same ids");
    let from = "value_from: {file: value, targets: [echo]}";
    for (to, value) in [
        ("value_from: {file: value, targets: [echo], prefix: 'Token '}", "s3cr3t\n"),
        ("value_from: {file: value, origins: ['https://other.example']}", "s3cr3t\n"),
        ("value_from: {file: value, origins: ['https://echo.example'], ca: ca.pem}", "s3cr3t\n"),
        (from, "other"),
        (from, "s3cr3t"),
    ] {
        place.write(&GATEWAY.replace(from, to));
        fs::write(place.path("value"), value).expect("a file");
        let is_same = (to, value) == (from, "s3cr3t");
        assert_eq!(good(&loader, &held(&first)).digest == first.digest, is_same, "{to} {value}");
    }
    let mut other = place.settings();
    other.org = "other".parse().expect("a name");
    assert!(keys(&first).is_disjoint(&keys(&good(&place.loader_with(other), &Held::new()))));
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_field_and_without_what_stands_there() {
    for (from, to, wanted) in [
        (
            "base_url: https://echo.example/base",
            "base_url: http://echo.example",
            ":3: base_url: is plain HTTP",
        ),
        ("base_url: https://echo.example/base", "base_url: 'no url'", ":3: base_url: "),
        ("base_url", "bas_url", ":3: there is no field bas_url"),
        ("target: echo", "target: ecko", ":17: target: no target \"ecko\" stands in the file"),
        ("[app]", "[token]", ":18: caller_credentials[0]: is an upstream credential"),
        ("upstream_credential: token", "upstream_credential: app", ":19: upstream_credential: is a caller"),
        (
            "name: app\n",
            "name: token\n",
            ":10: this credential stands in the file twice; the other is in line 5",
        ),
        (
            "kind: bearer",
            "kind: api-key",
            ":8: value_from: kind api-key needs the header or the parameter of the query that the value goes into; add `header` or `query`",
        ),
        ("kind: bearer", "kind: basic", ":8: value_from: kind basic needs the name of the user; add `user`"),
        ("targets: [echo]", "origins: ['https://a/b']", ":8: value_from.origins: "),
        (", targets: [echo]", "", ":8: value_from: names no origin"),
        ("targets: [echo]", "targets: [echo], ca: gone", "gone: "),
        ("targets: [echo]", "targets: [echo], ca: value", "value holds no certificate"),
        ("targets: [echo]", "targets: [echo], ca: ca.pem", "make a credential for each"),
        ("{file: value,", "{file: gone,", "gone: "),
        ("{file: value,", "{env: RR_TEST_NEVER_SET,", "RR_TEST_NEVER_SET is not set"),
        ("{file: value,", "{file: value, env: X,", ":8: value_from: names one place"),
        ("{file: value,", "{fil: s3cr3t,", ":8: value_from: there is no field fil"),
        ("value_from: {file: app.key}", "value_from: {file: value}", "`rr-edge --make-key FILE` makes one"),
        ("value_from: {file: app.key}", "value_from: {file: app.key, origins: [x]}", "is sent nowhere"),
        ("value_from: {file: app.key}", "value_from: {file: app.key, query: key}", "is sent nowhere"),
        ("value_from: {file: app.key}", "value_from: {file: app.key, user: ann}", "is sent nowhere"),
        (
            "value_from: {file: app.key}",
            "value_from: {file: app.key, headers: {x: {file: value}}}",
            "is sent nowhere",
        ),
        (
            "{kind: bearer}\nvalue_from: {file: value,",
            "{kind: custom-headers}\nvalue_from: {file: value, headers: {x: {file: value}},",
            "leave out env and file beside them",
        ),
        ("value_from: {file: app.key}", "", ":12: caller: nothing says which key is meant"),
        ("value_from: {file: app.key}", "key_hashes: [s3cr3t]", ":13: key_hashes: a hash is 64"),
        ("value_from: {file: app.key}", "key_hashes: [abcd]", ":13: key_hashes: a hash is 64"),
        ("upstream: {kind", "key_hashes: [abcd]\nupstream: {kind", ":7: key_hashes: belongs to a caller"),
        (
            "caller: {kind: api-key}",
            "caller: {kind: jwt-verify}",
            ":12: caller: kind jwt-verify needs jwt_verify",
        ),
        (
            "caller: {kind: api-key}",
            "caller: {kind: basic, username: ann}",
            ":12: caller: this kind has no key",
        ),
        (
            "caller: {kind: api-key}",
            "caller: {kind: api-key, username: ann}",
            ":12: caller: only the kind basic",
        ),
        ("name: echo\nbase_url", "base_url", ":1: a target needs a name"),
        ("kind: proxy", "kind: org", ":15: kind: is none that can be served"),
        ("kind: proxy\n", "", ":15: kind is missing"),
        ("name: echo\ntarget", "name: E\ntarget", ":16: name: not a name"),
        ("owner: git", "deny_status: 200", ":20: deny_status: is neither 400 nor 403"),
        ("owner: git", "default_effect: s3cr3t", ":20: default_effect: must be allow or deny"),
        (
            "owner: git",
            "limits: {per_day_per_node: -1}",
            ":20: limits.per_day_per_node: must be a whole number",
        ),
        ("owner: git", "owner: [", "gateway.yaml:"),
    ] {
        let text = GATEWAY.replacen(from, to, 1);
        assert_ne!(text, GATEWAY, "{from}");
        let fault = Place::new(&text).fault();
        assert!(fault.contains(wanted) && fault.contains("gateway.yaml"), "{to}: {fault}");
        assert!(!fault.contains("s3cr3t"), "{fault}");
    }
    let many = GATEWAY.replace("echo.example", "echo example").replace("owner", "ownr");
    let fault = Place::new(&many).fault();
    assert!(fault.contains(":3: ") && fault.contains("; ") && fault.contains(":20: "), "{fault}");
}

#[test]
fn one_file_is_of_one_organization_and_has_each_name_once() {
    let [one, other] = [1, 2].map(|n| rr_contract::model::id::OrgId::from_random([n; 16]));
    let two = GATEWAY.replace("owner: git", &format!("org: {other}"));
    let fault = Place::new(&two.replace("base_url", &format!("org: {one}\nbase_url"))).fault();
    assert!(fault.contains(":21: org: is another than in the documents before"), "{fault}");
    let id = rr_contract::model::id::CredentialId::from_random([3; 16]);
    let again = format!("kind: credential\nname: app\nid: {id}\ncaller: {{kind: api-key}}\n");
    let fault = Place::new(&format!("{GATEWAY}---\n{again}value_from: {{file: app.key}}\n")).fault();
    assert!(fault.contains(":23: name: there is another credential \"app\" in the file"), "{fault}");
}

#[test]
fn a_file_without_a_value_in_it_is_refused() {
    let place = Place::new(GATEWAY);
    for (empty, line) in [("value", ":8: "), ("app.key", ":13: ")] {
        let before = fs::read(place.path(empty)).expect("a file");
        fs::write(place.path(empty), " \n").expect("a file");
        let fault = place.fault();
        assert!(fault.contains(&format!("{line}value_from.file: the value is empty")), "{fault}");
        fs::write(place.path(empty), before).expect("a file");
    }
}

#[test]
fn a_file_without_a_proxy_is_refused_since_an_editor_may_be_about_to_write_it() {
    for text in ["", "---\n", "kind: target\nname: echo\nbase_url: https://echo.example\n"] {
        assert!(Place::new(text).fault().contains("there is no proxy"), "{text:?}");
    }
}

#[test]
fn a_resource_that_no_node_can_run_is_a_fault_of_the_file() {
    let jwt = r#"caller: {kind: jwt-verify, jwt_verify: {jwks: '{"keys": []}', issuer: i, audiences: [a], algorithms: [RS256]}}"#;
    let text =
        GATEWAY.replace("caller: {kind: api-key}", jwt).replace("value_from: {file: app.key}", "owner: git");
    let fault = Place::new(&text).fault();
    assert!(fault.contains("gateway.yaml:10: "), "{fault}");
    let verify = "jwks_url: 'https://i.example/k', issuer: i, audiences: [a], algorithms: [RS256]";
    let jwt = format!(r#"caller: {{kind: jwt-verify, jwt_verify: {{{verify}, identity_claim: "\t"}}}}"#);
    let text =
        GATEWAY.replace("caller: {kind: api-key}", &jwt).replace("value_from: {file: app.key}", "owner: git");
    let fault = Place::new(&text).fault();
    assert!(fault.contains("caller.jwt_verify.identity_claim"), "{fault}");
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_remedy() {
    let place = Place::new(GATEWAY);
    for mode in [0o644, 0o660, 0o601] {
        let path = place.path("gateway.yaml");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        let fault = place.fault();
        assert!(fault.contains("chmod 600") && fault.contains("gateway.yaml"), "{fault}");
    }
}

#[test]
fn a_key_is_written_to_a_new_file_of_its_own_and_over_none() {
    let place = Place::new(GATEWAY);
    let path = place.path("app.key");
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let before = fs::read(&path).expect("a file");
    assert!(api_key::hash(KeyKind::Caller, before.trim_ascii_end()).is_some());
    make_key(&path, &Seams::real()).expect_err("it is there");
    assert_eq!(fs::read(&path).expect("a file"), before);
}

#[test]
fn a_key_may_be_given_by_its_hash() {
    let place = Place::new(GATEWAY);
    let key = fs::read(place.path("app.key")).expect("a key");
    let hash: KeyHash = api_key::hash(KeyKind::Caller, key.trim_ascii_end()).expect("a key");
    let text = data_encoding::HEXLOWER.encode(hash.as_bytes());
    let by_value = good(&place.loader(), &Held::new());
    place.write(&GATEWAY.replace("value_from: {file: app.key}", &format!("key_hashes: ['{text}']")));
    let by_hash = good(&place.loader(), &Held::new());
    let callers = |loaded: &Loaded| -> BTreeSet<[u8; 32]> {
        loaded.resources.iter().map(|(_, offered)| offered.hash).collect()
    };
    // All but the sealed value, and the proxy, which names the region of its node.
    assert_eq!(callers(&by_value).intersection(&callers(&by_hash)).count(), 3);
}

/// A credential that takes signed tokens, and where what verifies them comes from.
fn tokens(checks: &str, more: &str) -> String {
    let verify = format!("jwt_verify: {{issuer: cron, audiences: [api], {checks}}}");
    GATEWAY.replace(
        "caller: {kind: api-key}\nvalue_from: {file: app.key}\n",
        &format!("caller: {{kind: jwt-verify, {verify}}}\n{more}"),
    )
}

#[test]
fn a_shared_secret_is_sealed_and_keeps_its_seal_as_long_as_it_is_the_same() {
    const SECRET: &str = "9f86d081884c7d659a2feaa0c55ad015";
    let from = "value_from: {file: shared}\n";
    let place = Place::new(&tokens("algorithms: [HS256]", from));
    let write = |secret: &str| fs::write(place.path("shared"), secret).expect("a file");
    write(&format!("{SECRET}\n"));
    let loader = place.loader();
    let first = good(&loader, &Held::new());
    for (_, offered) in &first.resources {
        assert!(!offered.payload.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
    }
    assert_eq!(good(&loader, &held(&first)).digest, first.digest);
    write("3f2b8c1d7e544a099c6bd18e2f7a5b30");
    assert_ne!(good(&loader, &held(&first)).digest, first.digest);
    for (secret, checks, more, part) in [
        (&SECRET[1..], "algorithms: [HS256]", from, "31 bytes long: HS256 needs 32 at least"),
        (SECRET, "algorithms: [HS512]", from, "32 bytes long: HS512 needs 64 at least"),
        ("changemechangemechangemechangeme", "algorithms: [HS256]", from, "bits to guess"),
        (SECRET, "algorithms: [HS256, RS256]", from, "RS256 is another family"),
        (
            SECRET,
            "algorithms: [HS256]",
            "value_from: {file: shared, origins: ['https://a']}\n",
            "is sent nowhere",
        ),
        (SECRET, "algorithms: [HS256]", "", "says nowhere what verifies a token"),
        (SECRET, "algorithms: [HS256], jwks_url: 'https://i.example'", from, "several places"),
        (
            SECRET,
            "algorithms: [HS256], jwks_url: 'https://i.example'",
            "",
            "not one that published keys verify",
        ),
        (SECRET, "algorithms: [HS256]", "key_hashes: [abcd]\n", "this kind has no key"),
    ] {
        write(secret);
        place.write(&tokens(checks, more));
        let told = place.fault();
        assert!(told.contains(part) && !told.contains(secret), "{checks} {more}: {told}");
    }
}

#[test]
fn a_document_that_cannot_be_read_is_told_once_and_not_missed_where_it_is_named() {
    let place =
        Place::new(&GATEWAY.replace("caller: {kind: api-key}", "caller: {kind: api-key, password: s3cr3t}"));
    let told = place.fault();
    assert!(told.contains(":12: caller: there is no field password"), "{told}");
    assert!(!told.contains("stands in the file"), "{told}");
}

#[test]
fn keys_of_an_issuer_come_from_a_file_and_have_to_verify_what_is_named() {
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA4nmDVlsHaSfWNNs9pyutrFsPlXf1GmCfhHUoHbtWV+8=\n-----END PUBLIC KEY-----\n";
    const DOCUMENT: &str =
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"4nmDVlsHaSfWNNs9pyutrFsPlXf1GmCfhHUoHbtWV-8"}]}"#;
    let (from, eddsa) = ("jwks_from: {file: issuer}\n", "algorithms: [EdDSA]");
    let place = Place::new(&tokens(eddsa, from));
    fs::write(place.path("issuer"), PEM).expect("a file");
    let loader = place.loader();
    let first = good(&loader, &Held::new());
    // The same keys as the document that it becomes.
    fs::write(place.path("issuer"), DOCUMENT).expect("a file");
    assert_eq!(good(&loader, &held(&first)).digest, first.digest);
    for (text, checks, more, part) in [
        (PEM, "algorithms: [EdDSA, ES256]", from, "names ES256, which no key of it verifies"),
        (PEM, "algorithms: [EdDSA], jwks_url: 'https://i.example'", from, "leave one out"),
        (&PEM.replace("PUBLIC", "PRIVATE"), eddsa, from, "holds a private key"),
        (&DOCUMENT.replace("\"x\"", "\"d\":\"c2VjcmV0\",\"x\""), eddsa, from, "holds a private key"),
        ("no keys", eddsa, from, "holds no public key"),
        (PEM, eddsa, "jwks_from: {file: gone}\n", "gone: "),
        (PEM, eddsa, "jwks_from: {file: issuer}\nvalue_from: {file: value}\n", "several places"),
    ] {
        fs::write(place.path("issuer"), text).expect("a file");
        place.write(&tokens(checks, more));
        let told = place.fault();
        assert!(
            told.contains(part) && !told.contains("c2VjcmV0") && !told.contains("nmDVlsH"),
            "{checks}: {told}"
        );
    }
}

#[test]
fn a_sealed_value_is_opened_with_the_key_of_its_region_and_with_no_other() {
    let place = Place::new(GATEWAY);
    let installation = InstallationId::from_random([4; 16]);
    let org = rr_contract::model::id::OrgId::from_random([5; 16]);
    let credential = rr_contract::model::id::CredentialId::from_random([6; 16]);
    let region = rr_contract::model::id::RegionId::from_random([7; 16]);
    let keys = RegionKeys::generate(region, &SystemEntropy);
    let passphrase = Secret::from("correct horse".to_owned());
    fs::write(place.path("eu.key"), key_file::write(&keys, &passphrase, &SystemEntropy).expose())
        .expect("a file");
    fs::set_permissions(place.path("eu.key"), fs::Permissions::from_mode(0o600)).expect("it is ours");
    fs::write(place.path("passphrase"), "correct horse\n").expect("a file");
    let spec = SecretSpec {
        value: Secret::from("s3cr3t".to_owned()),
        origins: vec!["https://echo.example".parse().expect("an origin")],
        means: Means::sent(Slot::bearer()),
        not_after: None,
        ca: None,
    };
    let now = SystemClock.now();
    let statement = keys.statement(now, now + Duration::from_secs(60));
    let context = SealContext { installation, org, credential, version: 1 };
    let sealed = SealedSecret::seal(&context, &spec, &[&statement], &SystemEntropy).expect("it seals");
    let wire = sealed.to_wire();
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let sealed = format!(
        "upstream: {{kind: bearer, sealed: {{envelope: 1, suite: 1, nonce: '{}', ciphertext: '{}', keyCommitment: '{}', \
         wraps: [{{region: {region}, epoch: 1, encapsulated: '{}', sealedKey: '{}'}}]}}}}\nid: {credential}\norg: {org}",
        base64(&wire.nonce),
        base64(&wire.ciphertext),
        base64(&wire.key_commitment),
        base64(&wire.wraps[0].encapsulated),
        base64(&wire.wraps[0].sealed_key),
    );
    let text = GATEWAY
        .replace("upstream: {kind: bearer}\n", &format!("{sealed}\n"))
        .replace("value_from: {file: value, targets: [echo]}\n", "");
    place.write(&text);
    let mut settings = place.settings();
    settings.region_key = Some(place.path("eu.key"));
    settings.region_passphrase = Some(place.path("passphrase"));
    settings.installation = Some(installation);
    let loaded = good(&place.loader_with(settings.clone()), &Held::new());
    assert!(loaded.resources.iter().any(|(key, _)| key.id == ResourceId::Credential(credential)));
    for gone in [format!("id: {credential}\n"), format!("org: {org}\n")] {
        place.write(&text.replace(&gone, ""));
        let fault =
            place.loader_with(settings.clone()).load(&Held::new()).err().expect("it is bound to both");
        assert!(chain(&fault).to_string().contains("give its `id` and `org`"), "{}", chain(&fault));
    }
    place.write(&text);
    assert!(place.fault().contains("--region-key"), "{}", place.fault());
    settings.installation = None;
    let fault = place.loader_with(settings.clone()).load(&Held::new()).err().expect("another installation");
    assert!(chain(&fault).to_string().contains("--installation"));
    let refused = |settings: &Standalone| {
        let own = Own::generate(String::new(), &Seams::real());
        let error = Loader::new(settings.clone(), own, Seams::real()).err().expect("it is refused");
        chain(&error).to_string()
    };
    settings.region_passphrase = None;
    assert!(refused(&settings).contains("--region-passphrase-file"));
    fs::set_permissions(place.path("eu.key"), fs::Permissions::from_mode(0o640)).expect("it is ours");
    assert!(refused(&settings).contains("chmod 600"));
}
