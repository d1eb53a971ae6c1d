//! The upload of a set of documents: header, chunks, commit.

use prost::Message as _;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::apply_request::Part;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use tonic::Status;

use crate::connect::Connection;
use crate::print::Progress;

/// The size of a chunk. A larger document is a chunk of its own.
const CHUNK: usize = 512 * 1024;

pub(in crate::command) async fn send(
    stub: &mut ApplyServiceClient<Connection>,
    header: mg::ApplyHeader,
    documents: Vec<mg::Document>,
) -> Result<mg::ApplyOutcome, Status> {
    let parts = parts(header, documents);
    let progress = Progress::of("sending", parts.len() as u64);
    let parts = parts.into_iter().inspect(move |_| progress.more(1));
    let reply = stub.apply(tokio_stream::iter(parts)).await?;
    Ok(reply.into_inner().outcome.unwrap_or_default())
}

fn parts(header: mg::ApplyHeader, documents: Vec<mg::Document>) -> Vec<mg::ApplyRequest> {
    let commit = mg::ApplyCommit { documents: documents.len() as u64 };
    let mut chunks: Vec<mg::ApplyChunk> = Vec::new();
    let mut room = 0;
    for document in documents {
        // With the longest tag and length before it.
        let size = document.encoded_len() + 6;
        match chunks.last_mut() {
            Some(chunk) if size <= room => chunk.documents.push(document),
            _ => {
                chunks.push(mg::ApplyChunk { documents: vec![document] });
                room = CHUNK;
            }
        }
        room = room.saturating_sub(size);
    }
    std::iter::once(Part::Header(header))
        .chain(chunks.into_iter().map(Part::Chunk))
        .chain(std::iter::once(Part::Commit(commit)))
        .map(|part| mg::ApplyRequest { part: Some(part) })
        .collect()
}

#[cfg(test)]
mod tests {
    use rr_contract::wire::management::document::Resource;

    use super::*;

    fn document(notes: usize) -> mg::Document {
        let rule = mg::Rule { notes: "x".repeat(notes), ..mg::Rule::default() };
        mg::Document { resource: Some(Resource::Rule(rule)) }
    }

    #[test]
    fn chunks_stay_small_and_every_document_is_in_one() {
        let sizes = [100, CHUNK - 50, 10, CHUNK * 2, 20, 30];
        let documents: Vec<_> = (0..3).flat_map(|_| sizes.map(document)).collect();
        let parts = parts(mg::ApplyHeader::default(), documents.clone());
        let mut sent = Vec::new();
        for part in &parts {
            if let Some(Part::Chunk(chunk)) = &part.part {
                assert!(chunk.encoded_len() <= CHUNK || chunk.documents.len() == 1);
                sent.extend(chunk.documents.iter().cloned());
            }
        }
        assert_eq!(sent, documents);
        assert!(matches!(parts.first().expect("a header").part, Some(Part::Header(_))));
        assert_eq!(
            parts.last().expect("a commit").part,
            Some(Part::Commit(mg::ApplyCommit { documents: 18 }))
        );
    }

    #[test]
    fn a_plan_is_carried_out_without_documents() {
        assert_eq!(parts(mg::ApplyHeader::default(), Vec::new()).len(), 2);
    }
}
