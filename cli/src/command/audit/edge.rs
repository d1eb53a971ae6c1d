//! The position of an edge node, asked at its own admin port and not through the control plane.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use data_encoding::HEXLOWER_PERMISSIVE;
use http::HeaderValue;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rr_contract::secret::Secret;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::claim::Claim;
use crate::fault;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer. A position is some hundred bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// The part of the answer that is compared.
#[derive(Deserialize)]
struct Position {
    lineage: String,
    revision: u64,
    audit: String,
}

/// What shows the token in this file to an admin port.
pub(super) fn token(path: &Path) -> Result<HeaderValue> {
    let text =
        Secret::new(fs::read(path).with_context(|| format!("read --edge-token-file {}", path.display()))?);
    let shown = Secret::new([b"Bearer ", text.expose().trim_ascii()].concat());
    let mut value = HeaderValue::from_bytes(shown.expose())
        .with_context(|| format!("--edge-token-file {} holds no token", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Asks the node that has this admin port.
pub(super) async fn position(url: &str, token: Option<&HeaderValue>) -> Result<Claim> {
    let bad = || {
        fault::usage(
            &format!("edge {url:?} is not the URL of an admin port"),
            "write it like http://127.0.0.1:7431",
        )
    };
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?;
    if uri.scheme_str() != Some("http") || uri.path() != "/" || uri.query().is_some() {
        return Err(bad());
    }
    let host = host.trim_matches(['[', ']']);
    let asked = ask(host, uri.port_u16().unwrap_or(80), token);
    let body = tokio::time::timeout(TIMEOUT, asked)
        .await
        .with_context(|| format!("edge {url} did not answer within {} s", TIMEOUT.as_secs()))?
        .with_context(|| format!("ask edge {url} for its position; is that its admin port?"))?;
    parse(url, &body)
}

async fn ask(host: &str, port: u16, token: Option<&HeaderValue>) -> Result<Vec<u8>> {
    let tcp = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
    let mut request =
        http::Request::get("/position").header(http::header::HOST, host).body(Empty::<bytes::Bytes>::new())?;
    if let Some(token) = token {
        request.headers_mut().insert(http::header::AUTHORIZATION, token.clone());
    }
    let answered = async {
        let response = sender.send_request(request).await?;
        if response.status() == http::StatusCode::UNAUTHORIZED {
            bail!(
                "it wants a token: pass the file that the node has as --admin-token-file with --edge-token-file"
            );
        }
        if response.status() != http::StatusCode::OK {
            bail!("answered {}", response.status());
        }
        #[expect(clippy::disallowed_methods, reason = "the body is bounded")]
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        Ok(body.map_err(|error| anyhow::anyhow!(error))?.to_bytes().to_vec())
    };
    tokio::pin!(connection, answered);
    // The connection moves bytes only while it is polled beside the request, and may end before the answer is read.
    tokio::select! {
        body = &mut answered => body,
        ended = &mut connection => {
            ended?;
            answered.await
        }
    }
}

fn parse(url: &str, body: &[u8]) -> Result<Claim> {
    let position: Position = serde_json::from_slice(body)
        .with_context(|| format!("position of edge {url}; is that its admin port?"))?;
    let bytes = |text: &str| {
        HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .with_context(|| format!("position of edge {url} contains {text:?}, which is not hexadecimal"))
    };
    Ok(Claim {
        who: format!("edge {url}"),
        asked: true,
        lineage: Some(bytes(&position.lineage)?),
        revision: position.revision,
        audit: bytes(&position.audit)?,
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_node_is_asked_over_http() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        fs::write(&file, "a-token\n").expect("it is ours");
        let shown = token(&file).expect("a token");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let node = async {
            let (mut tcp, _) = listener.accept().await.expect("a caller");
            let mut head = vec![0; 1024];
            let read = tcp.read(&mut head).await.expect("a request");
            assert!(head[..read].starts_with(b"GET /position HTTP/1.1\r\n"));
            assert!(String::from_utf8_lossy(&head[..read]).contains("\r\nauthorization: Bearer a-token\r\n"));
            let body = r#"{"lineage":"0a","revision":7,"audit":"ffEE","digest":"00"}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            tcp.write_all(answer.as_bytes()).await.expect("an answer");
        };
        let (claim, ()) = tokio::join!(position(&url, Some(&shown)), node);
        let claim = claim.expect("a position");
        assert_eq!((claim.revision, claim.audit, claim.lineage), (7, vec![0xff, 0xee], Some(vec![10])));
    }

    #[test]
    fn an_answer_of_something_else_is_named() {
        for body in [
            "not found",
            "{}",
            r#"{"lineage":"0","revision":7,"audit":""}"#,
            r#"{"lineage":"xx","revision":1,"audit":""}"#,
        ] {
            let error = parse("http://edge", body.as_bytes()).expect_err(body);
            assert!(error.to_string().contains("http://edge"), "{error}");
        }
    }
}
