//! The authority: what it keeps, what it issues, and whom it believes.

use rr_contract::runtime::chain;
use rr_contract::seam::SystemEntropy;

use std::path::Path;

use rcgen::KeyPair;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::server::WebPkiClientVerifier;

use super::*;

fn file(folder: &Path) -> KeySource {
    KeySource::File(folder.join(KEY_FILE))
}

fn order(keys: &[KeySource], folder: &Path, installation: u8) -> Order {
    Order {
        keys: keys.to_vec(),
        folder: folder.to_owned(),
        installation: InstallationId::from_random([installation; 16]),
        names: Vec::new(),
        address: None,
    }
}

fn opened(folder: &Path, installation: u8) -> Authority {
    let order = order(&[file(folder)], folder, installation);
    Authority::open(order, Vec::new(), None, &Seams::real()).expect("opens")
}

/// Why an authority is not opened, where nodes trust `trusted`: one line.
fn refusal(folder: &Path, trusted: Option<[u8; 32]>) -> AuthorityError {
    refusal_of(&file(folder), folder, trusted)
}

fn refusal_of(key: &KeySource, folder: &Path, trusted: Option<[u8; 32]>) -> AuthorityError {
    let order = order(std::slice::from_ref(key), folder, 1);
    let refused = Authority::open(order, Vec::new(), trusted, &Seams::real());
    let Err(error) = refused else { panic!("it opened") };
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    error
}

fn request() -> Vec<u8> {
    let key = KeyPair::generate().expect("keys");
    let mut params = CertificateParams::new(vec!["evil.example.com".to_owned()]).expect("a name");
    params.distinguished_name = name("somebody else");
    params.serialize_request(&key).expect("a request").der().to_vec()
}

async fn issue(authority: &Authority, node: NodeIdentity) -> Issued {
    let asked = Asked::parse(&request()).expect("a request");
    let serial = Serial::after(None, &SystemEntropy);
    authority.issue_node(asked, node, &serial, SystemTime::now()).await.expect("issues")
}

#[test]
fn an_authority_comes_back_as_it_was_and_its_key_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let first = opened(folder.path(), 1).pin();
    assert_eq!(opened(folder.path(), 1).pin(), first);
    for file in [KEY_FILE, CERTIFICATE_FILE] {
        let mode = std::fs::metadata(folder.path().join(file)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

/// A start that was killed between the two files.
#[test]
fn a_key_without_its_certificate_gets_one_with_the_same_pin() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = opened(folder.path(), 1).pin();
    std::fs::remove_file(folder.path().join(CERTIFICATE_FILE)).expect("removes");
    assert_eq!(opened(folder.path(), 1).pin(), before);
}

#[test]
fn a_certificate_without_its_key_is_refused_and_not_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    opened(folder.path(), 1);
    std::fs::remove_file(folder.path().join(KEY_FILE)).expect("removes");
    assert!(matches!(refusal(folder.path(), None), AuthorityError::Half { .. }));
}

/// They were taken for one, and then no node could verify anything.
#[test]
fn a_key_and_a_certificate_of_two_authorities_are_refused_by_both_names() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let pin = opened(folder.path(), 1).pin();
    opened(other.path(), 1);
    std::fs::copy(other.path().join(CERTIFICATE_FILE), folder.path().join(CERTIFICATE_FILE)).expect("copies");
    for trusted in [None, Some(pin)] {
        let text = refusal(folder.path(), trusted).to_string();
        for part in [KEY_FILE, CERTIFICATE_FILE, "backup"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

/// A new one was made in silence, which locked out every node.
#[test]
fn an_authority_that_nodes_trust_is_never_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let pin = opened(folder.path(), 1).pin();
    let place = folder.path().display();
    let wanted =
        format!("authority.key is gone from {place}, but nodes trust it: bring it back from a backup");
    for file in [KEY_FILE, CERTIFICATE_FILE] {
        std::fs::remove_file(folder.path().join(file)).expect("removes");
        assert_eq!(refusal(folder.path(), Some(pin)).to_string(), wanted, "without {file}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is written");
}

#[test]
fn an_authority_that_nodes_do_not_trust_is_refused_and_gets_no_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let pin = opened(folder.path(), 1).pin();
    assert!(matches!(refusal(folder.path(), Some([0; 32])), AuthorityError::Other { .. }));
    std::fs::remove_file(folder.path().join(CERTIFICATE_FILE)).expect("removes");
    assert!(matches!(refusal(folder.path(), Some([0; 32])), AuthorityError::Other { .. }));
    assert!(!folder.path().join(CERTIFICATE_FILE).exists());
    let order = order(&[file(folder.path())], folder.path(), 1);
    let again = Authority::open(order, Vec::new(), Some(pin), &Seams::real());
    assert_eq!(again.expect("opens").pin(), pin);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_its_name_and_the_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    opened(folder.path(), 1);
    let key = folder.path().join(KEY_FILE);
    for mode in [0o640, 0o604, 0o644] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("sets");
        let text = refusal(folder.path(), None).to_string();
        assert!(text.contains(&format!("chmod 600 {}", key.display())), "{text}");
    }
}

