//! The documents of a file: the fields that `rrctl apply` takes, and the two that only a node alone needs.
//!
//! A node is not built with the messages of the management API, so their fields are listed here again;
//! `standalone_schema` in the system tests holds both lists against each other. What only a control plane has a use
//! for is taken and passed over.

use std::path::PathBuf;

use pbjson_types::{Duration, Timestamp};
use rr_wire::fleet::{
    self, Balance, Detector, EchoGuard, Effect, FilterAction, FilterDirection, ForwardedHeaders, MeterFold,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::part::part;
use super::spelling::{
    CallerKind, UpstreamKind, bytes, number, optional_number, seconds, spelled, spelled_list,
};
use super::traffic::{
    CircuitBreaker, Cors, HealthCheck, OutlierEjection, Recording, RetryPolicy, Rewrite, Validation,
};
use super::value_from::ValueFrom;

/// A document with the fields that all kinds have.
macro_rules! document {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            pub id: String,
            pub name: String,
            pub org: String,
            $($(#[$meta])* pub $field: $type,)*
            #[serde(rename = "owner")]
            _owner: IgnoredAny,
            #[serde(rename = "etag")]
            _etag: IgnoredAny,
            #[serde(rename = "created_at")]
            _created_at: IgnoredAny,
            #[serde(rename = "updated_at")]
            _updated_at: IgnoredAny,
            #[serde(rename = "created_by")]
            _created_by: IgnoredAny,
        }
    };
}

document! {
    /// An upstream API.
    Target {
        base_url: String,
        danger_plaintext: bool,
        #[serde(deserialize_with = "seconds")]
        connect_timeout: Option<Duration>,
        #[serde(deserialize_with = "seconds")]
        response_timeout: Option<Duration>,
        #[serde(rename = "test_path")]
        _test_path: IgnoredAny,
        #[serde(deserialize_with = "spelled")]
        default_effect: Effect,
        more_base_urls: Vec<String>,
        #[serde(deserialize_with = "spelled")]
        balance: Balance,
        #[serde(deserialize_with = "seconds")]
        idle_timeout: Option<Duration>,
        #[serde(deserialize_with = "seconds")]
        total_timeout: Option<Duration>,
        outlier_ejection: Option<OutlierEjection>,
        circuit_breaker: Option<CircuitBreaker>,
        health_check: Option<HealthCheck>,
        ca: String,
        min_tls: String,
        http_version: String,
        trace_context: bool,
        validation: Option<Validation>,
    }
}

document! {
    /// What callers present, or what is presented to an upstream.
    Credential {
        #[serde(deserialize_with = "number")]
        version: u64,
        not_after: Option<Timestamp>,
        caller: Option<Caller>,
        upstream: Option<Upstream>,
        #[serde(deserialize_with = "spelled")]
        default_effect: Effect,
        value_from: Option<ValueFrom>,
        jwks_from: Option<JwksFrom>,
        #[serde(rename = "tags")]
        _tags: IgnoredAny,
        #[serde(rename = "metadata")]
        _metadata: IgnoredAny,
        #[serde(rename = "last_used_at")]
        _last_used_at: IgnoredAny,
        /// A secret in the clear, which no file takes.
        plain: Option<IgnoredAny>,
        /// Of each live key of a caller, or of a certificate of one, in hexadecimal, the newest first. A node alone takes it,
        /// `rrctl apply` does not.
        key_hashes: Vec<String>,
    }
}

part! {
    /// How callers present a credential.
    Caller {
        #[serde(deserialize_with = "spelled")]
        kind: CallerKind,
        header: String,
        prefix: String,
        username: String,
        jwt_verify: Option<JwtVerify>,
        certificate: Option<CallerCertificate>,
        /// Of the newest value, where the document does not say where that lies; of a certificate's key, its SHA-256.
        #[serde(deserialize_with = "bytes")]
        value_hash: Vec<u8>,
        /// Of the newest password, as a PHC string.
        password_hash: String,
        /// The secret that verifies tokens.
        sealed: Option<Sealed>,
        #[serde(rename = "sealed_regions")]
        _sealed_regions: IgnoredAny,
        #[serde(rename = "rolled_at")]
        _rolled_at: IgnoredAny,
        /// A node alone takes it, for the second of two keys; `rrctl apply` leaves that to `rrctl credential roll`.
        previous_not_after: Option<Timestamp>,
    }
}

part! {
    /// Which client certificates are a caller's, where its name says it.
    CallerCertificate {
        #[serde(rename = "spki_sha256")]
        _spki_sha256: IgnoredAny,
        #[serde(rename = "previous_spki_sha256")]
        _previous_spki_sha256: IgnoredAny,
        spiffe_id: String,
        ca: String,
    }
}

part! {
    /// Which tokens are taken.
    JwtVerify {
        jwks_url: String,
        jwks: String,
        issuer: String,
        audiences: Vec<String>,
        algorithms: Vec<String>,
        #[serde(deserialize_with = "seconds")]
        leeway: Option<Duration>,
        subject: String,
        scopes: Vec<String>,
        identity_claim: String,
    }
}

part! {
    /// What is presented to an upstream.
    Upstream {
        #[serde(deserialize_with = "spelled")]
        kind: UpstreamKind,
        sealed: Option<Sealed>,
        #[serde(rename = "sealed_regions")]
        _sealed_regions: IgnoredAny,
        #[serde(rename = "label")]
        _label: IgnoredAny,
        #[serde(rename = "previous_not_after")]
        _previous_not_after: IgnoredAny,
    }
}

part! {
    /// A sealed value.
    Sealed {
        #[serde(deserialize_with = "number")]
        envelope: u32,
        #[serde(deserialize_with = "number")]
        suite: u32,
        #[serde(deserialize_with = "bytes")]
        nonce: Vec<u8>,
        #[serde(deserialize_with = "bytes")]
        ciphertext: Vec<u8>,
        #[serde(deserialize_with = "bytes")]
        key_commitment: Vec<u8>,
        wraps: Vec<Wrap>,
    }
}

part! {
    /// The key of a sealed value, for one region.
    Wrap {
        region: String,
        #[serde(deserialize_with = "number")]
        epoch: u32,
        #[serde(deserialize_with = "bytes")]
        encapsulated: Vec<u8>,
        #[serde(deserialize_with = "bytes")]
        sealed_key: Vec<u8>,
        #[serde(deserialize_with = "number")]
        suite: u32,
    }
}

part! {
    /// The source of the keys of an issuer: a JWKS document, or PEM.
    JwksFrom {
        file: PathBuf,
    }
}

document! {
    /// An address at the edge, and what stands behind it.
    Proxy {
        active: Option<bool>,
        caller_credentials: Vec<String>,
        target: String,
        upstream_credential: String,
        #[serde(rename = "regions")]
        _regions: IgnoredAny,
        #[serde(rename = "urls")]
        _urls: IgnoredAny,
        #[serde(rename = "nodes")]
        _nodes: IgnoredAny,
        #[serde(deserialize_with = "spelled")]
        default_effect: Effect,
        #[serde(deserialize_with = "number")]
        deny_status: u32,
        opaque_paths: bool,
        limits: Option<Limits>,
        observe: bool,
        #[serde(deserialize_with = "number")]
        max_request_bytes: u64,
        #[serde(deserialize_with = "number")]
        max_response_bytes: u64,
        limits_per_caller: Option<Limits>,
        limits_per_address: Option<Limits>,
        retry: Option<RetryPolicy>,
        #[serde(deserialize_with = "number")]
        max_concurrent_requests_per_node: u32,
        websocket: bool,
        tunnels_unread: bool,
        client_certificates: bool,
        rewrite: Option<Rewrite>,
        cors: Option<Cors>,
        #[serde(deserialize_with = "spelled")]
        forwarded: ForwardedHeaders,
        #[serde(rename = "test_after_change")]
        _test_after_change: IgnoredAny,
        #[serde(deserialize_with = "spelled")]
        echo_guard: EchoGuard,
        recording: Option<Recording>,
        validation: Option<Validation>,
        #[serde(rename = "over_ceiling")]
        _over_ceiling: IgnoredAny,
    }
}

part! {
    /// How many requests there may be.
    Limits {
        #[serde(deserialize_with = "number")]
        per_minute_per_node: u64,
        #[serde(deserialize_with = "number")]
        per_day_per_node: u64,
    }
}

document! {
    /// Allows or denies requests.
    Rule {
        proxy: Option<String>,
        target: Option<String>,
        credential: Option<String>,
        #[serde(deserialize_with = "spelled")]
        effect: Effect,
        #[serde(deserialize_with = "number")]
        priority: u32,
        when: Option<Match>,
        notes: String,
        observe: bool,
    }
}

part! {
    /// Which requests.
    Match {
        methods: Vec<String>,
        path: Option<Pattern>,
        headers: Vec<PairCheck>,
        query: Vec<PairCheck>,
        body: Vec<BodyCheck>,
    }
}

part! {
    /// A text to be found, or not.
    Pattern {
        regex: String,
        flags: String,
        absent: bool,
    }
}

part! {
    /// A header or a query pair.
    PairCheck {
        name: Option<Pattern>,
        value: Option<Pattern>,
        absent: bool,
    }
}

part! {
    /// A field of a JSON body.
    BodyCheck {
        path: String,
        value: Option<Pattern>,
        absent: bool,
    }
}

document! {
    /// Changes responses or requests.
    Filter {
        proxy: Option<String>,
        target: Option<String>,
        credential: Option<String>,
        #[serde(deserialize_with = "spelled")]
        action: FilterAction,
        paths: Vec<String>,
        #[serde(deserialize_with = "number")]
        order: u32,
        mask: String,
        #[serde(deserialize_with = "spelled_list")]
        detectors: Vec<Detector>,
        patterns: Vec<String>,
        #[serde(deserialize_with = "spelled")]
        direction: FilterDirection,
    }
}

document! {
    /// Counts requests, or numbers of responses.
    Meter {
        proxy: String,
        active: Option<bool>,
        requests: Option<MeterRequests>,
        value: Option<MeterValue>,
        only_when: Option<Match>,
        #[serde(deserialize_with = "number")]
        per_minute_per_node: u64,
        #[serde(deserialize_with = "number")]
        per_hour_per_node: u64,
        #[serde(deserialize_with = "number")]
        per_day_per_node: u64,
        #[serde(deserialize_with = "number")]
        per_month_per_node: u64,
        per_caller: bool,
    }
}

part! {
    /// One for each matching request.
    MeterRequests {}
}

part! {
    /// A number out of the response.
    MeterValue {
        body_path: Option<String>,
        header: Option<String>,
        #[serde(deserialize_with = "number")]
        reserve: u64,
        #[serde(deserialize_with = "optional_number")]
        on_missing: Option<u64>,
        readings: Vec<MeterReading>,
    }
}

part! {
    /// One number of several.
    MeterReading {
        body_paths: Vec<String>,
        header: String,
        #[serde(deserialize_with = "spelled")]
        fold: MeterFold,
    }
}

impl From<MeterReading> for fleet::MeterReading {
    fn from(said: MeterReading) -> Self {
        Self { body_paths: said.body_paths, header: said.header, fold: said.fold.into() }
    }
}

impl From<Sealed> for fleet::SealedSecret {
    fn from(said: Sealed) -> Self {
        let wrap = |wrap: Wrap| fleet::Wrap {
            region: wrap.region,
            epoch: wrap.epoch,
            encapsulated: wrap.encapsulated,
            sealed_key: wrap.sealed_key,
            suite: wrap.suite,
        };
        Self {
            envelope: said.envelope,
            suite: said.suite,
            nonce: said.nonce,
            ciphertext: said.ciphertext,
            key_commitment: said.key_commitment,
            wraps: said.wraps.into_iter().map(wrap).collect(),
        }
    }
}

impl Limits {
    /// Unset where there is none: what means the same has one form.
    pub fn to_wire(said: Option<Self>) -> Option<fleet::Limits> {
        let wire = said.map(|said| fleet::Limits {
            per_minute_per_node: said.per_minute_per_node,
            per_day_per_node: said.per_day_per_node,
        });
        wire.filter(|limits| *limits != fleet::Limits::default())
    }
}

impl From<Pattern> for fleet::Pattern {
    fn from(said: Pattern) -> Self {
        Self { regex: said.regex, flags: said.flags, absent: said.absent }
    }
}

impl From<Match> for fleet::RequestMatch {
    fn from(said: Match) -> Self {
        let pair = |check: PairCheck| fleet::PairCheck {
            name: check.name.map(Into::into),
            value: check.value.map(Into::into),
            absent: check.absent,
        };
        let field = |check: BodyCheck| fleet::BodyCheck {
            path: check.path,
            value: check.value.map(Into::into),
            absent: check.absent,
        };
        Self {
            methods: said.methods,
            path: said.path.map(Into::into),
            headers: said.headers.into_iter().map(pair).collect(),
            query: said.query.into_iter().map(pair).collect(),
            body: said.body.into_iter().map(field).collect(),
        }
    }
}

impl From<JwtVerify> for fleet::CallerJwtVerify {
    fn from(said: JwtVerify) -> Self {
        use fleet::caller_jwt_verify::Keys;

        // Whoever takes the document refuses both, and seals a secret where there is neither.
        let url = (!said.jwks_url.is_empty()).then_some(Keys::JwksUrl(said.jwks_url));
        let keys = if said.jwks.is_empty() { url } else { Some(Keys::Jwks(said.jwks)) };
        let claim = |name: &str, value| fleet::RequiredClaim { name: name.to_owned(), values: vec![value] };
        let subject = (!said.subject.is_empty()).then_some(said.subject);
        let subject = subject.into_iter().map(|subject| claim("sub", subject));
        let scopes = said.scopes.into_iter().map(|scope| claim("scope", scope));
        Self {
            keys,
            issuer: said.issuer,
            audiences: said.audiences,
            algorithms: said.algorithms,
            leeway: said.leeway,
            required_claims: subject.chain(scopes).collect(),
            identity_claim: said.identity_claim,
            previous_shared_secret: None,
        }
    }
}
