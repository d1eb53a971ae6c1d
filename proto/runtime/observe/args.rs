//! What a person can say about logs and telemetry, in flags, environment or a file.
//!
//! Holds no defaults: every field may be missing, so that the places can be laid over each other.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use url::{Host, Url};

/// Settings of logs and telemetry, alike for every program.
///
/// Flatten it into the program's arguments, and nest it as a table of its own in the program's file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[command(next_help_heading = "Logs and telemetry")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ObserveArgs {
    /// How log lines on stderr look [default: human on a terminal, json elsewhere]
    #[arg(long, env = "RR_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: a level, or directives such as info,rr_control_plane=debug [default: info]
    #[arg(long, env = "RR_LOG_LEVEL", value_name = "DIRECTIVES")]
    pub log_level: Option<String>,
    /// OTLP/gRPC collector that gets traces, metrics and logs [default: none]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<OtlpCollector>,
    /// File with headers for the collector, one `name: value` a line, to which nobody else has access [default: none]
    #[arg(long, env = "RR_OTLP_HEADERS_FILE", value_name = "FILE")]
    pub otlp_headers_file: Option<PathBuf>,
}

impl ObserveArgs {
    /// These settings, with those of `other` where nothing is said here.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            log_format: self.log_format.or(other.log_format),
            log_level: self.log_level.or(other.log_level),
            otlp_endpoint: self.otlp_endpoint.or(other.otlp_endpoint),
            otlp_headers_file: self.otlp_headers_file.or(other.otlp_headers_file),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for a person to read.
    Human,
    /// One JSON object a line.
    Json,
}

/// Where a collector listens for OTLP/gRPC: http or https, with a host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OtlpCollector(Url);

/// The URL is not one of a collector.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCollector {
    /// It is no URL.
    #[error("not a URL")]
    Url(#[from] url::ParseError),
    /// It is a URL of something else.
    #[error("scheme {scheme:?}, where http or https is needed")]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
}

impl OtlpCollector {
    /// The URL, as the transport takes it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether what goes there cannot be read on the way.
    pub(super) fn is_private(&self) -> bool {
        let is_loopback = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.is_https() || is_loopback
    }
}

impl FromStr for OtlpCollector {
    type Err = InvalidCollector;

    fn from_str(text: &str) -> Result<Self, InvalidCollector> {
        // These two schemes never parse without a host.
        let url = Url::parse(text)?;
        match url.scheme() {
            "http" | "https" => Ok(Self(url)),
            scheme => Err(InvalidCollector::Scheme { scheme: scheme.to_owned() }),
        }
    }
}

impl TryFrom<String> for OtlpCollector {
    type Error = InvalidCollector;

    fn try_from(text: String) -> Result<Self, InvalidCollector> {
        text.parse()
    }
}

impl fmt::Display for OtlpCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        observe: ObserveArgs,
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_fills_the_rest() {
        let flags = Program::try_parse_from(["program", "--log-format=json"]).expect("known flags").observe;
        let file: ObserveArgs =
            serde_json::from_str(r#"{"log-format": "human", "otlp-endpoint": "https://collector:4317"}"#)
                .expect("known keys");
        let merged = flags.or(file);
        assert_eq!(merged.log_format, Some(LogFormat::Json));
        assert_eq!(merged.otlp_endpoint.map(|url| url.to_string()), Some("https://collector:4317/".into()));
        assert_eq!(merged.log_level, None);
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let err = serde_json::from_str::<ObserveArgs>(r#"{"log_levle": "debug"}"#).expect_err("misspelt");
        assert!(err.to_string().contains("log_levle"), "{err}");
    }

    #[test]
    fn only_http_urls_are_collectors() {
        assert!("http://127.0.0.1:4317".parse::<OtlpCollector>().is_ok());
        for text in ["", "collector", "localhost:4317", "grpc://collector:4317", "http://"] {
            assert!(text.parse::<OtlpCollector>().is_err(), "{text:?}");
        }
    }
}
