//! Which records are kept of a proxy's requests, and how surely.
//!
//! Says it; the edge node does it. The invariant: what is sure is whole, so a proxy whose records are waited for leaves none out.

use rr_wire::fleet;

use super::invalid::Violations;

/// Of so many requests a share is said.
pub const ALL: u16 = 1000;

/// What is kept of a proxy's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Of 1000 requests without an error; `None`: all.
    pub sample_per_thousand: Option<u16>,
    /// No request goes on before a record of it is on disk.
    pub durable: bool,
}

impl Keeping {
    pub(crate) fn read(faults: &mut Violations, wire: Option<&fleet::Recording>) -> Self {
        let (share, durable) = wire.map_or((None, false), |wire| (wire.sample_per_thousand, wire.durable));
        let sample_per_thousand = match share.map(u16::try_from) {
            None | Some(Ok(ALL)) => None,
            Some(Ok(share)) if share < ALL => Some(share),
            Some(_) => {
                faults.add("recording.sample_per_thousand", format!("is 0 to {ALL}"));
                None
            }
        };
        if durable && sample_per_thousand.is_some() {
            faults.add("recording.durable", "keeps a record of each request: leave sample_per_thousand out");
        }
        Self { sample_per_thousand, durable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sample_per_thousand: Option<u32>, durable: bool) -> Result<Keeping, Vec<String>> {
        let mut faults = Violations::default();
        let keeping = Keeping::read(
            &mut faults,
            Some(&fleet::Recording { sample_per_thousand, durable, ..Default::default() }),
        );
        faults
            .finish(|| Some(keeping))
            .map_err(|invalid| invalid.violations().iter().map(|violation| violation.field.clone()).collect())
    }

    #[test]
    fn a_share_is_of_a_thousand_and_what_is_sure_is_whole() {
        for (said, wanted) in [(None, None), (Some(1000), None), (Some(0), Some(0)), (Some(999), Some(999))] {
            assert_eq!(read(said, false).expect("it is good").sample_per_thousand, wanted, "{said:?}");
        }
        for said in [1001, 65_536, 66_000, u32::MAX] {
            assert_eq!(
                read(Some(said), false),
                Err(vec!["recording.sample_per_thousand".to_owned()]),
                "{said}"
            );
        }
        assert!(read(None, true).is_ok_and(|it| it.durable) && read(Some(1000), true).is_ok());
        assert_eq!(read(Some(500), true), Err(vec!["recording.durable".to_owned()]));
        assert_eq!(Keeping::read(&mut Violations::default(), None), Keeping::default());
    }
}
