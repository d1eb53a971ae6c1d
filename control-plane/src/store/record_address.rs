//! Where a store of records is, as a setting says it.
//!
//! Opens nothing.

use std::str::FromStr;

use super::DatabaseAddress;
use super::clickhouse::{ClickHouseAddress, InvalidClickHouse};

/// Where a store of records is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordAddress {
    /// SQLite or PostgreSQL.
    Database(DatabaseAddress),
    /// A database of a ClickHouse server.
    ClickHouse(ClickHouseAddress),
}

/// A text that is no address of a store of records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecordAddress {
    /// It names no engine that there is.
    #[error(
        "not a record store: write postgres://user@host/name, clickhouse+https://user@host:8443/name or sqlite://path"
    )]
    Engine,
    /// It is of ClickHouse, and cannot be used.
    #[error(transparent)]
    ClickHouse(#[from] InvalidClickHouse),
}

impl FromStr for RecordAddress {
    type Err = InvalidRecordAddress;

    fn from_str(text: &str) -> Result<Self, InvalidRecordAddress> {
        if text.starts_with("clickhouse+") {
            return Ok(Self::ClickHouse(text.parse()?));
        }
        text.parse().map(Self::Database).map_err(|_| InvalidRecordAddress::Engine)
    }
}

impl From<DatabaseAddress> for RecordAddress {
    fn from(address: DatabaseAddress) -> Self {
        Self::Database(address)
    }
}

impl std::fmt::Display for RecordAddress {
    /// Without user and password, for logs and errors.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(address) => address.fmt(f),
            Self::ClickHouse(address) => address.fmt(f),
        }
    }
}
