//! What has come on an idle connection is seen before the loop sees it.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Socket::new(ours.expect("it listens")), theirs.expect("it connects").0)
}

#[tokio::test]
async fn a_connection_is_quiet_until_a_byte_or_its_end_comes() {
    let (ours, mut theirs) = pair().await;
    assert!(ours.watch().is_quiet());
    // Nothing is awaited on our side from here on, so the loop knows of nothing.
    theirs.write_all(b"H").await.expect("it is open");
    assert!(!ours.watch().is_quiet());
    let (ours, theirs) = pair().await;
    drop(theirs);
    assert!(!ours.watch().is_quiet());
    let (ours, _theirs) = pair().await;
    let watch = ours.watch();
    drop(ours);
    assert!(!watch.is_quiet(), "what is closed is not watched");
}
