//! Batches to the control plane, on a connection of their own.
//!
//! A window of unacknowledged batches, so that a slow receiver holds up nothing but this; it can make the window smaller, and have this
//! wait. A batch is compressed when it is read to be sent, once the receiver has said that it takes that. Deletes nothing:
//! an acknowledgement moves the spool's mark, and the spool deletes. After any break it goes on behind the
//! last acknowledged batch; one sent twice is known by its number.

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use rr_contract::model::time;
use rr_contract::runtime::{Stop, chain};
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use rr_contract::wire::fleet::{self, BatchCodec};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tracing::{debug, error, warn};

use crate::backoff::Backoff;
use crate::control_plane::ControlPlane;
use crate::identity::Credentials;

use super::SpoolHandle;
use super::spool::Cursor;

const WINDOW: usize = 8;
/// Of batches under way; one goes however long it is.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// Shorter ones are not worth it.
const PACKED_FROM: usize = 256;
const PACKED_LEVEL: i32 = 1;
/// The longest time that a receiver can have this wait: one that says more is not believed.
const PAUSE_MOST: Duration = Duration::from_secs(30);

/// How the control plane wants batches on this stream.
struct Pace {
    window: usize,
    /// None before.
    next: Instant,
    takes_zstd: bool,
}

/// A batch that was read.
struct Read {
    sequence: u64,
    plain: Bytes,
    /// The same compressed, where that was of use.
    packed: Option<Vec<u8>>,
}

impl Pace {
    fn new() -> Self {
        Self { window: WINDOW, next: Instant::now(), takes_zstd: false }
    }

    fn hear(&mut self, answer: &fleet::UploadResponse) {
        self.window = match usize::try_from(answer.window) {
            Ok(0) | Err(_) => WINDOW,
            Ok(window) => window.min(WINDOW),
        };
        let pause = answer.pause.as_ref().and_then(|pause| time::duration(pause).ok()).unwrap_or_default();
        self.next = Instant::now() + pause.min(PAUSE_MOST);
        self.takes_zstd = answer.codecs().any(|codec| codec == BatchCodec::Zstd);
    }

    fn has_room(&self, window: &VecDeque<(u64, Bytes)>) -> bool {
        let bytes: usize = window.iter().map(|(_, batch)| batch.len()).sum();
        window.len() < self.window && bytes < WINDOW_BYTES && Instant::now() >= self.next
    }
}

/// Compresses a batch; `None`: it would not become shorter, or is too long for anybody to unpack.
fn packed(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < PACKED_FROM {
        return None;
    }
    let mut packed = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    let length = zstd_safe::compress(&mut packed, plain, PACKED_LEVEL).ok()?;
    (length < plain.len()).then_some(packed)
}

/// The loop that sends.
pub(crate) struct Upload {
    pub(crate) control_plane: ControlPlane,
    pub(crate) credentials: Credentials,
    pub(crate) spool: SpoolHandle,
}

