//! What has come on an idle connection is seen before anybody has read it.

use std::future::poll_fn;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Socket::new(ours.expect("it listens")), theirs.expect("it connects").0)
}

async fn noticed(socket: &Socket) {
    poll_fn(|cx| socket.0.borrow().poll_read_ready(cx)).await.expect("it is open");
}

#[tokio::test]
async fn a_connection_is_quiet_until_a_byte_or_its_end_comes() {
    let (ours, mut theirs) = pair().await;
    assert!(ours.watch().is_quiet());
    theirs.write_all(b"H").await.expect("it is open");
    // The loop has seen it, and no task reads it.
    noticed(&ours).await;
    assert!(!ours.watch().is_quiet());
    let (ours, theirs) = pair().await;
    drop(theirs);
    noticed(&ours).await;
    assert!(!ours.watch().is_quiet());
    let (ours, _theirs) = pair().await;
    let watch = ours.watch();
    drop(ours);
    assert!(!watch.is_quiet(), "what is closed is not watched");
}