#[tokio::test]
async fn a_node_is_named_by_its_token_and_never_by_its_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = opened(folder.path(), 1);
    let node = NodeIdentity { node: NodeId::from_random([2; 16]), region: RegionId::from_random([3; 16]) };
    let issued = issue(&authority, node).await;
    assert_eq!(authority.read(&issued.certificate).map(|it| it.identity), Some(node));
    let text = String::from_utf8_lossy(&issued.certificate).into_owned();
    assert!(!text.contains("evil") && !text.contains("somebody"));
}

#[tokio::test]
async fn a_node_of_another_installation_is_nobody_here() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let node = NodeIdentity { node: NodeId::from_random([2; 16]), region: RegionId::from_random([3; 16]) };
    let issued = issue(&opened(other.path(), 2), node).await;
    assert!(opened(folder.path(), 1).read(&issued.certificate).is_none());
}

/// Systemd, a secret manager or a shell opens it; it is on no disk that the control plane knows.
#[test]
fn a_key_is_read_from_a_descriptor_and_written_nowhere() {
    use std::os::fd::AsRawFd as _;
    let (folder, elsewhere) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let pin = opened(elsewhere.path(), 1).pin();
    let given = std::fs::File::open(elsewhere.path().join(KEY_FILE)).expect("opens");
    let key = KeySource::Descriptor(given.as_raw_fd().try_into().expect("a number"));
    let order = order(&[key], folder.path(), 1);
    let authority = Authority::open(order, Vec::new(), None, &Seams::real());
    assert_eq!(authority.expect("opens").pin(), pin);
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(files.len(), 1, "{CERTIFICATE_FILE} alone: {files:?}");
}

#[test]
fn a_descriptor_that_is_closed_or_holds_no_key_is_refused_by_its_number_and_nothing_of_it_is_said() {
    use std::os::fd::AsRawFd as _;
    let folder = tempfile::tempdir().expect("a folder");
    let text = refusal_of(&KeySource::Descriptor(987), folder.path(), None).to_string();
    assert!(text.contains("--authority-key fd:987") && text.contains("987<FILE"), "{text}");
    let path = folder.path().join("half");
    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n").expect("writes");
    let given = std::fs::File::open(path).expect("opens");
    let key = KeySource::Descriptor(given.as_raw_fd().try_into().expect("a number"));
    let text = chain(&refusal_of(&key, folder.path(), None)).to_string();
    assert!(text.contains("fd:") && text.contains("openssl genpkey") && !text.contains("MIGH"), "{text}");
}

/// The key of an authority, behind a program that signs with it, and says no once `locked` is there.
fn signer(folder: &Path, key: &Path) -> KeySource {
    use std::os::unix::fs::PermissionsExt as _;
    let (path, new, key) = (folder.join("signer"), folder.join("signer.new"), key.display());
    let text = format!(
        "#!/bin/sh\nif [ -e $0.locked ]; then echo locked >&2; exit 1; fi\ncase $1 in\n\
         public-key) exec openssl pkey -in {key} -pubout;;\n\
         sign) exec openssl dgst -sha256 -sign {key};;\nesac\nexit 2\n"
    );
    std::fs::write(&new, text).expect("writes");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o700)).expect("sets");
    std::fs::rename(new, &path).expect("renames");
    KeySource::Program(path)
}

#[tokio::test]
async fn an_authority_whose_key_a_program_has_issues_as_one_whose_key_is_a_file() {
    let (folder, elsewhere) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let pin = opened(elsewhere.path(), 1).pin();
    let key = signer(elsewhere.path(), &elsewhere.path().join(KEY_FILE));
    let order = order(&[key], folder.path(), 1);
    let authority = Authority::open(order, Vec::new(), None, &Seams::real());
    let authority = authority.expect("opens");
    assert_eq!(authority.pin(), pin);
    let node = NodeIdentity { node: NodeId::from_random([2; 16]), region: RegionId::from_random([3; 16]) };
    let issued = issue(&authority, node).await;
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).expect("a root");
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    );
    let verifier = verifier.build().expect("a verifier");
    let now = rustls_pki_types::UnixTime::now();
    verifier.verify_client_cert(&issued.certificate, &[], now).expect("is by the authority");
    // It locks itself: the next certificate is not issued, and the error says whose fault that is.
    std::fs::write(elsewhere.path().join("signer.locked"), "").expect("writes");
    let asked = Asked::parse(&request()).expect("a request");
    let serial = Serial::after(None, &SystemEntropy);
    let refused = authority.issue_node(asked, node, &serial, SystemTime::now()).await;
    let Err(error) = refused else { panic!("it was signed") };
    let text = error.to_string();
    assert!(text.contains("signer sign") && text.contains(": locked:"), "{text}");
}

