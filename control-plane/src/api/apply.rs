//! Calls of ApplyService: the same set as a stream or as one message.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::apply_request::Part;
use rr_contract::wire::management::document::Resource;
use tonic::{Request, Response, Status, Streaming};

use super::{Api, seen};
use crate::authz;
use crate::service::{ApplyOrder, DOCUMENTS_MOST, Plain, ServiceError};

/// How many bytes of documents one set may have.
const SET_MOST: usize = 128 * 1024 * 1024;

#[tonic::async_trait]
impl wire::apply_service_server::ApplyService for Api {
    async fn apply(
        &self,
        request: Request<Streaming<wire::ApplyRequest>>,
    ) -> Result<Response<wire::ApplyResponse>, Status> {
        let result = async {
            let (metadata, extensions, mut stream) = request.into_parts();
            let header = match next(&mut stream).await? {
                Some(Part::Header(header)) => header,
                _ => {
                    return Err(ServiceError::field(
                        "part",
                        "must be the header in the first message of the stream",
                    ));
                }
            };
            // Before anything else is read.
            let request = Request::from_parts(metadata, extensions, header);
            let at = self
                .enter_org(&request, authz::APPLY, |header| &header.org)
                .await?
                .agreeing(request.get_ref());
            let header = request.into_inner();
            let mut documents = collect(&mut stream).await?;
            refuse_plain(&mut documents)?;
            let outcome = self.services.apply(at, ApplyOrder { header, documents }).await?;
            Ok(wire::ApplyResponse { outcome: Some(outcome) })
        };
        self.answer(authz::APPLY, result.await)
    }

    async fn apply_once(
        &self,
        request: Request<wire::ApplyOnceRequest>,
    ) -> Result<Response<wire::ApplyOnceResponse>, Status> {
        let result = async {
            let at = self
                .enter_org(&request, authz::APPLY_ONCE, |request| &request.org)
                .await?
                .agreeing(request.get_ref());
            let wire::ApplyOnceRequest {
                org,
                owner,
                dry_run,
                prune,
                expected_revision,
                plan,
                request_id,
                mut documents,
                options,
                compare,
            } = request.into_inner();
            refuse_plain(&mut documents)?;
            let header = wire::ApplyHeader {
                org,
                owner,
                dry_run,
                prune,
                expected_revision,
                plan,
                request_id,
                options,
                compare,
            };
            let outcome = self.services.apply(at, ApplyOrder { header, documents }).await?;
            Ok(wire::ApplyOnceResponse { outcome: Some(outcome) })
        };
        self.answer(authz::APPLY_ONCE, result.await)
    }
}

/// Refuses secrets in the clear: a set is kept as it came, for its plan.
fn refuse_plain(documents: &mut [wire::Document]) -> Result<(), ServiceError> {
    for (i, document) in documents.iter_mut().enumerate() {
        let Some(Resource::Credential(credential)) = &mut document.resource else { continue };
        let plain = Plain::out_of(&mut credential.plain);
        if plain.is_some() && seen::is_seen(plain.as_ref()) {
            return Err(ServiceError::field(
                format!("documents[{i}].credential.plain"),
                "is not taken in a set, which is kept as it came: make the credential by a call of its own, or seal it, as \
                 `rrctl apply` does",
            ));
        }
    }
    Ok(())
}

/// Every document up to the commit, which says how many there are.
async fn collect(stream: &mut Streaming<wire::ApplyRequest>) -> Result<Vec<wire::Document>, ServiceError> {
    let mut documents = Vec::new();
    let mut size = 0;
    loop {
        match next(stream).await? {
            Some(Part::Chunk(chunk)) => {
                size += prost::Message::encoded_len(&chunk);
                if size > SET_MOST {
                    return Err(ServiceError::field(
                        "chunk",
                        format!("makes the set larger than {SET_MOST} bytes: apply it in several sets"),
                    ));
                }
                if documents.len() + chunk.documents.len() > DOCUMENTS_MOST {
                    return Err(ServiceError::field(
                        "chunk",
                        format!(
                            "makes the set larger than {DOCUMENTS_MOST} documents: apply it in several sets"
                        ),
                    ));
                }
                documents.extend(chunk.documents);
            }
            Some(Part::Commit(commit)) if commit.documents == documents.len() as u64 => return Ok(documents),
            Some(Part::Commit(commit)) => {
                return Err(ServiceError::field(
                    "commit.documents",
                    format!(
                        "is {}, but {} documents arrived: send the set again",
                        commit.documents,
                        documents.len()
                    ),
                ));
            }
            Some(Part::Header(_)) => {
                return Err(ServiceError::field(
                    "part",
                    "is a second header: send one header, then the documents",
                ));
            }
            None => {
                return Err(ServiceError::field(
                    "part",
                    "is missing: the stream ended before its commit, and nothing was applied",
                ));
            }
        }
    }
}

async fn next(stream: &mut Streaming<wire::ApplyRequest>) -> Result<Option<Part>, ServiceError> {
    match stream.message().await {
        Ok(Some(message)) => match message.part {
            Some(part) => Ok(Some(part)),
            None => Err(ServiceError::field("part", "is not known to this version of the control plane")),
        },
        Ok(None) => Ok(None),
        Err(status) => Err(ServiceError::field("part", format!("could not be read: {}", status.message()))),
    }
}
