//! Secrets that come in the clear, by REST and by gRPC, to real programs that log all they can: the node alone can read them
//! afterwards, and no file, log or answer of the control plane has them.

use std::process::Command;

use data_encoding::BASE64;
use prost::Message as _;
use rr_contract::wire::FieldMask;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::audit_service_client::AuditServiceClient;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use rr_contract::wire::management::region_service_client::RegionServiceClient;
use rr_integration::api::Api;
use rr_integration::caller::Caller;
use rr_integration::plain::converse;
use rr_integration::process::{Control, Edge};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use serde_json::{Value, json};

use crate::promises::{holds, scan};

const BY_REST: &str = "sk-c4nary-by-rest-5f2a";
const BY_GRPC: &str = "sk-c4nary-by-grpc-91be";
const REPLACED: &str = "sk-c4nary-replaced-70c3";
const REFUSED: &str = "sk-c4nary-refused-d8e1";
const BLIND: &str = "sk-c4nary-blind-2b64";

/// One request over a connection of its own, which says that it may be kept, and what came until it was closed; that it is
/// closed is asserted.
async fn post(control: &Control, token: &str, path: &str, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: control\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = converse(control.management, &[request.as_bytes()]).await;
    (said.statuses()[0], said.text())
}

fn plain(value: &str, regions: &[&str]) -> Option<mg::PlainSecret> {
    Some(mg::PlainSecret {
        value: value.to_owned(),
        targets: vec!["echo".to_owned()],
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        ..mg::PlainSecret::default()
    })
}

