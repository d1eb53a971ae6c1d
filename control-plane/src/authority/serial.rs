//! Serial numbers of nodes' certificates. They say in which order the certificates of one node were issued, so that a
//! copy of a node shows: it comes with one that is too old.
//!
//! Reads and keeps nothing: the row of the node does.

use std::fmt;

use data_encoding::HEXLOWER;
use rr_contract::seam::{Entropy, draw};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// 20 octets are the most that a serial number may have. The first of ours keeps it positive and tells it from those
/// that were issued before there were generations, which have 16 at the most.
const LENGTH: usize = 20;
const FORM: u8 = 0x40;
/// Where the random part starts, behind the generation.
const RANDOM: usize = 8;

/// Of one certificate of a node.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Serial(Vec<u8>);

/// What the serial of the certificate that a node shows says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing was noted of the node yet: it joined before serials were.
    First,
    /// It is the last that was issued.
    Newest,
    /// It is the one before: the answer with the last one was lost.
    Before,
    /// It is newer than the last that is known here: the database was set back.
    Ahead,
    /// It is older: another process renewed with it, and both are there.
    Copy,
}

impl Serial {
    /// The one to issue after another; `None`: the first of a node.
    pub(crate) fn after(before: Option<&Self>, entropy: &dyn Entropy) -> Self {
        let generation = before.map_or(0, Self::generation) + 1;
        let mut serial = Vec::with_capacity(LENGTH);
        serial.extend_from_slice(&generation.to_be_bytes());
        // 2^56 renewals are never reached.
        serial[0] = FORM;
        serial.extend_from_slice(&draw::<{ LENGTH - RANDOM }>(entropy));
        Self(serial)
    }

    /// As it is kept.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }

    /// Of a certificate; `None`: it is none.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self::of_bytes(parsed.raw_serial()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many were issued to the node up to it; 0 for one of before.
    pub(crate) fn generation(&self) -> u64 {
        match self.0.first_chunk::<RANDOM>() {
            Some(head) if self.0.len() == LENGTH && head[0] == FORM => {
                u64::from_be_bytes(*head) & 0x00ff_ffff_ffff_ffff
            }
            _ => 0,
        }
    }

    /// What it says of the node that shows it, where these are the last that was issued to the node and the one before.
    pub(crate) fn beside(&self, newest: Option<&Self>, before: Option<&Self>) -> Shown {
        match newest {
            None => Shown::First,
            Some(newest) if newest == self => Shown::Newest,
            Some(_) if before == Some(self) => Shown::Before,
            Some(newest) if newest.generation() < self.generation() => Shown::Ahead,
            Some(_) => Shown::Copy,
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::seam::SystemEntropy;

    use super::*;

    fn after(before: &Serial) -> Serial {
        Serial::after(Some(before), &SystemEntropy)
    }

    #[test]
    fn the_last_two_serials_are_good_an_older_one_is_a_copy_and_a_newer_one_is_of_a_database_set_back() {
        let first = Serial::after(None, &SystemEntropy);
        let second = after(&first);
        let (third, lost) = (after(&second), after(&second));
        assert_eq!([first.generation(), second.generation(), third.generation()], [1, 2, 3]);
        let beside = |shown: &Serial| shown.beside(Some(&third), Some(&second));
        assert_eq!(beside(&third), Shown::Newest);
        assert_eq!(beside(&second), Shown::Before);
        assert_eq!(beside(&first), Shown::Copy);
        assert_eq!(beside(&lost), Shown::Copy, "another of the same number");
        assert_eq!(beside(&after(&third)), Shown::Ahead);
        assert_eq!(first.beside(None, None), Shown::First);
    }

    /// They were random, and one of them would look newer than all that come.
    #[test]
    fn a_serial_of_before_there_were_generations_is_older_than_each_that_came_since() {
        let old = Serial::of_bytes(&[0, 0x7f, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(old.as_bytes()[0], 0x7f, "zeros in front are no part of a number");
        let first = after(&old);
        assert_eq!((old.generation(), first.generation()), (0, 1));
        assert_eq!(old.beside(Some(&first), Some(&old)), Shown::Before);
        assert_eq!(old.beside(Some(&after(&first)), Some(&first)), Shown::Copy);
    }
}
