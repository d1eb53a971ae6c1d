//! Secrets that are shown once: whoever stops reading, and wherever the answer is lost, nothing is lost with it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::id::{InstallationId, RegionId};
use rr_contract::seal::key_file;
use rr_contract::seal::node_token::NodeToken;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::secret::Secret;
use rr_contract::wire::management as mg;

use super::recorder::{Answers, run, run_on_full_disk, run_with};

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|it| (*it).to_owned()).collect()
}

/// Standard output goes into a pipe that nobody reads any more.
fn unread(command: &mut Command) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(Stdio::from(OwnedFd::from(writer)));
}

/// The one file of a folder.
fn only_file(folder: &Path) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(folder).expect("a folder").collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::read(files[0].as_ref().expect("an entry").path()).expect("reads")
}

fn is_token(text: &[u8]) -> bool {
    api_key::hash(KeyKind::Token, text.trim_ascii()).is_some()
}

fn key_answer() -> Answers {
    let credential = mg::Credential { id: "cr_1".into(), name: "bot".into(), ..mg::Credential::default() };
    let reply = mg::CreateCredentialResponse {
        credential: Some(credential),
        key: "rr_key_shown_once".into(),
        revision: 7,
        value_seen: false,
    };
    Answers::from([("CredentialService.CreateCredential", Ok(reply.encode_to_vec()))])
}

const TOKEN: [&str; 5] = ["token", "create", "ada", "--role", "operator"];
const CALLER: [&str; 3] = ["credential", "create-caller", "bot"];

#[tokio::test]
async fn a_token_is_in_its_file_although_nobody_reads_what_is_printed() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("ada.token");
        let args = owned(&[&TOKEN[..], &["--out", out.to_str().expect("a path of ours")]].concat());
        let (output, _) = run_with(&args, Answers::new(), unread).await;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(is_token(&only_file(folder.path())));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&out).expect("is there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn the_control_plane_is_sent_the_hash_of_the_token_in_the_file_and_never_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("ada.token");
    let args = owned(&[&TOKEN[..], &["--out", out.to_str().expect("a path of ours")]].concat());
    let (_, calls) = run(&args, Answers::new()).await;
    let token = std::fs::read(&out).expect("reads");
    let hash = api_key::hash(KeyKind::Token, &token).expect("a token");
    let sent = format!("{calls:?}");
    let ask = mg::CreateTokenRequest::decode(calls[0].message()).expect("a request");
    assert_eq!(ask.secret_hash, hash.as_bytes());
    assert!(!sent.contains(&format!("{token:?}").trim_matches(['[', ']']).to_owned()));
}

#[tokio::test]
async fn a_secret_that_standard_output_does_not_take_is_put_into_a_file_that_is_named() {
    for (args, answers) in [(&TOKEN[..], Answers::new()), (&CALLER[..], key_answer())] {
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder");
            let (output, _) = run_with(&owned(args), answers.clone(), |command| {
                unread(command);
                command.current_dir(folder.path());
            })
            .await;
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains("was put into rrctl-") && !text.contains("panicked"), "{text}");
            let kept = only_file(folder.path());
            assert!(is_token(&kept) || kept == b"rr_key_shown_once");
        }
    }
}

#[tokio::test]
async fn a_secret_is_the_only_line_on_standard_output() {
    for (args, answers) in [(&TOKEN[..], Answers::new()), (&CALLER[..], key_answer())] {
        let (output, _) = run(&owned(args), answers).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<&[u8]> = output.stdout.trim_ascii().split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.len(), 1, "{}", String::from_utf8_lossy(&output.stdout));
        assert!(is_token(lines[0]) || lines[0] == b"rr_key_shown_once");
    }
}

#[tokio::test]
async fn programs_get_one_document_with_the_secret_in_it() {
    let json = ["--output", "json"];
    let (output, _) = run(&owned(&[&CALLER[..], &json].concat()), key_answer()).await;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!((&said["key"], &said["credential"]["name"]), (&"rr_key_shown_once".into(), &"bot".into()));
    let (output, _) = run(&owned(&[&TOKEN[..], &json].concat()), Answers::new()).await;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert!(is_token(said["secret"].as_str().expect("a text").as_bytes()));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_stops_the_call_before_it_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("there"), "another token").expect("a file");
    for (args, answers) in [(&TOKEN[..], Answers::new()), (&CALLER[..], key_answer())] {
        for (place, code) in [("no/such/folder", 1), ("there", 2)] {
            let out = folder.path().join(place);
            let args = owned(&[args, &["--out", out.to_str().expect("a path of ours")]].concat());
            let (output, calls) = run(&args, answers.clone()).await;
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{text}");
            assert!(text.contains(place), "{text}");
            assert!(calls.is_empty(), "{args:?}: {calls:?}");
        }
    }
    assert_eq!(std::fs::read(folder.path().join("there")).expect("reads"), b"another token");
}

#[tokio::test]
async fn a_full_disk_stops_the_call_before_it_is_made() {
    for (args, answers) in [(&TOKEN[..], Answers::new()), (&CALLER[..], key_answer())] {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("secret");
        let args = owned(&[args, &["--out", out.to_str().expect("a path of ours")]].concat());
        let (output, calls) = run_on_full_disk(&args, answers).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("secret") && calls.is_empty(), "{text} {calls:?}");
        assert!(!out.exists(), "nothing is left of it");
    }
}

