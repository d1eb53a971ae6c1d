//! Methods as bits, so that a request's method is compared once for all conditions.

/// The methods of a condition; those that have no bit are listed.
#[derive(Debug)]
pub(super) struct Methods {
    bits: u16,
    others: Box<[Box<str>]>,
}

const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];

impl Methods {
    /// None stands for all.
    pub(super) fn new(names: &[String]) -> Self {
        if names.is_empty() {
            return Self { bits: u16::MAX, others: Box::default() };
        }
        let bits = names.iter().map(|name| bit(name)).fold(0, |bits, bit| bits | bit);
        let others = names.iter().filter(|name| bit(name) == 0);
        Self { bits, others: others.map(|name| name.as_str().into()).collect() }
    }

    pub(super) fn bits(&self) -> u16 {
        self.bits
    }

    /// `bit` is that of `name`.
    pub(super) fn has(&self, bit: u16, name: &str) -> bool {
        match bit {
            0 => self.bits == u16::MAX || self.others.iter().any(|other| **other == *name),
            bit => self.bits & bit != 0,
        }
    }
}

/// The bit of a method, 0 where it has none.
pub(super) fn bit(name: &str) -> u16 {
    KNOWN.iter().position(|known| *known == name).map_or(0, |at| 1 << at)
}