/// Why an upload broke off.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error("connect to the control plane")]
    Connect(#[source] tonic::transport::Error),
    #[error("record upload stream broke")]
    Stream(#[source] tonic::Status),
    #[error("control plane closed the record upload stream")]
    Closed,
    #[error("control plane acknowledged batches that this spool never sent")]
    Ahead,
    #[error("read the record spool")]
    Spool(#[source] io::Error),
}

impl Upload {
    pub(crate) async fn run(self, stop: Stop) {
        stop.cut(self.stay()).await;
    }

    async fn stay(&self) {
        let mut backoff = Backoff::default();
        loop {
            // All that one try leaves to the next is in the spool.
            let tried = AssertUnwindSafe(self.once(&mut backoff)).catch_unwind().await;
            let wait = backoff.next(Instant::now(), &*self.spool.seams.entropy);
            let Ok(error) = tried else {
                error!(?wait, "the task that uploads records panicked; retrying");
                sleep(wait).await;
                continue;
            };
            // The other stream says at `warn` that the control plane is away.
            debug!(error = %chain(&error), ?wait, "records are kept on disk until they can be uploaded");
            sleep(wait).await;
        }
    }

    /// One stream, once there is something to send.
    async fn once(&self, backoff: &mut Backoff) -> UploadError {
        let mut cursor = Cursor::at(self.spool.acked() + 1);
        let first = match self.wait_for_first(&mut cursor).await {
            Ok(first) => first,
            Err(error) => return error,
        };
        let opened = Instant::now();
        let mut acknowledged = false;
        let error = self.session(cursor, first, &mut acknowledged).await;
        backoff.stream_ended(opened.elapsed(), acknowledged);
        error
    }

    /// Nothing to send needs no connection.
    async fn wait_for_first(&self, cursor: &mut Cursor) -> Result<Read, UploadError> {
        loop {
            // Nobody has said yet what it takes.
            if let Some(first) = self.read(cursor, false).await? {
                return Ok(first);
            }
            self.spool.appended().await;
        }
    }

    /// The next batch. Read on another thread: a disk that stalls holds up nothing but this.
    async fn read(&self, cursor: &mut Cursor, packs: bool) -> Result<Option<Read>, UploadError> {
        let (mut at, spool) = (std::mem::replace(cursor, Cursor::at(0)), self.spool.clone());
        let read = spawn_blocking(move || {
            let batch = at.next(&spool).map(|batch| {
                batch.map(|(sequence, plain)| {
                    let packed = if packs { packed(&plain) } else { None };
                    Read { sequence, plain, packed }
                })
            });
            (at, batch)
        });
        let (at, batch) = read.await.map_err(|error| UploadError::Spool(io::Error::other(error)))?;
        *cursor = at;
        batch.map_err(UploadError::Spool)
    }

    async fn session(&self, cursor: Cursor, first: Read, acknowledged: &mut bool) -> UploadError {
        let channel = match self.control_plane.connect(self.credentials.tls()).await {
            Ok(channel) => channel,
            Err(error) => return UploadError::Connect(error),
        };
        match self.send(channel, cursor, first, acknowledged).await {
            Ok(()) => UploadError::Closed,
            Err(error) => error,
        }
    }

    async fn send(
        &self,
        channel: Channel,
        mut cursor: Cursor,
        first: Read,
        acknowledged: &mut bool,
    ) -> Result<(), UploadError> {
        let (outbound, queue) = mpsc::channel(WINDOW);
        let mut window: VecDeque<(u64, Bytes)> = VecDeque::with_capacity(WINDOW);
        // Queued before the call, so that a server that waits for it does not wait for ever.
        self.push(&outbound, &mut window, first).await?;
        let mut service = TelemetryServiceClient::new(channel).max_encoding_message_size(MESSAGE_MAX);
        let answer = service.upload(ReceiverStream::new(queue)).await.map_err(UploadError::Stream)?;
        let (mut inbound, mut pace) = (answer.into_inner(), Pace::new());
        loop {
            let mut more = true;
            while pace.has_room(&window) {
                let Some(batch) = self.read(&mut cursor, pace.takes_zstd).await? else {
                    more = false;
                    break;
                };
                self.push(&outbound, &mut window, batch).await?;
            }
            tokio::select! {
                answer = inbound.message() => {
                    let Some(answer) = answer.map_err(UploadError::Stream)? else { return Ok(()) };
                    if answer.spool != self.spool.id() {
                        continue;
                    }
                    pace.hear(&answer);
                    self.hear(&answer, &mut window, &mut cursor).await?;
                    *acknowledged = true;
                }
                () = sleep_until(pace.next), if Instant::now() < pace.next => {}
                () = self.spool.appended(), if !more && pace.has_room(&window) => {}
            }
        }
    }

    async fn push(
        &self,
        outbound: &mpsc::Sender<fleet::UploadRequest>,
        window: &mut VecDeque<(u64, Bytes)>,
        batch: Read,
    ) -> Result<(), UploadError> {
        let Read { sequence, plain, packed } = batch;
        let length = u32::try_from(plain.len()).ok().filter(|_| packed.is_some());
        let codec = if length.is_some() { BatchCodec::Zstd } else { BatchCodec::Unspecified };
        let body = packed.filter(|_| length.is_some()).unwrap_or_else(|| plain.to_vec());
        let request = fleet::UploadRequest {
            spool: self.spool.id().to_vec(),
            sequence,
            crc32: crc32fast::hash(&body),
            body,
            codec: codec.into(),
            length: length.unwrap_or_default(),
        };
        window.push_back((sequence, plain));
        outbound.send(request).await.map_err(|_| UploadError::Closed)
    }

    async fn hear(
        &self,
        answer: &fleet::UploadResponse,
        window: &mut VecDeque<(u64, Bytes)>,
        cursor: &mut Cursor,
    ) -> Result<(), UploadError> {
        for poison in &answer.poison {
            warn!(
                sequence = poison.sequence,
                reason = poison.reason,
                "control plane cannot read a batch of records; setting it aside"
            );
            let body = window.iter().find(|(sequence, _)| *sequence == poison.sequence);
            let Some((sequence, body)) = body.cloned() else { continue };
            let spool = self.spool.clone();
            let kept = spawn_blocking(move || spool.set_aside(sequence, &body)).await;
            if let Err(error) = kept.map_err(io::Error::other).flatten() {
                warn!(%error, sequence, "unreadable batch of records could not be set aside");
            }
        }
        if !self.spool.acknowledge(answer.through.max(answer.expected.saturating_sub(1))) {
            warn!(
                through = answer.through,
                expected = answer.expected,
                "control plane acknowledged batches that this spool never sent; the state folder may have been restored from an older copy"
            );
            return Err(UploadError::Ahead);
        }
        while window.pop_front_if(|(sequence, _)| *sequence <= answer.through).is_some() {}
        if answer.expected > 0 && window.front().is_some_and(|(sequence, _)| *sequence != answer.expected) {
            window.clear();
            *cursor = Cursor::at(answer.expected);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(window: u32, millis: u64, codecs: &[BatchCodec]) -> fleet::UploadResponse {
        fleet::UploadResponse {
            window,
            pause: (millis > 0).then(|| time::wire_duration(Duration::from_millis(millis))),
            codecs: codecs.iter().map(|codec| (*codec).into()).collect(),
            ..fleet::UploadResponse::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_makes_the_window_smaller_has_this_wait_and_lets_it_go_on() {
        let mut pace = Pace::new();
        let under_way =
            |count, size| -> VecDeque<_> { (0..count).map(|n| (n, Bytes::from(vec![7_u8; size]))).collect() };
        let [none, one, most, all] = [0, 1, 7, 8].map(|count| under_way(count, 10));
        assert!(pace.has_room(&most) && !pace.has_room(&all) && !pace.takes_zstd);
        assert!(
            pace.has_room(&under_way(3, WINDOW_BYTES / 4)) && !pace.has_room(&under_way(4, WINDOW_BYTES / 4))
        );
        pace.hear(&answer(1, 700, &[BatchCodec::Zstd]));
        assert!(!pace.has_room(&none) && pace.takes_zstd);
        sleep(Duration::from_millis(701)).await;
        assert!(pace.has_room(&none) && !pace.has_room(&one));
        pace.hear(&answer(0, 0, &[]));
        assert!(pace.has_room(&most) && !pace.takes_zstd, "of an older control plane");
        pace.hear(&answer(1_000, 1_000_000_000, &[]));
        sleep(PAUSE_MOST + Duration::from_millis(1)).await;
        assert!(pace.has_room(&most) && !pace.has_room(&all), "neither is believed");
    }

    #[test]
    fn what_would_not_become_shorter_goes_as_it_is() {
        let alike = vec![7; 10_000];
        assert!(packed(&alike).is_some_and(|it| it.len() < 1_000));
        assert!(packed(&alike[..PACKED_FROM - 1]).is_none());
        let mut noise = vec![0; 5_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(packed(&noise).is_none());
    }
}
