//! The port when somebody holds on to it.

use rr_contract::runtime::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn with_a_token_only_liveness_is_answered_to_everybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    let disk = rr_contract::seam::Seams::real().disk;
    disk.replace(&path, b"0123456789abcdef0123456789abcdef\n").expect("it is ours");
    let (board, certificates) = (Board::default(), CertificateBoard::default());
    let admin = Admin {
        observability: Observability::quiet("rr-edge"),
        readiness: Readiness::new(),
        board,
        certificates,
        token: Some(AdminToken::open(&path, disk).expect("it is good")),
        draining: Shutdown::new().stop(),
    };
    let ask = |path: &str, shown: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in shown {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        admin.answer(&Method::GET, path, &headers).status().as_u16()
    };
    let good = "Bearer 0123456789abcdef0123456789abcdef";
    assert_eq!(ask("/healthz", &[]), 200);
    for path in ["/readyz", "/metrics", "/config", "/position", "/nothing", "/healthz/"] {
        for shown in [&[][..], &["Bearer 0123456789abcdef0123456789abcdeX"], &[good, good]] {
            assert_eq!(ask(path, shown), 401, "{path}");
        }
        assert_ne!(ask(path, &[good]), 401, "{path}");
    }
}

#[tokio::test]
async fn connections_that_ask_for_nothing_keep_no_operator_out() {
    let listener = crate::listen::admin(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
    let admin = Admin {
        observability: Observability::quiet("rr-edge"),
        readiness: Readiness::new(),
        board: Board::default(),
        certificates: CertificateBoard::default(),
        token: None,
        draining: shutdown.stop(),
    };
    let attack = async {
        tasks.spawn_local("admin", admin.run(listener, tasks.clone(), shutdown.stop()));
        let mut flood = Vec::new();
        for _ in 0..CONNECTIONS * 2 {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream.write_all(b"G").await.ok();
            flood.push(stream);
        }
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers");
        assert!(text.ends_with("ok\n"), "{text}");
        // Whoever was idle for longest made room, long before its time was over.
        let first = async { flood[0].read(&mut [0; 64]).await };
        assert_eq!(timeout(HEAD / 2, first).await.expect("it is closed").unwrap_or(0), 0);
    };
    timeout(SOON, LocalSet::new().run_until(attack)).await.expect("in time");
}