#[tokio::test]
async fn a_token_whose_answer_was_lost_stays_in_its_file_and_one_that_was_refused_does_not() {
    for (code, stays) in [(14, true), (4, true), (2, true), (3, false), (16, false), (7, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("ada.token");
        let args = owned(&[&TOKEN[..], &["--out", out.to_str().expect("a path of ours")]].concat());
        let answers = Answers::from([
            ("TokenService.CreateToken", Err((code, "said so"))),
            ("TokenService.GetSelf", Err((16, "no such token"))),
        ]);
        let (output, _) = run(&args, answers).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(out.exists(), stays, "{code}: {text}");
        assert_eq!(text.contains("whoami"), stays, "{code}: {text}");
        assert!(!stays || is_token(&std::fs::read(&out).expect("reads")));
    }
}

#[tokio::test]
async fn a_token_whose_answer_was_lost_is_asked_whether_it_opens() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("ada.token");
    let args = owned(&[&TOKEN[..], &["--out", out.to_str().expect("a path of ours")]].concat());
    let token = mg::Token { id: "tk_1".into(), name: "ada".into(), ..mg::Token::default() };
    let oneself = mg::GetSelfResponse { token: Some(token), ..Default::default() };
    let answers = Answers::from([
        ("TokenService.CreateToken", Err((14, "gone"))),
        ("TokenService.GetSelf", Ok(oneself.encode_to_vec())),
    ]);
    let (output, _) = run(&args, answers).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("tk_1"));
    assert!(is_token(&std::fs::read(&out).expect("reads")));
}

#[tokio::test]
async fn a_node_token_is_in_its_file_before_the_control_plane_knows_of_it() {
    let keys = RegionKeys::generate(RegionId::from_random([1; 16]), &SystemEntropy);
    let passphrase = Secret::from("correct horse".to_owned());
    let installation = mg::GetInstallationResponse {
        id: InstallationId::from_random([4; 16]).to_string(),
        authority_pin: vec![5; 32],
        ..Default::default()
    };
    let made = mg::CreateNodeTokenResponse { authority_pin: vec![5; 32], ..Default::default() };
    for (answer, stays) in
        [(Ok(made.encode_to_vec()), true), (Err((14, "gone")), true), (Err((9, "refused")), false)]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let (key, out) = (folder.path().join("eu.key"), folder.path().join("eu-1.token"));
        std::fs::write(&key, key_file::write(&keys, &passphrase, &SystemEntropy).expose()).expect("a file");
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("is ours");
        let answers = Answers::from([
            ("InstallationService.GetInstallation", Ok(installation.encode_to_vec())),
            ("NodeTokenService.CreateNodeToken", answer),
        ]);
        let path = |path: &Path| path.to_str().expect("a path of ours").to_owned();
        let args = ["node", "token", "create", "eu", "--region-key", &path(&key), "--out", &path(&out)];
        let (output, _) = run_with(&owned(&args), answers, |command| {
            unread(command);
            command.env("RRCTL_PASSPHRASE", "correct horse");
        })
        .await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(out.exists(), stays, "{text}");
        if stays {
            let token = std::fs::read_to_string(&out).expect("reads");
            token.parse::<NodeToken>().expect("a whole token");
        }
    }
}

/// The first token of an installation was lost in one run of four, and the bootstrap token was used up by it.
#[cfg(feature = "dev")]
#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_is_not_used_up_for_nothing_although_nobody_reads() {
    use rr_contract::runtime::observe::Observability;
    use rr_contract::seam::Seams;

    for to_file in [true, false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let anywhere = Some("127.0.0.1:0".parse().expect("an address"));
        let settings = rr_control_plane::Settings {
            state_dir: Some(folder.path().join("control")),
            management: anywhere,
            fleet: anywhere,
            admin: anywhere,
            ..rr_control_plane::Settings::default()
        };
        let config = rr_control_plane::Config::resolve(settings).expect("settings that make sense");
        let logs = Observability::quiet("rr-control");
        let running = rr_control_plane::start(config, Seams::real(), logs).await.expect("starts");
        let desk = folder.path().join("desk");
        std::fs::create_dir(&desk).expect("a folder");
        let rrctl = |token: &Path, args: &[&str], is_read: bool| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rrctl"));
            super::forget(&mut command);
            let url = format!("http://{}", running.management());
            command.args(["--endpoint", &url, "--token-file"]).arg(token).args(args);
            command.current_dir(&desk).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            if !is_read {
                unread(&mut command);
            }
            let child = command.spawn().expect("rrctl runs");
            tokio::task::spawn_blocking(move || child.wait_with_output().expect("rrctl ends"))
        };
        let bootstrap = running.bootstrap_token_path().expect("a first start").to_owned();
        let out: &[&str] = if to_file { &["--out", "ada.token"] } else { &[] };
        let made = rrctl(&bootstrap, &[&TOKEN[..], out].concat(), false).await.expect("joins");
        assert_eq!(made.status.success(), to_file, "{}", String::from_utf8_lossy(&made.stderr));
        let file =
            std::fs::read_dir(&desk).expect("a folder").next().expect("a file").expect("an entry").path();
        let me = rrctl(&file, &["whoami"], true).await.expect("joins");
        assert!(me.status.success(), "{}", String::from_utf8_lossy(&me.stderr));
        assert!(String::from_utf8_lossy(&me.stdout).contains("ada"));
        running.stop().await;
    }
}
