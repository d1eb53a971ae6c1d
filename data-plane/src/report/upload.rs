//! Batches to the control plane, on a connection of their own.
//!
//! A window of unacknowledged batches, so that a slow receiver holds up nothing but this. Deletes nothing:
//! an acknowledgement moves the spool's mark, and the spool deletes. After any break it goes on behind the
//! last acknowledged batch; one sent twice is known by its number.

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use rr_contract::runtime::{Stop, chain};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tracing::{debug, error, warn};

use crate::backoff::Backoff;
use crate::control_plane::ControlPlane;

use super::SpoolHandle;
use super::spool::Cursor;

const WINDOW: usize = 8;
const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// The loop that sends.
pub(crate) struct Upload {
    pub(crate) control_plane: ControlPlane,
    pub(crate) tls: Arc<ClientConfig>,
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
    async fn wait_for_first(&self, cursor: &mut Cursor) -> Result<(u64, Bytes), UploadError> {
        loop {
            if let Some(first) = self.read(cursor).await? {
                return Ok(first);
            }
            self.spool.appended().await;
        }
    }

    /// The next batch. Read on another thread: a disk that stalls holds up nothing but this.
    async fn read(&self, cursor: &mut Cursor) -> Result<Option<(u64, Bytes)>, UploadError> {
        let (mut at, spool) = (std::mem::replace(cursor, Cursor::at(0)), self.spool.clone());
        let read = spawn_blocking(move || {
            let batch = at.next(&spool);
            (at, batch)
        });
        let (at, batch) = read.await.map_err(|error| UploadError::Spool(io::Error::other(error)))?;
        *cursor = at;
        batch.map_err(UploadError::Spool)
    }

    async fn session(&self, cursor: Cursor, first: (u64, Bytes), acknowledged: &mut bool) -> UploadError {
        let channel = match self.control_plane.connect(Arc::clone(&self.tls)).await {
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
        first: (u64, Bytes),
        acknowledged: &mut bool,
    ) -> Result<(), UploadError> {
        let (outbound, queue) = mpsc::channel(WINDOW);
        let mut window: VecDeque<(u64, Bytes)> = VecDeque::with_capacity(WINDOW);
        // Queued before the call, so that a server that waits for it does not wait for ever.
        self.push(&outbound, &mut window, first).await?;
        let mut service = TelemetryServiceClient::new(channel).max_encoding_message_size(MESSAGE_MAX);
        let answer = service.upload(ReceiverStream::new(queue)).await.map_err(UploadError::Stream)?;
        let mut inbound = answer.into_inner();
        loop {
            let mut more = true;
            while window.len() < WINDOW {
                let Some(batch) = self.read(&mut cursor).await? else {
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
                    self.hear(&answer, &mut window, &mut cursor).await?;
                    *acknowledged = true;
                }
                () = self.spool.appended(), if !more && window.len() < WINDOW => {}
            }
        }
    }

    async fn push(
        &self,
        outbound: &mpsc::Sender<fleet::UploadRequest>,
        window: &mut VecDeque<(u64, Bytes)>,
        (sequence, body): (u64, Bytes),
    ) -> Result<(), UploadError> {
        let request = fleet::UploadRequest {
            spool: self.spool.id().to_vec(),
            sequence,
            crc32: crc32fast::hash(&body),
            body: body.to_vec(),
        };
        window.push_back((sequence, body));
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
