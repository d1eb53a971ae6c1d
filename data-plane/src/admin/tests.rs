//! The port when somebody holds on to it.

use rr_contract::runtime::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(20);

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