fn bearer(name: &str, plain: Option<mg::PlainSecret>) -> mg::CreateCredentialRequest {
    let upstream = mg::Upstream { kind: mg::UpstreamKind::Bearer.into(), ..mg::Upstream::default() };
    let credential = mg::Credential {
        name: name.to_owned(),
        usage: Some(Usage::Upstream(upstream)),
        plain,
        ..mg::Credential::default()
    };
    mg::CreateCredentialRequest {
        org: "acme".to_owned(),
        credential: Some(credential),
        ..mg::CreateCredentialRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_came_in_the_clear_is_read_by_the_node_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let loud = [("RR_LOG_LEVEL", "trace".to_owned()), ("RR_CONTROL_TOKEN_RATE", "0".to_owned())];
    let mut control = Control::start_with(&folder.path().join("control"), &loud).await;
    let api = control.bootstrap().await;
    api.org("acme").await.expect("org");
    let keys = api.region("eu", "").await.expect("region");
    api.region("vault", "").await.expect("another region");
    let mut regions = RegionServiceClient::new(api.connection());
    let update = mg::UpdateRegionRequest {
        name: "vault".to_owned(),
        region: Some(mg::Region { blind_only: true, ..mg::Region::default() }),
        update_mask: Some(FieldMask { paths: vec!["blind_only".to_owned()] }),
    };
    regions.update_region(update).await.expect("is updated");
    api.target("acme", "echo", &upstream.url()).await.expect("target");
    let key = api.caller("acme", "app").await.expect("caller");

    let all = "/v1/orgs/acme/credentials";
    let by_rest = json!({"name": "by-rest", "upstream": {"kind": "bearer"}, "plain": {"value": BY_REST, "targets": ["echo"]}});
    let (status, said) = post(&control, api.token(), all, &by_rest).await;
    assert!(status == 200 && said.contains("\"valueSeen\":true"), "{said}");
    let mut credentials = CredentialServiceClient::new(api.connection());
    let made = credentials.create_credential(bearer("by-grpc", plain(BY_GRPC, &[]))).await.expect("is made");
    assert!(made.get_ref().value_seen);
    let refused = json!({"name": "up", "upstream": {"kind": "bearer"}, "plain": {"value": REFUSED, "targets": ["nope"]}});
    let (status, said) = post(&control, api.token(), all, &refused).await;
    assert!(status == 400 && !said.contains(REFUSED), "{said}");
    let mut credentials =
        CredentialServiceClient::new(Api::new(control.management, api.token()).connection());
    let blind = credentials.create_credential(bearer("blind", plain(BLIND, &["vault"]))).await;
    let blind = blind.expect_err("the region takes none");
    assert!(blind.message().contains("rrctl credential create-upstream"), "{blind}");

    // The connections of these calls are gone, and a client finds that out by trying.
    let api = Api::new(control.management, api.token());
    for name in ["by-rest", "by-grpc"] {
        api.proxy("acme", name, "app", "echo", name, "eu").await.expect("proxy");
    }
    let token = api.node_token("eu", &keys, 1).await.expect("token");
    let token = token.to_secret();
    let mut edge = Edge::start_with(&folder.path().join("edge"), control.fleet, token.expose(), &loud);
    edge.ready().await;
    let arrives = async |proxy: &str, value: &str| {
        let caller = Caller::new(edge.listen, &format!("acme.{proxy}"), &key);
        eventually(&format!("{proxy} sends {value}"), || async {
            let answered = caller.try_get("/").await.ok()?.status == 200;
            let seen = upstream.seen();
            let sent = &seen.last()?.headers["authorization"];
            (answered && *sent == format!("Bearer {value}").as_str()).then_some(())
        })
        .await;
    };
    arrives("by-rest", BY_REST).await;
    arrives("by-grpc", BY_GRPC).await;
    let replace = json!({"plain": {"value": REPLACED, "targets": ["echo"]}});
    let (status, said) = post(&control, api.token(), &format!("{all}/by-rest:replaceSecret"), &replace).await;
    assert!(status == 200 && said.contains("\"valueSeen\":true"), "{said}");
    arrives("by-rest", REPLACED).await;

    let mut answers = api.everything("acme").await.expect("it answers");
    let mut audit = AuditServiceClient::new(api.connection());
    let listed =
        mg::ListAuditEntriesRequest { org: "acme".to_owned(), page_size: 1000, ..Default::default() };
    let listed = audit.list_audit_entries(listed).await.expect("is listed");
    answers.push(listed.get_ref().encode_to_vec());
    assert!(answers.iter().all(|answer| !answer.is_empty()));
    assert!(edge.process.terminate().await.success());
    assert!(control.process.terminate().await.success());
    let log = control.process.log();
    assert!(log.contains("TRACE") || log.contains("\"trace\""), "the log says all that it can");
    for value in [BY_REST, BY_GRPC, REPLACED, REFUSED, BLIND] {
        for form in [value.to_owned(), BASE64.encode(value.as_bytes())] {
            let mut files = 0;
            scan(folder.path(), form.as_bytes(), &mut files);
            assert!(files > 5, "only {files} files were looked at");
            for answer in &answers {
                assert!(!holds(answer, form.as_bytes()), "{form} is in an answer");
            }
        }
    }
}

const MANUAL: &str = include_str!("../../../docs/management.md");

/// The blocks of the chapter about secrets in the clear: language and text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let (_, chapter) = MANUAL.split_once("### Secrets in the clear").expect("the chapter");
    let chapter = chapter.split("\n### ").next().expect("text");
    let blocks = chapter.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_manual_are_taken_as_they_stand() {
    let folder = tempfile::tempdir().expect("a folder");
    let control = Control::start(&folder.path().join("control")).await;
    let api = control.bootstrap().await;
    api.org("acme").await.expect("org");
    api.region("eu", "").await.expect("region");
    api.target("acme", "stripe", "https://api.stripe.com").await.expect("target");
    let blocks = blocks();
    let [("json", by_rest), ("sh", curl), ("json", by_grpc), ("sh", grpcurl)] = blocks[..] else {
        panic!("the chapter has other blocks: {blocks:?}")
    };
    std::fs::write(folder.path().join("stripe.json"), by_rest).expect("is written");
    let line = curl.replace("https://control.example.com:7420", &format!("http://{}", control.management));
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).current_dir(folder.path()).env("TOKEN", api.token());
    let output = shell.output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\"valueSeen\":true") && !said.contains("sk_live"), "{line}: {said}");
    // `grpcurl` reads the same JSON into the same message.
    assert!(grpcurl.contains("CredentialService/ReplaceSecret < next.json"), "{grpcurl}");
    let ask: mg::ReplaceSecretRequest = serde_json::from_str(by_grpc).expect("is a request");
    let mut credentials = CredentialServiceClient::new(api.connection());
    let replaced = credentials.replace_secret(ask).await.expect("is taken").into_inner();
    let credential = replaced.credential.expect("is there");
    assert!(replaced.value_seen && credential.version == 2);
    let Some(Usage::Upstream(upstream)) = credential.usage else { panic!("for an upstream") };
    assert!(upstream.previous_not_after.is_some());
}
