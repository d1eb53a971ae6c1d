//! Records of requests, sums of them and last uses of callers coming up: each batch stored exactly once, however often it is
//! sent.
//!
//! A node may report only on proxies that its region serves or served, and on their callers; other records are counted
//! and dropped, other sums and uses dropped. Where the store is slow nodes are told to wait, and nobody else does. A batch that cannot be read is taken all the same, so that it does not block what comes after.

mod bounds;
mod near;
mod pace;
mod packed;
mod placed;

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::Stream;
use prost::Message as _;
use rr_contract::model::id::CredentialId;
use rr_contract::model::time;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet::{self, telemetry_service_server::TelemetryService};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

pub(crate) use self::pace::Pace;
pub(crate) use placed::place;

use super::{FleetPort, identity};
use crate::authority::NodeIdentity;
use crate::events::RecordOutcome;
use crate::notice::{self, HOUR};
use crate::noun::Noun;
use crate::publish::sanitize;
use crate::store::caller_use::CallerUse;
use crate::store::request::{self, BEGUN, Ingest, Ingested, RecordLoss};
use crate::store::{self, StoreError, Txn, micros, notification, request_row, resource};

/// Acknowledgements that wait for the transport.
const WAITING: usize = 16;
/// The most records that one batch may hold.
const RECORDS_MOST: usize = 20_000;
/// The most last uses.
const USES_MOST: usize = 512;
/// The most sums of requests.
const SUMS_MOST: usize = 4096;

/// What a batch holds, within bounds.
#[derive(Default)]
struct Content {
    records: Vec<request_row::Model>,
    begun: Vec<request_row::Model>,
    ended: Vec<String>,
    losses: Vec<RecordLoss>,
    uses: Vec<CallerUse>,
    sums: Vec<fleet::Sum>,
}

#[tonic::async_trait]
impl TelemetryService for FleetPort {
    type UploadStream = Pin<Box<dyn Stream<Item = Result<fleet::UploadResponse, Status>> + Send>>;

