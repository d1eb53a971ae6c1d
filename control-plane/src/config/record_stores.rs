//! Record stores as settings name them: each a name and an address, said in place or in a file.
//!
//! Opens none of them. No error repeats an address, which may hold a password.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rr_contract::model::name::Name;

use super::ConfigError;
use crate::document::CENTRAL;
use crate::store::{DatabaseAddress, RecordAddress};

/// By name. Each is another database, and none is the central one.
pub(super) fn resolve(
    central: &DatabaseAddress,
    said: &[String],
    files: &[String],
) -> Result<BTreeMap<String, RecordAddress>, ConfigError> {
    let mut all = BTreeMap::new();
    for (place, pair) in said.iter().enumerate() {
        let (name, url) = split(pair, place, "NAME=URL, as eu=postgres://user@host/name")?;
        add(&mut all, central, name, url)?;
    }
    for (place, pair) in files.iter().enumerate() {
        let (name, path) = split(pair, place, "NAME=FILE, as eu=/etc/requestrocket/eu.url")?;
        let path = PathBuf::from(path);
        let text = fs::read_to_string(&path).map_err(|cause| ConfigError::Read { path, cause })?;
        add(&mut all, central, name, text.lines().next().unwrap_or_default().trim())?;
    }
    Ok(all)
}

fn split<'a>(pair: &'a str, place: usize, form: &str) -> Result<(&'a str, &'a str), ConfigError> {
    let wrong = |name: String, reason: String| ConfigError::RecordStore { name, reason };
    let Some((name, value)) = pair.split_once('=') else {
        return Err(wrong(format!("no. {}", place + 1), format!("has no name: write {form}")));
    };
    if name.parse::<Name>().is_err() || name == CENTRAL {
        let reason = format!(
            "has a name that cannot be one: take at most 63 characters of `a-z`, `0-9` and `-`, and not {CENTRAL:?}, which is the database of --database"
        );
        return Err(wrong(format!("no. {}", place + 1), reason));
    }
    Ok((name, value))
}

fn add(
    all: &mut BTreeMap<String, RecordAddress>,
    central: &DatabaseAddress,
    name: &str,
    url: &str,
) -> Result<(), ConfigError> {
    let wrong = |reason: &str| ConfigError::RecordStore { name: name.to_owned(), reason: reason.to_owned() };
    let address: RecordAddress = url.parse().map_err(|cause| wrong(&format!("is {cause}")))?;
    if matches!(
        (central, &address),
        (DatabaseAddress::Postgres(_), RecordAddress::Database(DatabaseAddress::Sqlite(_)))
    ) {
        return Err(wrong(
            "is a file, which other replicas on the database of --database do not share: take a PostgreSQL database",
        ));
    }
    if address == RecordAddress::from(central.clone()) {
        return Err(wrong("is the database of --database, where records are anyway: leave it out"));
    }
    if all.values().any(|it| *it == address) {
        return Err(wrong("is the database of another record store: take one for each"));
    }
    if all.insert(name.to_owned(), address).is_some() {
        return Err(wrong("is given twice: give it once"));
    }
    Ok(())
}
