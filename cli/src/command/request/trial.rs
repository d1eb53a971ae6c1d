//! `rrctl request try`: one request, made as a caller makes it, and what each stage of it decided.
//!
//! The control plane permits that it is explained, and sees nothing of it; the node explains it. The invariants: the key of the
//! caller goes to the edge alone, and in the clear to loopback alone.

mod answer;
mod stages;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::Full;
use rr_contract::secret::Secret;
use rr_contract::trial;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::request_service_client::RequestServiceClient;

use crate::connect::{self, variable};
use crate::once::NewFile;
use crate::print::note;
use crate::session::Session;
use crate::{fault, flags::span, prompt};

/// The variable that holds a caller's key.
const KEY: &str = "RRCTL_CALLER_KEY";
const WITHIN: Duration = Duration::from_secs(30);

pub(super) const EXAMPLES: &str = "\
Examples:
  rrctl request try pay GET /v1/users --caller-key-file app.key
  rrctl request try pay POST /v1/orders --caller-key-file app.key \\
    --data @order.json --header 'content-type: application/json'
  rrctl request try pay GET / --region eu --edge-url https://127.0.0.1:8443 \\
    --edge-ca edge.crt --caller-key-file app.key
  rrctl request try pay GET /v1/users --caller-key-file app.key -o json

The request is a real one: it counts for limits and meters, reaches the upstream and has a record. What is shown
is shown to you alone, by a permission that is good for one request of this proxy and 60 s.";

#[derive(Args)]
pub(crate) struct TryArgs {
    /// Name or id.
    proxy: String,
    /// Method, as GET.
    method: String,
    /// Path behind that of the proxy, with its query, as `/v1/users?page=2`.
    path: String,
    /// Region whose edge is asked, by name or id. Without it the only one of the proxy, or the only one with a base URL.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Where the edge is reached, in the place of the base URL of the region.
    #[arg(long, value_name = "URL")]
    edge_url: Option<String>,
    /// PEM file of the certificate authority that signed the edge's certificate; the authorities of the system when not given.
    #[arg(long, value_name = "FILE")]
    edge_ca: Option<PathBuf>,
    /// File that holds the caller's key or token, sent as `Authorization: Bearer`; `-` is standard input.
    /// RRCTL_CALLER_KEY can hold the key itself.
    #[arg(long, value_name = "FILE")]
    caller_key_file: Option<PathBuf>,
    /// Header as `NAME: VALUE`, or `@FILE` for a line for each; can be repeated. Who uses this machine sees a value that
    /// stands here, and none that is in a file.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// Body, or `@FILE` for that of a file.
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// Longest time until the end of the response, as 500ms or 20s; 30s when not given.
    #[arg(long, value_name = "DURATION", value_parser = span::or_seconds)]
    timeout: Option<Duration>,
    /// New file for the body of the response, whatever its length.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl TryArgs {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let org = session.org()?;
        let method = self.method()?;
        let headers = self.headers()?;
        let body = self.data.as_deref().map(given).transpose()?.unwrap_or_default();
        let mut out = self.out.as_deref().map(|path| NewFile::make(path, 0)).transpose()?;
        let connection = session.endpoint.connect().await?;
        let ask = mg::PermitTrialRequest {
            org: org.clone(),
            proxy: self.proxy.clone(),
            region: self.region.clone().unwrap_or_default(),
        };
        let permitted = RequestServiceClient::new(connection.clone()).permit_trial(ask).await?.into_inner();
        let edge = self.edge(&permitted)?;
        if headers.is_empty() {
            note(&format!(
                "no credential of a caller is sent: --caller-key-file or {KEY} names a key, and --header another credential"
            ));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = target(&permitted.path_prefix, &self.path)?;
        *request.headers_mut() = headers;
        let authority = edge.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let map = request.headers_mut();
        map.insert(HOST, HeaderValue::from_str(authority).context("the host of the edge")?);
        let mut permission = HeaderValue::from_str(&permitted.permission).context("the permission")?;
        permission.set_sensitive(true);
        map.insert(HeaderName::from_static(trial::HEADER), permission);
        let asked = Instant::now();
        let within = self.timeout.unwrap_or(WITHIN);
        let told = answer::ask(&edge, self.edge_ca.as_deref(), request, within, out.as_mut()).await?;
        let took = asked.elapsed();
        if let Some(out) = &mut out {
            out.keep();
        }
        stages::show(session, &connection, &org, permitted.region, told, took).await
    }

