//! Tunnels between two pipes, on a clock that jumps.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::LocalSet;

use super::*;

const IDLE: Duration = Duration::from_secs(60);

/// Both outer ends of a tunnel, and how it ended.
async fn carried(
    work: impl AsyncFnOnce(DuplexStream, DuplexStream),
    (up, down): (&'static [u8], &'static [u8]),
) -> (Ended, (u64, u64)) {
    let ((caller, near), (far, upstream)) = (duplex(64), duplex(64));
    let carry = async move {
        let (up, down) = (Bytes::from_static(up), Bytes::from_static(down));
        let mut carrying = Carrying::new((near, up), (far, down), IDLE, None);
        let mut piece = [0; 64];
        let ended = poll_fn(|cx| carrying.poll(cx, &mut piece)).await;
        assert!(carrying.up.left.is_empty() || !ended.is_whole);
        (ended, carrying.passed())
    };
    let set = LocalSet::new();
    set.run_until(async { tokio::join!(carry, work(caller, upstream)).0 }).await
}

#[tokio::test(start_paused = true)]
async fn what_came_early_is_passed_first_and_each_direction_ends_by_itself() {
    let work = async |mut caller: DuplexStream, mut upstream: DuplexStream| {
        let mut text = String::new();
        caller.write_all(b" and later").await.expect("it is read");
        caller.shutdown().await.expect("it is ours");
        upstream.read_to_string(&mut text).await.expect("text");
        assert_eq!(text, "sent with the request and later");
        // Long after the end of one direction the other one goes on.
        tokio::time::sleep(IDLE / 2).await;
        upstream.write_all(b", and more").await.expect("it is read");
        tokio::time::sleep(IDLE / 2).await;
        upstream.shutdown().await.expect("it is ours");
        text.clear();
        caller.read_to_string(&mut text).await.expect("text");
        assert_eq!(text, "sent with the answer, and more");
    };
    let (ended, passed) = carried(work, (b"sent with the request", b"sent with the answer")).await;
    assert_eq!(ended, Ended { by: TunnelEnd::Caller, is_whole: true });
    assert_eq!(passed, (31, 30));
}

#[tokio::test(start_paused = true)]
async fn a_byte_in_either_direction_keeps_a_tunnel_and_a_silence_of_both_ends_it() {
    let began = Instant::now();
    let work = async |mut caller: DuplexStream, mut upstream: DuplexStream| {
        for _ in 0..3 {
            tokio::time::sleep(IDLE * 3 / 4).await;
            caller.write_all(b"a").await.expect("it is read");
            assert_eq!(upstream.read_u8().await.expect("it comes"), b'a');
            tokio::time::sleep(IDLE * 3 / 4).await;
            upstream.write_all(b"b").await.expect("it is read");
            assert_eq!(caller.read_u8().await.expect("it comes"), b'b');
        }
        assert_eq!(caller.read(&mut [0]).await.expect("it ends"), 0);
    };
    let (ended, _) = carried(work, (b"", b"")).await;
    assert_eq!(ended, Ended { by: TunnelEnd::Idle, is_whole: true });
    assert_eq!(began.elapsed().as_secs(), (IDLE * 3 / 4 * 6 + IDLE).as_secs());
}

#[tokio::test(start_paused = true)]
async fn whoever_is_gone_ends_the_tunnel_and_what_was_on_its_way_makes_it_incomplete() {
    let work = async |caller: DuplexStream, mut upstream: DuplexStream| {
        drop(caller);
        upstream.write_all(b"to nobody").await.ok();
    };
    let (ended, _) = carried(work, (b"", b"")).await;
    assert_eq!(ended, Ended { by: TunnelEnd::Caller, is_whole: false });
    let work = async |mut caller: DuplexStream, upstream: DuplexStream| {
        drop(upstream);
        caller.write_all(b"to nobody").await.ok();
    };
    let (ended, _) = carried(work, (b"", b"")).await;
    assert_eq!(ended, Ended { by: TunnelEnd::Upstream, is_whole: false });
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_read_for() {
    let work = async |mut caller: DuplexStream, upstream: DuplexStream| {
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(IDLE / 2, caller.write(&[b'x'; 8])).await {
            sent += written.expect("it is open");
        }
        // Two pipes, and one read in between.
        assert!(sent <= 3 * 64, "{sent}");
        drop(upstream);
    };
    let (ended, _) = carried(work, (b"", b"")).await;
    assert_eq!(ended, Ended { by: TunnelEnd::Upstream, is_whole: false });
}
