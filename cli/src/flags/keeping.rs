//! Which records are kept of a proxy's requests, and how surely: flags and text.
//!
//! A part that is not given stays as it is, so the whole has to be read first.

use clap::Args;
use rr_contract::wire::fleet::Recording;

/// The whole.
const ALL: u32 = 1000;

/// What is kept.
#[derive(Args)]
pub(crate) struct KeepingArgs {
    /// Of 1000 requests that were answered without an error, how many have a record; 1000 when never given. Denials, refusals,
    /// statuses of 500 and above and answers that broke off always have one, and metrics count every request.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(0..=i64::from(ALL)))]
    sample_per_thousand: Option<u32>,
    /// Whether a request waits until a record of it is on the node's disk. After a second it is refused with 503.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "true|false")]
    durable: Option<bool>,
}

impl KeepingArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.sample_per_thousand.is_some() || self.durable.is_some()
    }

    /// The old with the given parts in place. `None` when no flag was given.
    pub(crate) fn over(&self, there: Option<Recording>) -> Option<Recording> {
        if !self.is_given() {
            return None;
        }
        let mut recording = there.unwrap_or_default();
        if let Some(share) = self.sample_per_thousand {
            recording.sample_per_thousand = (share < ALL).then_some(share);
        }
        if let Some(durable) = self.durable {
            recording.durable = durable;
        }
        Some(recording)
    }
}

/// For a list.
pub(crate) fn text(recording: Option<&Recording>) -> String {
    let (share, durable) = recording.map_or((None, false), |it| (it.sample_per_thousand, it.durable));
    let share = share.map_or_else(|| "all".to_owned(), |share| format!("{share} of {ALL}"));
    if durable { format!("{share}, waited for") } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_not_given_stays_and_the_whole_is_no_share() {
        let args = |sample_per_thousand, durable| KeepingArgs { sample_per_thousand, durable };
        let there = Some(Recording { sample_per_thousand: Some(5), ..Default::default() });
        assert_eq!(args(None, None).over(there.clone()), None);
        let both = args(None, Some(true)).over(there.clone()).expect("given");
        assert_eq!((both.sample_per_thousand, both.durable), (Some(5), true));
        assert_eq!(args(Some(1000), None).over(there), Some(Recording::default()));
        assert_eq!(text(Some(&both)), "5 of 1000, waited for");
        assert_eq!(text(None), "all");
    }
}
