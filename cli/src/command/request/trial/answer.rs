//! What the edge answers to a request that is to explain itself: read as it comes, and bounded.
//!
//! Shows nothing: `stages` does.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use prost::Message as _;
use rr_contract::trial::MEDIA_TYPE;
use rr_contract::wire::fleet::trial_part::Part;
use rr_contract::wire::fleet::{TrialEnd, TrialField, TrialHead, TrialPart};
use serde::Deserialize;

use crate::once::NewFile;
use crate::{connect, fault};

/// How much of a body is kept for what is shown.
const KEPT: usize = 64 * 1024;
/// How long one part may be.
const PART_MAX: usize = 16 * 1024 * 1024;

/// What was told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) head: TrialHead,
    /// The beginning of it.
    pub(super) body: Vec<u8>,
    pub(super) body_bytes: u64,
    pub(super) trailers: Vec<TrialField>,
    /// `None`: the time was over before.
    pub(super) end: Option<TrialEnd>,
}

/// A problem as edges tell it.
#[derive(Deserialize, Default)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    reason: String,
}

/// Makes a request, and reads what is told of it.
pub(super) async fn ask(
    edge: &Uri,
    ca: Option<&Path>,
    request: Request<Full<Bytes>>,
    within: Duration,
    mut out: Option<&mut NewFile>,
) -> Result<Told> {
    let mut told = Told::default();
    let asked = async {
        let io = connect::edge(edge, ca).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let answered = async {
            let response = sender.send_request(request).await?;
            let is_told = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
            if !is_told {
                return Err(untold(response).await);
            }
            read(response.into_body(), &mut told, &mut out).await
        };
        tokio::pin!(connection, answered);
        // The connection moves bytes only while it is polled beside the request, and may end before the answer is read.
        tokio::select! {
            done = &mut answered => done,
            ended = &mut connection => {
                ended?;
                answered.await
            }
        }
    };
    match tokio::time::timeout(within, asked).await {
        Ok(done) => done.with_context(|| format!("try the request at the edge {edge}"))?,
        // What is decided is told with the head.
        Err(_) if told.head.status != 0 => {}
        Err(_) => {
            return Err(fault::ended(
                &format!("the edge {edge} did not answer within {} s", within.as_secs_f32()),
                "is that its address? --timeout waits longer",
            ));
        }
    }
    Ok(told)
}

async fn read(mut body: Incoming, told: &mut Told, out: &mut Option<&mut NewFile>) -> Result<()> {
    let mut came = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the answer broke off")?.into_data() else { continue };
        came.extend_from_slice(&data);
        while let Some(part) = next(&mut came)? {
            match part {
                Part::Head(head) => told.head = head,
                Part::Body(more) => {
                    if let Some(out) = out {
                        out.write(&more)?;
                    }
                    let room = KEPT.saturating_sub(told.body.len()).min(more.len());
                    told.body.extend_from_slice(&more[..room]);
                    told.body_bytes += more.len() as u64;
                }
                Part::Trailers(trailers) => told.trailers = trailers.fields,
                Part::End(end) => {
                    told.end = Some(end);
                    return Ok(());
                }
            }
        }
    }
    anyhow::bail!("the edge ended its answer before it had told the end of the request")
}

/// The next part, if all of it has come.
fn next(came: &mut BytesMut) -> Result<Option<Part>> {
    let bad = "the edge sent what is no part of an explanation; is rrctl of the same version?";
    // The longest number of a length.
    let is_whole = came.iter().take(10).any(|byte| byte & 0x80 == 0);
    if !is_whole {
        anyhow::ensure!(came.len() < 10, bad);
        return Ok(None);
    }
    let length = prost::decode_length_delimiter(&came[..]).context(bad)?;
    anyhow::ensure!(length <= PART_MAX, bad);
    let before = prost::length_delimiter_len(length);
    if came.len() < before + length {
        return Ok(None);
    }
    came.advance(before);
    let part = TrialPart::decode(came.split_to(length)).context(bad)?;
    part.part.map(Some).context(bad)
}

/// Why nothing is told.
async fn untold(response: Response<Incoming>) -> anyhow::Error {
    let status = response.status();
    let by = response.headers().get("server").and_then(|by| by.to_str().ok()).unwrap_or_default().to_owned();
    #[expect(clippy::disallowed_methods, reason = "the body is bounded")]
    let body = Limited::new(response.into_body(), KEPT).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    if problem.code == "trial-refused" {
        return fault::ended(
            &format!(
                "the edge does not take the permission ({}); the request was not sent on",
                problem.reason
            ),
            remedy(&problem.reason),
        );
    }
    let by = if by.is_empty() { by } else { format!(" ({by})") };
    fault::ended(
        &format!("the edge{by} answered with status {status} and explained nothing"),
        "is it an edge of this version, and does what stands in front of it let the header `requestrocket-trial` through?",
    )
}

fn remedy(reason: &str) -> &'static str {
    match reason {
        "other-region" => "--edge-url leads to another region: --region names it",
        "other-installation" | "signature" | "no-control-plane" => {
            "--edge-url leads to a node of another installation, or one that has not heard of the authority that signs now"
        }
        "other-proxy" => "the node does not have the proxy yet: `rrctl explain proxy NAME` shows why",
        "over" | "early" | "before-start" => {
            "it has just been made: the clocks of node and control plane are apart, or the node has just started"
        }
        _ => "run it again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_whatever_pieces_they_come() {
        let all = [
            Part::Head(TrialHead { status: 200, ..TrialHead::default() }),
            Part::Body(vec![b'x'; 300]),
            Part::End(TrialEnd { broken_off: true, ..TrialEnd::default() }),
        ];
        let bytes: Vec<u8> = all
            .iter()
            .flat_map(|part| TrialPart { part: Some(part.clone()) }.encode_length_delimited_to_vec())
            .collect();
        for size in 1..bytes.len() {
            let (mut came, mut read) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(size) {
                came.extend_from_slice(piece);
                while let Some(part) = next(&mut came).expect("parts") {
                    read.push(part);
                }
            }
            assert_eq!(read, all, "{size}");
            assert!(came.is_empty());
        }
    }

    #[test]
    fn what_is_no_part_or_too_long_is_an_error() {
        for bad in [&[0xff; 11][..], b"\xff\xff\xff\xff\x0fxx", b"\x02\xff\xff", b"\x00"] {
            assert!(next(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
    }
}
