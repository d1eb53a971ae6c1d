//! How the control plane starts, and why it does not.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{Tasks, chain};
use rr_contract::seam::Seams;
use rr_contract::wire::{fleet, management as wire};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic_reflection::pb::v1;

use super::postgres;
use super::world::{World, config, plain, run};
use crate::{Config, StartError, start};

#[tokio::test]
async fn a_taken_port_stops_the_start_with_its_name_and_a_remedy_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("has one");
    for port in ["management", "fleet", "admin"] {
        let mut config = config(folder.path());
        match port {
            "management" => config.management = address,
            "fleet" => config.fleet = address,
            _ => config.admin = address,
        }
        let refused = start(config, Seams::real(), Observability::quiet("rr-control")).await;
        let Err(error @ StartError::Bind(_)) = refused else { panic!("{port}: it started") };
        let text = error.to_string();
        assert_eq!(
            text,
            format!("cannot listen on {address} ({port}): address in use; choose another with --{port}")
        );
        assert!(!folder.path().join("state").exists(), "{port}: nothing is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_makes_one_token_however_many_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = run(config(folder.path())).await;
    let path = running.bootstrap_token_path().expect("a first start").to_owned();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let bootstrap = std::fs::read_to_string(&path).expect("reads").trim().to_owned();
    let channel = plain(running.management()).await;
    let tasks = Tasks::new();
    let mut asked = Vec::new();
    for _ in 0..8 {
        let (channel, bootstrap) = (channel.clone(), bootstrap.clone());
        asked.push(tasks.spawn("ask", async move {
            let grants = vec![wire::Grant { role: wire::Role::Operator.into(), ..Default::default() }];
            let token = wire::Token { name: "first".to_owned(), grants, ..Default::default() };
            let request = super::world::by(
                &bootstrap,
                wire::CreateTokenRequest { token: Some(token), ..Default::default() },
            );
            let mut client = wire::token_service_client::TokenServiceClient::new(channel);
            client.create_token(request).await.map_err(|status| status.code())
        }));
    }
    let mut made = 0;
    for ask in asked {
        match ask.await.expect("no panic") {
            Ok(_) => made += 1,
            Err(code) => assert_eq!(code, Code::Unauthenticated),
        }
    }
    assert_eq!(made, 1);
    running.stop().await;
    let again = run(config(folder.path())).await;
    assert_eq!(again.bootstrap_token_path(), None, "an installation with a token gets no other");
    assert!(!path.exists(), "nor does it keep the one that was used");
    again.stop().await;
}

#[tokio::test]
async fn a_bootstrap_token_that_nobody_used_is_still_good_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = run(config(folder.path())).await;
    let path = running.bootstrap_token_path().expect("a first start").to_owned();
    let first = std::fs::read(&path).expect("reads");
    running.stop().await;
    let config = config(folder.path());
    let world = World::over(folder, config).await;
    assert!(first.starts_with(b"rr_bootstrap_"));
    assert_eq!(std::fs::read(&path).expect("reads"), first);
    world.running.stop().await;
}

/// It started, was ready, and each of the two told its own nodes alone.
#[tokio::test]
async fn a_second_control_plane_on_one_state_folder_is_refused_until_the_first_has_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let first = run(config.clone()).await;
    let refused = start(config.clone(), Seams::real(), Observability::quiet("rr-control")).await;
    let Err(error) = refused else { panic!("it started") };
    let text = chain(&error).to_string();
    assert!(text.contains(&format!("state folder {} is in use", config.state_dir.display())), "{text}");
    assert!(text.contains("--state-dir") && !text.contains('\n'), "{text}");
    first.stop().await;
    run(config).await.stop().await;
}

/// The database outlives the files: another folder, or one that was emptied.
#[tokio::test]
async fn a_database_whose_authority_is_gone_or_another_is_not_started_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.database = crate::DatabaseAddress::Sqlite(folder.path().join("control.db"));
    run(config.clone()).await.stop().await;
    let state = config.state_dir.clone();
    let refusal = async |config: Config| {
        let refused = start(config, Seams::real(), Observability::quiet("rr-control")).await;
        let Err(error) = refused else { panic!("it started") };
        chain(&error).to_string()
    };
    let kept = folder.path().join("kept");
    std::fs::create_dir(&kept).expect("a folder");
    for file in ["authority.key", "authority.crt"] {
        std::fs::rename(state.join(file), kept.join(file)).expect("moves");
    }
    let text = refusal(config.clone()).await;
    assert!(text.contains("authority.key is gone from") && !text.contains('\n'), "{text}");
    assert!(!state.join("authority.key").exists(), "no other is made");

    let mut other = config.clone();
    other.state_dir = folder.path().join("other");
    other.database = crate::DatabaseAddress::Sqlite(folder.path().join("other.db"));
    run(other.clone()).await.stop().await;
    other.database = config.database.clone();
    let text = refusal(other).await;
    assert!(text.contains("is not the authority that nodes of this database trust"), "{text}");

    for file in ["authority.key", "authority.crt"] {
        std::fs::rename(kept.join(file), state.join(file)).expect("moves back");
    }
    run(config).await.stop().await;
}

#[tokio::test]
async fn everything_works_on_postgresql_too() {
    let Some(database) = postgres::database("start") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.database = database.address();
    let world = World::over(folder, config).await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let token = world.node_token(&region, 1).await;
    world.join(&token).await.expect("joins");
    assert_eq!(world.installation().await.revision, 8);
    world.running.stop().await;
}

