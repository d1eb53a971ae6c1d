//! A light node that uploads batches of records and sums, as many at once as an edge does.
//!
//! Keeps nothing: what is not acknowledged is lost with it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use prost::Message as _;
use rr_contract::model::time;
use rr_contract::seal::node_token::NodeToken;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::join;
use super::place::{Connection, Place, origin};
use super::script::Counts;

const ANSWER: Duration = Duration::from_secs(30);

/// An open upload.
pub struct Uploader {
    spool: Vec<u8>,
    sequence: u64,
    acknowledged: u64,
    window: u64,
    told_to_wait: Option<Duration>,
    outbound: mpsc::Sender<fleet::UploadRequest>,
    answers: tonic::Streaming<fleet::UploadResponse>,
    _connection: Connection,
}

impl Uploader {
    /// Joins with a token and opens a stream on which so many batches wait for their acknowledgement.
    pub async fn open(place: &Place, token: &NodeToken, window: u64) -> anyhow::Result<Self> {
        let identity = join(place, token, 1).await?.pop().context("one node joined")?;
        let connection = place.connect(&identity.tls, 0, &Arc::new(Counts::default()), false).await?;
        let (outbound, queue) = mpsc::channel(usize::try_from(window)?);
        let mut client = TelemetryServiceClient::with_origin(connection.service(), origin());
        let answers = timeout(ANSWER, client.upload(ReceiverStream::new(queue))).await??.into_inner();
        let spool = vec![7; 16];
        Ok(Self {
            spool,
            sequence: 0,
            acknowledged: 0,
            window,
            told_to_wait: None,
            outbound,
            answers,
            _connection: connection,
        })
    }

    /// How long it was asked to wait by the last answer. It does not.
    pub fn told_to_wait(&self) -> Option<Duration> {
        self.told_to_wait
    }

    /// Uploads batches, and waits until all are stored.
    pub async fn upload(&mut self, batches: &[fleet::Batch]) -> anyhow::Result<()> {
        for batch in batches {
            let body = batch.encode_to_vec();
            self.sequence += 1;
            let request = fleet::UploadRequest {
                spool: self.spool.clone(),
                sequence: self.sequence,
                crc32: crc32fast::hash(&body),
                body,
                ..fleet::UploadRequest::default()
            };
            self.outbound.send(request).await.context("the stream is open")?;
            while self.sequence - self.acknowledged >= self.window {
                self.acknowledge().await?;
            }
        }
        while self.acknowledged < self.sequence {
            self.acknowledge().await?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self) -> anyhow::Result<()> {
        let answer = timeout(ANSWER, self.answers.message()).await.context("no answer in time")??;
        let answer = answer.context("the stream ended")?;
        ensure!(answer.expected == 0 && answer.poison.is_empty(), "a batch was not taken: {answer:?}");
        self.acknowledged = answer.through;
        self.told_to_wait = answer.pause.as_ref().and_then(|pause| time::duration(pause).ok());
        Ok(())
    }
}