    async fn upload(
        &self,
        request: Request<Streaming<fleet::UploadRequest>>,
    ) -> Result<Response<Self::UploadStream>, Status> {
        let identity = identity(self, request.extensions(), self.seams.clock.now())?;
        self.not_revoked(identity).await?;
        let (out, answers) = mpsc::channel(WAITING);
        let port = self.clone();
        let inbound = request.into_inner();
        self.tasks.spawn("upload", async move { port.take(identity, inbound, out).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

impl FleetPort {
    async fn take(
        self,
        identity: NodeIdentity,
        mut inbound: Streaming<fleet::UploadRequest>,
        out: mpsc::Sender<Result<fleet::UploadResponse, Status>>,
    ) {
        let mut changes = self.publisher.fleet().changes();
        loop {
            let message = tokio::select! {
                biased;
                () = self.stop.requested() => None,
                // The sender is the publisher's, which is ours.
                _ = changes.changed() => {
                    if self.publisher.fleet().revoked(identity.node).is_some() {
                        // Whoever does not read it finds out at its next try.
                        out.try_send(Err(revoked())).ok();
                        return;
                    }
                    continue;
                }
                message = inbound.message() => message.ok().flatten(),
            };
            let Some(batch) = message else { return };
            let answer = self.take_batch(identity, batch).await;
            let over = answer.is_err();
            if out.send(answer).await.is_err() || over {
                return;
            }
        }
    }

    /// Nothing is taken from a node that was revoked.
    async fn not_revoked(&self, identity: NodeIdentity) -> Result<(), Status> {
        if self.publisher.fleet().revoked(identity.node).is_some() {
            return Err(revoked());
        }
        match store::node::by_id(&self.store, &identity.node.to_string()).await {
            Ok(Some(row)) if row.revoked_at.is_some() => Err(revoked()),
            // Without the database no batch is taken either.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Stores one batch, or finds that it was stored.
    pub(super) async fn take_batch(
        &self,
        identity: NodeIdentity,
        batch: fleet::UploadRequest,
    ) -> Result<fleet::UploadResponse, Status> {
        if batch.spool.len() != 16 || batch.sequence == 0 {
            return Err(Status::invalid_argument(
                "a batch needs a spool id of 16 bytes and a sequence of at least 1",
            ));
        }
        let (spool, sequence) = (batch.spool.clone(), batch.sequence);
        let node = identity.node.to_string();
        let (content, poison) = match self.read(identity, &batch) {
            Ok(content) => (content, None),
            Err(reason) => (Content::default(), Some(fleet::Poison { sequence, reason })),
        };
        let Content { records, begun, ended, losses, uses, sums } = content;
        let lost = losses.iter().filter(|loss| !loss.is_sampled()).map(|loss| loss.records).sum();
        let order = Ingest {
            node: node.clone(),
            region: identity.region.to_string(),
            spool: spool.clone(),
            sequence,
            records,
            begun,
            ended,
            losses,
            uses,
            sums,
            since: 0,
        };
        let begun = Instant::now();
        let written = self.store(order).await;
        let took = begun.elapsed();
        let written = written.map_err(|error| {
            // The node sends it again, and the cursor tells whether it was taken.
            warn!(error = %chain(&error), node.id = node, "batch of records not stored, the node sends it again");
            Status::unavailable("the records were not stored, for a database does not answer: send them again")
        })?;
        let (through, expected) = match written {
            Ingested::Stored { stored, foreign } => {
                self.events.records(RecordOutcome::Stored, stored, &node);
                self.events.records(RecordOutcome::Foreign, foreign, &node);
                self.events.records(RecordOutcome::Lost, lost, &node);
                if poison.is_some() {
                    self.events.records(RecordOutcome::Poison, 1, &node);
                }
                (sequence, 0)
            }
            Ingested::Duplicate(last) => (last, 0),
            Ingested::Expected(expected) => (expected - 1, expected),
            // `place` makes an error of it.
            Ingested::Elsewhere => return Err(Status::unavailable("send the batch again")),
        };
        // Poison of a batch that is not due yet is said when its turn comes.
        let poison = poison.filter(|_| expected == 0).into_iter().collect();
        let mut answer =
            fleet::UploadResponse { spool, through, expected, poison, ..fleet::UploadResponse::default() };
        pace::say(&mut answer, took);
        Ok(answer)
    }

    /// Stores a batch in its turn at the store that takes it: a slow one holds up none but its own regions.
    async fn store(&self, batch: Ingest) -> Result<Ingested, StoreError> {
        let placement = self.records.placement(&batch.region).await?;
        let _turn = self.pace.turn(&placement.store).await;
        place(&self.records, batch).await
    }

    /// Decodes a batch; the reason why not is for the node's log.
    fn read(&self, identity: NodeIdentity, batch: &fleet::UploadRequest) -> Result<Content, String> {
        if crc32fast::hash(&batch.body) != batch.crc32 {
            return Err("checksum does not hold".to_owned());
        }
        let body = packed::unpacked(batch)?;
        let body = fleet::Batch::decode(&*body).map_err(|error| error.to_string())?;
        if body.records.len().max(body.begun.len()).max(body.ended.len()) > RECORDS_MOST {
            return Err(format!("holds more than {RECORDS_MOST} records"));
        }
        if body.uses.len() > USES_MOST {
            return Err(format!("holds more than {USES_MOST} last uses of callers"));
        }
        if body.sums.len() > SUMS_MOST {
            return Err(format!("holds more than {SUMS_MOST} sums of requests"));
        }
        let stored_at = self.store.now();
        let at = |time: &Option<pbjson_types::Timestamp>| {
            time.as_ref().and_then(|at| time::system_time(at).ok()).map_or(stored_at, micros)
        };
        let row = |record: fleet::Record| {
            let record = bounds::bounded(record);
            request_row::Model {
                id: record.id.clone(),
                org: record.org.clone(),
                proxy: record.proxy.clone(),
                caller: record.caller_credential.clone(),
                received_at: at(&record.received_at),
                stored_at,
                node: identity.node.to_string(),
                region: identity.region.to_string(),
                status: i32::try_from(record.status).unwrap_or(0),
                code: record.code.clone(),
                path: record.path.clone(),
                rule: record.rules.as_ref().map(|it| it.rule.clone()).unwrap_or_default(),
                // When it is stored.
                arrival: 0,
                count: bounds::count(&record),
                record: record.encode_to_vec(),
            }
        };
        let records = body.records.into_iter().map(&row).collect();
        let begun = body.begun.into_iter().map(|it| request_row::Model { count: BEGUN, ..row(it) }).collect();
        let ended = body.ended.iter().map(|id| bounds::id(id)).collect();
        let losses = body
            .dropped
            .into_iter()
            .map(|dropped| RecordLoss {
                records: dropped.records,
                from: at(&dropped.from),
                to: at(&dropped.to),
                reason: sanitize::text(&dropped.reason, 64),
            })
            .collect();
        // What is no id is nobody's.
        let known = |it: fleet::CallerUse| {
            let credential = it.caller_credential.parse::<CredentialId>().ok()?.to_string();
            Some(CallerUse { credential, minute: it.minute })
        };
        let uses = body.uses.into_iter().filter_map(known).collect();
        let sums = body.sums.into_iter().map(bounds::bounded_sum).collect();
        Ok(Content { records, begun, ended, losses, uses, sums })
    }
}

fn revoked() -> Status {
    Status::permission_denied("this node was revoked: its records are not taken")
}

/// Stores a batch, and with it the notifications that follow from it: both or neither.
pub(crate) async fn ingest(txn: &Txn, batch: Ingest) -> Result<Ingested, StoreError> {
    let taken = request::ingest(txn, batch).await?;
    tell_of_limits(txn, &taken.accepted).await?;
    near::tell(txn, &taken.accepted).await?;
    Ok(taken.outcome)
}

/// Tells, once for each proxy and hour, that requests were refused over a limit.
async fn tell_of_limits(txn: &Txn, records: &[request_row::Model]) -> Result<(), StoreError> {
    let limited: BTreeMap<(&str, &str, i64), i64> = records
        .iter()
        .filter(|record| notice::is_limited(record))
        .map(|record| {
            let hour = record.received_at.div_euclid(HOUR);
            ((record.org.as_str(), record.proxy.as_str(), hour), record.received_at)
        })
        .collect();
    let mut rows = Vec::with_capacity(limited.len());
    for ((org, proxy, _), received_at) in limited {
        // A proxy that was removed meanwhile is named by its id.
        let row = resource::by_id(txn, Noun::Proxy, proxy).await?;
        let name = row.map_or_else(|| proxy.to_owned(), |row| row.name);
        rows.push(notice::limit_reached(txn.now(), org, proxy, &name, received_at));
    }
    notification::insert(txn, &rows).await?;
    Ok(())
}