#[tokio::test]
async fn probes_see_readiness_and_metrics() {
    let world = World::start().await;
    let admin = world.running.admin();
    for (path, wanted) in
        [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "requestrocket_control_calls_total")]
    {
        let answer = super::rest::get(admin, path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text.contains(wanted), "{path}: {}", answer.text);
    }
    world.running.stop().await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_stops_the_start_at_once_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.database = "postgres://user:hunter2@127.0.0.1:1/rr".parse().expect("good");
    let refused = start(config, Seams::real(), Observability::quiet("rr-control")).await;
    let Err(error) = refused else { panic!("it started") };
    let text = chain(&error).to_string();
    assert!(text.contains("--database") && text.contains("postgres://127.0.0.1:1/rr"), "{text}");
    assert!(text.contains("refused") && !text.contains("hunter2"), "{text}");
    assert!(!folder.path().join("state").exists());
}

/// What one replica commits, the other sends to its nodes and shows.
#[tokio::test]
async fn two_replicas_on_one_database_see_each_others_changes() {
    let Some(database) = postgres::database("replicas") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.database = database.address();
    let world = World::over(folder, config.clone()).await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let token = world.node_token(&region, 1).await;
    world.join(&token).await.expect("joins");
    let second = run(config).await;
    assert_eq!(second.installation(), world.running.installation());
    let channel = plain(second.management()).await;
    let revision = world.suspend("acme", true).await;
    loop {
        let request = super::world::by(&world.operator, fleet::ListNodesRequest::default());
        let mut client = fleet::fleet_service_client::FleetServiceClient::new(channel.clone());
        let nodes = client.list_nodes(request).await.expect("lists").into_inner().nodes;
        if nodes[0].desired.as_ref().is_some_and(|at| at.revision == revision) {
            break;
        }
    }
    second.stop().await;
    world.running.stop().await;
}

#[tokio::test]
async fn away_from_loopback_the_management_port_speaks_tls_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.management = "0.0.0.0:0".parse().expect("an address");
    config.management_names = vec!["rr.example.com".to_owned()];
    let running = run(config).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, running.management().port()));
    let pem = std::fs::read(folder.path().join("state/authority.crt")).expect("is there");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("good")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(tls));
    for (name, known) in
        [("rr.example.com", true), ("control-plane.requestrocket.internal", true), ("a.com", false)]
    {
        let stream = TcpStream::connect(address).await.expect("connects");
        let name = ServerName::try_from(name).expect("a name");
        assert_eq!(connector.connect(name, stream).await.is_ok(), known);
    }
    running.stop().await;
}

#[tokio::test]
async fn reflection_and_health_know_every_service() {
    let world = World::start().await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(world.channel.clone());
    let ask = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers =
        client.server_reflection_info(tokio_stream::iter([ask])).await.expect("answers").into_inner();
    let answer = answers.message().await.expect("answers").expect("once").message_response;
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|it| it.name.as_str()).collect();
    for service in ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"] {
        assert_eq!(names.iter().filter(|name| **name == service).count(), 1, "{service}: {names:?}");
    }
    let mut health = tonic_health::pb::health_client::HealthClient::new(world.channel.clone());
    let ours: Vec<String> =
        list.service.into_iter().map(|it| it.name).filter(|it| it.contains("management")).collect();
    assert_eq!(ours.len(), 21, "{ours:?}");
    for service in ours {
        let request = tonic_health::pb::HealthCheckRequest { service: service.clone() };
        let status = health.check(request).await.expect("is known").into_inner().status;
        assert_eq!(
            status,
            i32::from(tonic_health::pb::health_check_response::ServingStatus::Serving),
            "{service}"
        );
    }
    world.running.stop().await;
}

/// Asked in the older version, the newer was served but not known.
#[tokio::test]
async fn each_version_of_reflection_describes_both() {
    use tonic_reflection::pb::v1alpha;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    use v1alpha::server_reflection_request::MessageRequest as OldRequest;
    use v1alpha::server_reflection_response::MessageResponse as OldResponse;

    let world = World::start().await;
    for service in ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"] {
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(world.channel.clone());
        let ask = v1::ServerReflectionRequest {
            message_request: Some(MessageRequest::FileContainingSymbol(service.to_owned())),
            ..Default::default()
        };
        let answers = client.server_reflection_info(tokio_stream::iter([ask])).await.expect("answers");
        let answer = answers.into_inner().message().await.expect("answers").expect("once").message_response;
        assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{service}: {answer:?}");

        let mut client =
            v1alpha::server_reflection_client::ServerReflectionClient::new(world.channel.clone());
        let ask = v1alpha::ServerReflectionRequest {
            message_request: Some(OldRequest::FileContainingSymbol(service.to_owned())),
            ..Default::default()
        };
        let answers = client.server_reflection_info(tokio_stream::iter([ask])).await.expect("answers");
        let answer = answers.into_inner().message().await.expect("answers").expect("once").message_response;
        assert!(matches!(answer, Some(OldResponse::FileDescriptorResponse(_))), "{service}: {answer:?}");
    }
    world.running.stop().await;
}

#[tokio::test]
async fn the_management_port_serves_a_certificate_that_it_was_given_on_loopback_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["control.example".to_owned()]).expect("is made");
    let mut config = config(folder.path());
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("writes");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writes");
    config.management_tls = Some(crate::ManagementTls { certificate, key: key.clone() });
    let running = run(config.clone()).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("good")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(running.management()).await.expect("connects");
    let name = ServerName::try_from("control.example").expect("a name");
    TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("is who it should be");
    running.stop().await;

    std::fs::remove_file(key).expect("is there");
    let refused = start(config, Seams::real(), Observability::quiet("rr-control")).await;
    assert!(matches!(refused, Err(StartError::Certificate(_))));
}
