//! Connections to the management API: endpoint, token and TLS.
//!
//! A token is sent over plain HTTP only to loopback. One that other users can read is not taken from where `rrctl` keeps it.

use std::env;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::secret::Secret;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Uri;
use tonic::{Request, Status};

use crate::print::note;
use crate::verbose::{Place, Shown};
use crate::{fault, owned};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The address of the management API, the token, and the roots of trust.
pub(crate) struct Endpoint {
    uri: Uri,
    token: Option<Secret>,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// What to look at where nobody answers.
    hint: String,
    /// Shows each call.
    verbose: bool,
    ca: Option<PathBuf>,
}

/// The largest answer of a call that lists what may be large.
pub(crate) const ANSWER_MOST: usize = 64 * 1024 * 1024;

/// A connection that sends the token with every call.
pub(crate) type Connection = InterceptedService<Shown, WithToken>;

impl Endpoint {
    pub(crate) fn new(url: &str, token: Option<Secret>, ca: Option<&Path>) -> Result<Self> {
        let bad = |why: &str| {
            fault::usage(&format!("endpoint {url:?} {why}"), "write it like https://control.example.com:7420")
        };
        if url.contains('@') {
            return Err(fault::usage(
                "the endpoint has a user or a password in it",
                "leave them out: calls are made with a token, from --token-file or RRCTL_TOKEN",
            ));
        }
        let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("has more than scheme, host and port"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?.to_owned();
        let tls = match uri.scheme_str() {
            Some("https") => Some(Arc::new(tls(ca, b"h2")?)),
            Some("http") if is_loopback(&host) => None,
            Some("http") => {
                return Err(fault::usage(
                    &format!("endpoint {url:?} is not on this machine and not https"),
                    "a token may not be sent in the clear over a network; use https",
                ));
            }
            _ => return Err(bad("is neither http nor https")),
        };
        let hint = "is it running, and is --endpoint its management port?".to_owned();
        Ok(Self { uri, token, tls, hint, verbose: false, ca: ca.map(Path::to_owned) })
    }

    /// The same endpoint, with another hint for the case that nobody answers.
    pub(crate) fn with_hint(self, hint: String) -> Self {
        Self { hint, ..self }
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        self.connect_for(CALL_TIMEOUT).await
    }

    /// The same endpoint, which shows each call or not.
    pub(crate) fn with_verbose(self, verbose: bool) -> Self {
        Self { verbose, ..self }
    }

    /// Where calls go, for those who make them with another program; none if nobody asked to see them.
    fn place(&self) -> Option<Place> {
        let address = self.uri.authority()?.to_string();
        let flags = match (&self.tls, &self.ca) {
            (None, _) => "-plaintext".to_owned(),
            (Some(_), Some(ca)) => format!("-cacert {}", ca.display()),
            (Some(_), None) => String::new(),
        };
        self.verbose.then_some(Place { flags, address })
    }

    pub(crate) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// The certificate that the endpoint shows, verified; none without TLS.
    pub(crate) async fn certificate(&self) -> Result<Option<Vec<u8>>> {
        match dial(self.uri.clone(), self.tls.clone()).await?.into_inner() {
            Either::Left(_) => Ok(None),
            Either::Right(tls) => {
                let shown = tls.get_ref().1.peer_certificates().and_then(|shown| shown.first());
                Ok(shown.map(|certificate| certificate.to_vec()))
            }
        }
    }

    /// The same endpoint with another token.
    pub(crate) fn bearing(&self, token: &Secret) -> Self {
        let token = Some(Secret::new(token.expose().to_vec()));
        Self {
            uri: self.uri.clone(),
            token,
            tls: self.tls.clone(),
            hint: self.hint.clone(),
            verbose: self.verbose,
            ca: self.ca.clone(),
        }
    }

    /// Connects with another limit on the time of a call.
    pub(crate) async fn connect_for(&self, call: Duration) -> Result<Connection> {
        // tonic sends nothing to an https URL over a connection that it did not encrypt itself, where any crate of a build has its
        // TLS switched on. Ours is encrypted below; requests bear the URL as it is.
        let channel = tonic::transport::Endpoint::from(without_tls(&self.uri)?)
            .origin(self.uri.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(call)
            .user_agent(concat!("rrctl/", env!("CARGO_PKG_VERSION")))?;
        let (uri, tls) = (self.uri.clone(), self.tls.clone());
        let channel = channel
            .connect_with_connector(tower::service_fn(move |_: Uri| dial(uri.clone(), tls.clone())))
            .await
            .map_err(|error| fault::unreachable(&self.uri, &error, &self.hint))?;
        let token = match &self.token {
            Some(token) => {
                let text = std::str::from_utf8(token.expose()).context("token is not text")?;
                let mut value: MetadataValue<Ascii> = format!("Bearer {text}")
                    .parse()
                    .context("the token contains characters that cannot be in a token")?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(InterceptedService::new(Shown::new(channel, self.place()), WithToken(token)))
    }
}

/// The same URL as `http`.
fn without_tls(uri: &Uri) -> Result<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    Ok(Uri::from_parts(parts)?)
}

/// Adds the token to each call.
#[derive(Clone)]
pub(crate) struct WithToken(Option<MetadataValue<Ascii>>);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A TCP connection, or TLS over one.
pub(crate) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

async fn dial(uri: Uri, tls: Option<Arc<rustls::ClientConfig>>) -> std::io::Result<TokioIo<Io>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let io = match tls {
        None => Either::Left(tcp),
        Some(config) => {
            let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
            Either::Right(Box::new(TlsConnector::from(config).connect(name, tcp).await?))
        }
    };
    Ok(TokioIo::new(io))
}

/// Over TLS, with this protocol.
fn tls(ca: Option<&Path>, protocol: &[u8]) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    match ca {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path)
                .with_context(|| format!("read certificate authority {}", path.display()))?;
            for certificate in certificates {
                roots.add(certificate.with_context(|| format!("read {}", path.display()))?)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// Where an edge is; `from` says who said so. Credentials of callers go there.
pub(crate) fn edge_url(url: &str, from: &str) -> Result<Uri> {
    let bad = |why: &str| {
        fault::usage(&format!("{from} is {url:?}, which {why}"), "write it like https://edge.example.com")
    };
    let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
    if !matches!(uri.path(), "/" | "") || uri.query().is_some() || url.contains('@') {
        return Err(bad("has more than scheme, host and port"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(host) => Ok(uri),
        Some("http") => Err(fault::usage(
            &format!("{from} is {url:?}, which is not on this machine and not https"),
            "a caller's key may not be sent in the clear over a network: name an https URL with --edge-url",
        )),
        _ => Err(bad("is neither http nor https")),
    }
}

/// A connection to an edge, for HTTP/1.1.
pub(crate) async fn edge(url: &Uri, ca: Option<&Path>) -> Result<TokioIo<Io>> {
    let tls = match url.scheme_str() {
        Some("https") => Some(Arc::new(tls(ca, b"http/1.1")?)),
        _ => None,
    };
    Ok(dial(url.clone(), tls).await?)
}

/// A file with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenFile {
    /// Of a context, or in the configuration folder. Nobody else may read or replace it.
    Kept(PathBuf),
    /// Named by hand. A pipeline may have written it with a mode that nobody there chose, so it is only told of.
    Named(PathBuf),
}

impl TokenFile {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Named(path) => path,
        }
    }
}

/// The token in RRCTL_TOKEN, or else in a file.
pub(crate) fn token(file: Option<&TokenFile>) -> Result<Option<Secret>> {
    match variable("RRCTL_TOKEN")? {
        Some(text) if !text.trim().is_empty() => Ok(Some(Secret::from(text.trim().to_owned()))),
        _ => file.map(read_token).transpose(),
    }
}

/// A variable that is set and not empty. One that is no text is an error: what it was to name is not known.
pub(crate) fn variable(name: &str) -> Result<Option<String>> {
    match env::var_os(name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => value.into_string().map(Some).map_err(|_| {
            fault::usage(&format!("{name} is not text (UTF-8)"), "set it to a text, or unset it")
        }),
    }
}

fn read_token(file: &TokenFile) -> Result<Secret> {
    let path = file.path();
    let place = || format!("read token file {}; `rrctl login` and `rrctl dev` write one", path.display());
    let found = std::fs::metadata(path).with_context(place)?;
    let bytes = match file {
        TokenFile::Kept(path) => owned::read_secret(path).context("the token file")?,
        TokenFile::Named(_) => {
            // A pipe has no mode to speak of, and the token of a service may be of another user.
            if found.is_file()
                && found.mode() & 0o077 != 0
                && let Err(exposure) = RealDisk.read_private(path).with_context(place)?
            {
                note(&format!("the token file {exposure}"));
            }
            std::fs::read(path).with_context(place)?
        }
    };
    let token = Secret::new(bytes.trim_ascii().to_vec());
    if token.is_empty() {
        anyhow::bail!("token file {} is empty", path.display());
    }
    Ok(token)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_that_is_kept_is_read_where_nobody_else_can_and_one_that_was_named_anyway() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "rr_token_1\n").expect("a file");
        for (mode, is_private) in [(0o600, true), (0o640, false), (0o666, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
            let kept = read_token(&TokenFile::Kept(path.clone()));
            assert_eq!(kept.is_ok(), is_private, "{mode:o}");
            if let Err(error) = kept {
                assert!(format!("{error:#}").contains("chmod 600"), "{error:#}");
            }
            let named = read_token(&TokenFile::Named(path.clone())).expect("is read");
            assert_eq!(named.expose(), b"rr_token_1");
        }
    }
}
