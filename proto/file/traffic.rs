//! The parts of documents that say how requests travel: what is done about failures, what is changed on the way,
//! which web pages may call, and what records hold.
//!
//! The same fields as the messages of the schemas, which a node is not built to read from a file.

use pbjson_types::Duration;
use rr_wire::fleet;
use serde::Deserialize;

use super::part::part;
use super::spelling::{number, optional_number, seconds, spelled};

part! {
    /// When a request that failed is sent again.
    RetryPolicy {
        #[serde(deserialize_with = "number")]
        attempts: u32,
        statuses: Vec<u32>,
        #[serde(deserialize_with = "number")]
        budget_percent: u32,
        #[serde(deserialize_with = "seconds")]
        backoff: Option<Duration>,
        #[serde(deserialize_with = "seconds")]
        max_backoff: Option<Duration>,
    }
}

part! {
    /// When a base URL gets no requests for a while.
    OutlierEjection {
        #[serde(deserialize_with = "number")]
        consecutive_failures: u32,
        #[serde(deserialize_with = "seconds")]
        ejection_time: Option<Duration>,
        #[serde(deserialize_with = "number")]
        max_ejected_percent: u32,
    }
}

part! {
    /// When a target gets no requests for a while.
    CircuitBreaker {
        #[serde(deserialize_with = "number")]
        consecutive_failures: u32,
        #[serde(deserialize_with = "seconds")]
        open_for: Option<Duration>,
    }
}

part! {
    /// How base URLs are asked whether they work.
    HealthCheck {
        path: String,
        #[serde(deserialize_with = "seconds")]
        interval: Option<Duration>,
        #[serde(deserialize_with = "seconds")]
        timeout: Option<Duration>,
        #[serde(deserialize_with = "number")]
        unhealthy_after: u32,
        #[serde(deserialize_with = "number")]
        healthy_after: u32,
        #[serde(deserialize_with = "number")]
        max_status: u32,
    }
}

part! {
    /// What is changed in requests and responses.
    Rewrite {
        strip_prefix: String,
        add_prefix: String,
        query: Option<PairEdits>,
        request_headers: Option<PairEdits>,
        response_headers: Option<PairEdits>,
        host: String,
        via: bool,
    }
}

part! {
    /// Changes of headers or parameters.
    PairEdits {
        remove: Vec<String>,
        rename: Vec<Rename>,
        set: Vec<Pair>,
        add: Vec<Pair>,
    }
}

part! {
    /// A new name.
    Rename {
        from: String,
        to: String,
    }
}

part! {
    /// A name and a value.
    Pair {
        name: String,
        value: String,
    }
}

part! {
    /// Calls from web pages.
    Cors {
        origins: Vec<String>,
        methods: Vec<String>,
        headers: Vec<String>,
        exposed_headers: Vec<String>,
        credentials: bool,
        #[serde(deserialize_with = "seconds")]
        max_age: Option<Duration>,
    }
}

part! {
    /// Which records are kept, how surely, and what they hold of paths, headers and queries.
    Recording {
        path_templates: Vec<String>,
        request_headers: Vec<String>,
        response_headers: Vec<String>,
        query_parameters: Vec<String>,
        #[serde(deserialize_with = "optional_number")]
        sample_per_thousand: Option<u64>,
        durable: bool,
    }
}

impl From<Recording> for fleet::Recording {
    fn from(said: Recording) -> Self {
        Self {
            path_templates: said.path_templates,
            request_headers: said.request_headers,
            response_headers: said.response_headers,
            query_parameters: said.query_parameters,
            // What is above every bound stays so.
            sample_per_thousand: said
                .sample_per_thousand
                .map(|share| u32::try_from(share).unwrap_or(u32::MAX)),
            durable: said.durable,
        }
    }
}

impl From<RetryPolicy> for fleet::RetryPolicy {
    fn from(said: RetryPolicy) -> Self {
        Self {
            attempts: said.attempts,
            statuses: said.statuses,
            budget_percent: said.budget_percent,
            backoff: said.backoff,
            max_backoff: said.max_backoff,
        }
    }
}

impl From<OutlierEjection> for fleet::OutlierEjection {
    fn from(said: OutlierEjection) -> Self {
        Self {
            consecutive_failures: said.consecutive_failures,
            ejection_time: said.ejection_time,
            max_ejected_percent: said.max_ejected_percent,
        }
    }
}

impl From<CircuitBreaker> for fleet::CircuitBreaker {
    fn from(said: CircuitBreaker) -> Self {
        Self { consecutive_failures: said.consecutive_failures, open_for: said.open_for }
    }
}

impl From<HealthCheck> for fleet::HealthCheck {
    fn from(said: HealthCheck) -> Self {
        Self {
            path: said.path,
            interval: said.interval,
            timeout: said.timeout,
            unhealthy_after: said.unhealthy_after,
            healthy_after: said.healthy_after,
            max_status: said.max_status,
        }
    }
}

impl From<Rewrite> for fleet::Rewrite {
    fn from(said: Rewrite) -> Self {
        Self {
            strip_prefix: said.strip_prefix,
            add_prefix: said.add_prefix,
            query: said.query.map(Into::into),
            request_headers: said.request_headers.map(Into::into),
            response_headers: said.response_headers.map(Into::into),
            host: said.host,
            via: said.via,
        }
    }
}

impl From<PairEdits> for fleet::PairEdits {
    fn from(said: PairEdits) -> Self {
        let pair = |pair: Pair| fleet::Pair { name: pair.name, value: pair.value };
        let rename = |rename: Rename| fleet::Rename { from: rename.from, to: rename.to };
        Self {
            remove: said.remove,
            rename: said.rename.into_iter().map(rename).collect(),
            set: said.set.into_iter().map(pair).collect(),
            add: said.add.into_iter().map(pair).collect(),
        }
    }
}

impl From<Cors> for fleet::Cors {
    fn from(said: Cors) -> Self {
        Self {
            origins: said.origins,
            methods: said.methods,
            headers: said.headers,
            exposed_headers: said.exposed_headers,
            credentials: said.credentials,
            max_age: said.max_age,
        }
    }
}

part! {
    /// What requests have to be like.
    Validation {
        json_schema: Option<String>,
        openapi: Option<String>,
        methods: Vec<String>,
        #[serde(deserialize_with = "spelled")]
        unlisted: fleet::UnlistedOperations,
    }
}

impl Validation {
    /// As a message; `None` where two documents say it.
    pub fn message(self) -> Option<fleet::Validation> {
        let what = match (self.json_schema, self.openapi) {
            (Some(_), Some(_)) => return None,
            (Some(text), None) => Some(fleet::validation::What::JsonSchema(text)),
            (None, Some(text)) => Some(fleet::validation::What::Openapi(text)),
            (None, None) => None,
        };
        Some(fleet::Validation { what, methods: self.methods, unlisted: self.unlisted.into() })
    }
}