    fn method(&self) -> Result<Method> {
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes());
        let known =
            method.ok().filter(|method| ![Method::HEAD, Method::CONNECT, Method::TRACE].contains(method));
        known.ok_or_else(|| {
            fault::usage(
                &format!("method {:?} is none that can be tried", self.method),
                "write it like GET; HEAD, CONNECT, TRACE and WebSockets are not explained",
            )
        })
    }

    fn edge(&self, permitted: &mg::PermitTrialResponse) -> Result<Uri> {
        let (url, from) = match &self.edge_url {
            Some(url) => (url.as_str(), "--edge-url".to_owned()),
            None if permitted.base_url.is_empty() => {
                let region = &permitted.region;
                return Err(fault::usage(
                    &format!("region {region} has no base URL, so nobody knows where its edge is"),
                    &format!(
                        "pass --edge-url URL, or have an operator run `rrctl region update {region} --base-url URL`"
                    ),
                ));
            }
            None => (permitted.base_url.as_str(), format!("the base URL of region {}", permitted.region)),
        };
        connect::edge_url(url, &from)
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut map = HeaderMap::new();
        for given in &self.headers {
            match given.strip_prefix('@') {
                None => add(&mut map, given, "--header")?,
                Some(file) => {
                    let text =
                        std::fs::read_to_string(file).with_context(|| format!("read --header {given}"))?;
                    let lines = text.lines().filter(|line| !line.trim().is_empty());
                    lines.enumerate().try_for_each(|(at, line)| {
                        add(&mut map, line, &format!("line {} of {file}", at + 1))
                    })?;
                }
            }
        }
        if let Some(key) = self.key()? {
            let mut value = HeaderValue::from_bytes(&[b"Bearer ", key.expose().trim_ascii()].concat())
                .map_err(|_| fault::usage("the caller's key is none", "it has characters that no key has"))?;
            value.set_sensitive(true);
            map.insert(AUTHORIZATION, value);
        }
        Ok(map)
    }

    fn key(&self) -> Result<Option<Secret>> {
        match (&self.caller_key_file, variable(KEY)?) {
            (Some(file), _) => {
                prompt::read_known("key of the caller", Some(file), "--caller-key-file").map(Some)
            }
            (None, text) => Ok(text.map(Secret::from)),
        }
    }
}

/// A line with a header.
fn add(map: &mut HeaderMap, line: &str, place: &str) -> Result<()> {
    // Nothing of it is repeated: it may be a secret.
    let bad = || fault::usage(&format!("{place} is no header"), "write it like 'accept: application/json'");
    let (name, value) = line.split_once(':').ok_or_else(bad)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad())?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
    value.set_sensitive(true);
    if name.as_str() == trial::HEADER || name == HOST {
        return Err(fault::usage(&format!("{place} is {name}, which rrctl sets"), "leave it out"));
    }
    map.append(name, value);
    Ok(())
}

/// A text, or what is in a file.
fn given(data: &str) -> Result<Bytes> {
    match data.strip_prefix('@') {
        None => Ok(Bytes::copy_from_slice(data.as_bytes())),
        Some(file) => {
            Ok(std::fs::read(Path::new(file)).with_context(|| format!("read --data {data}"))?.into())
        }
    }
}

/// What is asked for.
fn target(prefix: &str, path: &str) -> Result<Uri> {
    let bad = || fault::usage(&format!("path {path:?} is none"), "write it like /v1/users?page=2, encoded");
    if !path.starts_with('/') || path.contains('#') {
        return Err(bad());
    }
    format!("{prefix}{path}").parse().map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_behind_that_of_the_proxy_and_what_is_none_is_named() {
        let found = target("/api/acme.pay", "/v1/users?page=2").expect("a path");
        assert_eq!(found, "/api/acme.pay/v1/users?page=2");
        for bad in ["v1", "", "/a b", "/a#b", "https://elsewhere/"] {
            let error = format!("{:#}", target("/api/acme.pay", bad).expect_err(bad));
            assert!(error.contains("is none"), "{error}");
        }
    }

    #[test]
    fn what_is_no_header_or_rrctls_own_is_refused_without_its_value() {
        let mut map = HeaderMap::new();
        add(&mut map, "X-Key:  s3cret ", "--header").expect("a header");
        assert_eq!(map["x-key"], "s3cret");
        for bad in
            ["s3cret", "x key: s3cret", "host: s3cret", "requestrocket-trial: s3cret", "x: s3cret\u{7f}"]
        {
            let error = format!("{:#}", add(&mut map, bad, "--header").expect_err(bad));
            assert!(!error.contains("s3cret") && error.contains("--header"), "{error}");
        }
    }
}
