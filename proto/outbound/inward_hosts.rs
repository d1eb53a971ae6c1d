//! The list of hosts that lead inwards, for tests of all that connects.

use std::net::IpAddr;

const LIST: &str = include_str!("inward_hosts.txt");

/// A host, and how it is refused.
pub(crate) struct Inward {
    /// As somebody writes it into a URL.
    pub(crate) host: &'static str,
    /// It is no base URL, so that no address is ever judged.
    pub(crate) is_no_url: bool,
    /// For a name: what the name server answers.
    pub(crate) addresses: Vec<IpAddr>,
}

pub(crate) fn inward_hosts() -> Vec<Inward> {
    let rows = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let row = |line: &'static str| {
        let mut words = line.split_whitespace();
        let host = words.next().expect("a host");
        let is_no_url = match words.next() {
            Some("url") => true,
            Some("guard") => false,
            other => panic!("{host}: who refuses it? {other:?}"),
        };
        Inward { host, is_no_url, addresses: words.map(|word| word.parse().expect("an address")).collect() }
    };
    rows.map(row).collect()
}
