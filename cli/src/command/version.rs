//! `rrctl version`: the versions of this program, of the control plane and of the nodes.
//!
//! A control plane that does not answer is said and is no error: the version of this program is known all the same.

use std::collections::BTreeMap;

use anyhow::Result;
use rr_contract::wire::management as mg;
use rr_contract::wire::management::installation_service_client::InstallationServiceClient;
use serde::Serialize;

use super::node;
use crate::connect::Connection;
use crate::print::{Printer, Row, note};
use crate::session::{Global, Session};

const OURS: &str = env!("CARGO_PKG_VERSION");

/// One program and its version.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Program {
    pub(super) program: &'static str,
    pub(super) version: String,
    /// How many run it.
    count: usize,
    /// How it differs from this program; empty where it does not.
    pub(super) skew: &'static str,
}

pub(crate) async fn run(global: Global) -> Result<()> {
    let print = Printer::new(global.output);
    let mut programs = vec![Program::of("rrctl", OURS.to_owned(), 1)];
    let asked = async { ask(Session::open(global)?.endpoint.connect().await?).await };
    match asked.await {
        Ok(found) => programs.extend(found),
        Err(error) => note(&format!("the other versions are not known: {error:#}")),
    }
    print.list(&programs)
}

/// The versions of the control plane and of the nodes.
pub(super) async fn ask(connection: Connection) -> Result<Vec<Program>> {
    let mut stub = InstallationServiceClient::new(connection.clone());
    let installation = stub.get_installation(mg::GetInstallationRequest {}).await?.into_inner();
    let mut found = vec![Program::of("rr-control", installation.version, 1)];
    // Tenants see no nodes, and that is no fault of theirs.
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    for node in node::list(connection, "", false, false).await.unwrap_or_default() {
        *nodes.entry(node.build).or_default() += 1;
    }
    found.extend(nodes.into_iter().map(|(build, count)| Program::of("rr-edge", build, count)));
    Ok(found)
}

impl Program {
    fn of(program: &'static str, version: String, count: usize) -> Self {
        let skew = skew(OURS, &version);
        Self { program, version, count, skew }
    }
}

/// How a version stands to this one. Programs of one minor version work together; a node may be older.
fn skew(ours: &str, theirs: &str) -> &'static str {
    let parts = |text: &str| -> Option<(u64, u64, u64)> {
        let mut numbers = text.split(['.', '-', '+']).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    match (parts(ours), parts(theirs)) {
        (Some(ours), Some(theirs)) if (ours.0, ours.1) < (theirs.0, theirs.1) => "newer than this rrctl",
        (Some(ours), Some(theirs)) if (ours.0, ours.1) > (theirs.0, theirs.1) => "older than this rrctl",
        (Some(_), Some(_)) => "",
        _ => "unknown",
    }
}

impl Row for Program {
    const COLUMNS: &'static [&'static str] = &["program", "version", "count", "skew"];

    fn cells(&self) -> Vec<String> {
        vec![self.program.to_owned(), self.version.clone(), self.count.to_string(), self.skew.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_by_its_first_two_numbers() {
        assert_eq!(skew("1.2.3", "1.2.9"), "");
        assert_eq!(skew("1.2.3", "1.10.0"), "newer than this rrctl");
        assert_eq!(skew("1.2.3", "0.9.0"), "older than this rrctl");
        assert_eq!(skew("1.2.3", "1.3.0-rc.1"), "newer than this rrctl");
        assert_eq!(skew("1.2.3", ""), "unknown");
    }
}
