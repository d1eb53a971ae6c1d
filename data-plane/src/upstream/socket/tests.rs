//! What has come on an idle connection is seen before anybody has read it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::request_body::Turn;

/// Whether a task has woken itself.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Socket::new(ours.expect("it listens")), theirs.expect("it connects").0)
}

async fn noticed(socket: &Socket) {
    poll_fn(|cx| socket.0.stream.borrow().poll_read_ready(cx)).await.expect("it is open");
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

#[tokio::test]
async fn a_peer_that_sends_on_and_on_leaves_others_their_turn() {
    for reads_ahead in [false, true] {
        let (mut ours, mut theirs) = pair().await;
        if reads_ahead {
            let stream = Rc::into_inner(ours.0).expect("nobody watches it").stream.into_inner();
            ours = Socket::under_tls(stream);
        }
        theirs.write_all(&[0; 100]).await.expect("it is open");
        // With the first byte the loop knows that there is something.
        ours.read_u8().await.expect("it is open");
        ours.0.reads.set(0);
        let (mut in_a_row, mut byte, woken) = (0, [0], Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        while Pin::new(&mut ours).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_ready() {
            in_a_row += 1;
        }
        assert_eq!(in_a_row, READS_IN_A_ROW);
        assert!(!woken.0.load(Ordering::Relaxed), "the runtime looks at sockets and timers before");
        // What is left comes when it is its turn again.
        let mut rest = vec![0; 99 - in_a_row as usize];
        ours.read_exact(&mut rest).await.expect("it is still there");
    }
}

#[tokio::test]
async fn what_may_come_before_an_answer_is_bounded_and_what_comes_after_it_is_not() {
    let (mut ours, mut theirs) = pair().await;
    let watch = ours.watch();
    let mut buffer = vec![0; BEFORE_HEAD];
    watch.waits_for_head(&Passage::since(Turn::Upstream, Duration::ZERO));
    // More than the system may hold at a time, so both at once.
    let (sent, came) = tokio::join!(theirs.write_all(&[0; BEFORE_HEAD + 1]), ours.read_exact(&mut buffer));
    sent.expect("it is open");
    came.expect("so much may come");
    let more = ours.read_u8().await;
    assert_eq!(more.expect_err("no more than that").kind(), io::ErrorKind::InvalidData);
    watch.has_head();
    theirs.write_all(b"body").await.expect("it is open");
    let mut body = [0; 4];
    ours.read_exact(&mut body).await.expect("it is no head");
}

#[tokio::test]
async fn what_may_come_while_nothing_moves_is_bounded_anew_with_each_move() {
    let (mut ours, mut theirs) = pair().await;
    let watch = ours.watch();
    theirs.write_all(&[0; 16]).await.expect("it is open");
    let mut some = [0; 4];
    for _ in 0..3 {
        watch.moves(some.len(), 0);
        ours.read_exact(&mut some).await.expect("so much may come");
    }
    assert_eq!(ours.read_u8().await.expect_err("nothing moved").kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn interim_answers_are_counted_for_the_request_that_waits_and_bounded() {
    let (ours, mut theirs) = pair().await;
    let watch = ours.watch();
    let mut ours = Counted::new(ours, watch.clone());
    let mut read = async |theirs: &mut TcpStream, bytes: &str| {
        let mut buffer = vec![0; bytes.len()];
        theirs.write_all(bytes.as_bytes()).await.expect("it is open");
        ours.read_exact(&mut buffer).await.map(|_| ())
    };
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    for _ in 0..2 {
        // Bytes of a body look like anything.
        read(&mut theirs, interim).await.expect("nothing is waited for");
        let request = Passage::since(Turn::Upstream, Duration::ZERO);
        watch.waits_for_head(&request);
        read(&mut theirs, &interim.repeat(3)).await.expect("so many may come");
        read(&mut theirs, "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 ").await.expect("that is the answer");
        watch.has_head();
        assert_eq!(request.interim(), 3);
    }
    let request = Passage::since(Turn::Upstream, Duration::ZERO);
    watch.waits_for_head(&request);
    read(&mut theirs, &interim.repeat(INTERIM_MAX as usize)).await.expect("so many may come");
    let more = read(&mut theirs, interim).await;
    assert_eq!(more.expect_err("no more than that").kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn heads_of_http2_are_bounded_anew_with_each_move_and_leave_others_their_turn() {
    let (ours, mut theirs) = pair().await;
    let watch = ours.watch();
    let mut ours = Counted::framed(ours, watch.clone());
    let heads = |count: u32| [0, 0, 0, 1, 4, 0, 0, 0, 1].repeat(count as usize);
    let mut buffer = vec![0; 9 * HEADS_IN_A_ROW as usize];
    watch.moves(1_000_000, HEADS_IN_A_ROW);
    for _ in 0..2 {
        theirs.write_all(&heads(HEADS_IN_A_ROW)).await.expect("it is open");
        ours.read_exact(&mut buffer).await.expect("so many may come");
        watch.moves(1_000_000, HEADS_IN_A_ROW);
        // Those who wait for them go first.
        theirs.write_all(&[0, 0, 1, 0, 0, 0, 0, 0, 1, b'x']).await.expect("it is open");
        noticed_below(&ours).await;
        let (mut more, woken) = ([0; 10], Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut ours).poll_read(&mut context, &mut ReadBuf::new(&mut more)).is_pending());
        assert!(!woken.0.load(Ordering::Relaxed), "the runtime looks at sockets and timers before");
        ours.read_exact(&mut more).await.expect("it is still there");
    }
    theirs.write_all(&heads(HEADS_IN_A_ROW + 1)).await.expect("it is open");
    let mut buffer = vec![0; 9 * (HEADS_IN_A_ROW as usize + 1)];
    let more = ours.read_exact(&mut buffer).await;
    assert_eq!(more.expect_err("no more than that").kind(), io::ErrorKind::InvalidData);
}

async fn noticed_below(counted: &Counted<Socket>) {
    noticed(&counted.stream).await;
}

#[tokio::test]
async fn tls_has_in_one_read_what_it_asks_for_in_small_pieces() {
    let (ours, mut theirs) = pair().await;
    let stream = Rc::into_inner(ours.0).expect("nobody watches it").stream.into_inner();
    let sent: Vec<u8> = (0..AHEAD).map(|n| n as u8).collect();
    theirs.write_all(&sent).await.expect("it is open");
    let mut peeked = vec![0; AHEAD];
    while stream.peek(&mut peeked).await.expect("it is open") < AHEAD {}
    let mut ours = Socket::under_tls(stream);
    let mut seen = vec![0; 5];
    ours.read_exact(&mut seen).await.expect("it is there");
    // The system has nothing more for it, and it is not quiet for all that.
    let left = SockRef::from(&*ours.0.stream.borrow()).peek(&mut [MaybeUninit::uninit()]);
    assert!(left.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    assert!(!ours.watch().is_quiet());
    let mut rest = vec![0; AHEAD - 5];
    ours.read_exact(&mut rest).await.expect("it is there");
    seen.append(&mut rest);
    assert!(seen == sent && ours.0.ahead.borrow().is_empty());
}