/// A row of a root, as the database has it.
fn row(pin: [u8; 32], certificate: &[u8], cross: &[u8], issues_since: Option<i64>) -> RootRow {
    RootRow {
        pin: data_encoding::HEXLOWER.encode(&pin),
        certificate: certificate.to_vec(),
        cross: Some(cross.to_vec()),
        added_at: 0,
        issues_since,
        removed_at: None,
    }
}

/// Whether whoever trusts this root alone believes what the port shows.
fn is_believed(authority: &Authority, root: &[u8]) -> bool {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec())).expect("a root");
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().expect("a verifier");
    let shown = Arc::clone(&authority.present().server);
    let name = rustls_pki_types::ServerName::try_from(SERVER_NAME).expect("a name");
    let now = rustls_pki_types::UnixTime::now();
    verifier.verify_server_cert(&shown.cert[0], &shown.cert[1..], &name, &[], now).is_ok()
}

/// A machine whose token names this key looks for it in what the port shows.
fn is_named(authority: &Authority, pin: [u8; 32]) -> bool {
    authority.present().server.cert[1..].iter().any(|shown| spki_pin(shown) == Some(pin))
}

#[test]
fn whoever_trusts_either_of_two_roots_believes_the_port_whichever_issues_and_the_removed_one_counts_no_more()
{
    let folder = tempfile::tempdir().expect("a folder");
    let next_path = folder.path().join("next.key");
    let keys = [file(folder.path()), KeySource::File(next_path)];
    let first = Authority::open(order(&keys, folder.path(), 1), Vec::new(), None, &Seams::real());
    let first = first.expect("opens");
    let (old, next) = (first.held[0].pin, first.held[1].pin);
    assert_eq!(first.pin(), old, "of two keys the first is the authority");
    assert_eq!(first.spare(&[row(old, &first.certificate(), &[], Some(1))]).len(), 1);
    let of_old = first.certificate();
    let made = keys::cross(&first.held[1], &first.held[0], &of_old, first.installation, &first.seams);
    let made = made.expect("is signed");
    let rows = |old_since, next_since| {
        vec![
            row(old, &of_old, &made.of_present, old_since),
            row(next, &made.certificate, &made.by_present, next_since),
        ]
    };
    for (rows, issues) in
        [(rows(Some(1), None), old), (rows(Some(1), Some(2)), next), (rows(Some(3), Some(2)), old)]
    {
        let authority = Authority::open(order(&keys, folder.path(), 1), rows, Some(issues), &Seams::real());
        let authority = authority.expect("opens");
        assert_eq!(authority.pin(), issues);
        for (root, pin) in [(&of_old, old), (&made.certificate, next)] {
            assert!(is_believed(&authority, root), "{issues:?}");
            assert!(is_named(&authority, pin), "{issues:?}");
        }
    }
    // With the old one removed, and its key gone.
    let mut rows = rows(Some(1), Some(2));
    rows[0].removed_at = Some(3);
    let authority = Authority::open(order(&keys[1..], folder.path(), 1), rows, Some(next), &Seams::real());
    let authority = authority.expect("opens");
    assert!(is_believed(&authority, &made.certificate) && !is_believed(&authority, &of_old));
    assert!(!is_named(&authority, old));
}

#[test]
fn a_control_plane_without_the_key_that_issues_does_not_start_and_makes_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let pin = opened(folder.path(), 1).pin();
    std::fs::rename(folder.path().join(KEY_FILE), folder.path().join("aside")).expect("renames");
    let keys = [KeySource::File(folder.path().join("new.key")), file(folder.path())];
    let refused = Authority::open(order(&keys, folder.path(), 1), Vec::new(), Some(pin), &Seams::real());
    let Err(error) = refused else { panic!("it opened") };
    assert!(matches!(error, AuthorityError::Gone { .. }), "{error}");
    assert!(!folder.path().join("new.key").exists());
}

#[test]
fn what_is_no_request_gets_no_certificate() {
    assert!(Asked::parse(b"junk").is_err());
}
