//! How much may go from a region's nodes at once before somebody has to mean it.
//!
//! One rule for both planes: the control plane asks whoever writes, and a node refuses what nobody was asked about.

/// So many resources may always go.
const ALWAYS: u64 = 50;
/// And so many hundredths of what is held.
const PERCENT: u64 = 30;

/// Whether so many removals need somebody's word, where so many resources are held.
pub const fn is_mass(removals: u64, held: u64) -> bool {
    removals > ALWAYS && removals.saturating_mul(100) > held.saturating_mul(PERCENT)
}

#[cfg(test)]
mod tests {
    use super::is_mass;

    #[test]
    fn a_few_or_a_small_part_may_go_and_both_bounds_are_within() {
        for (removals, held) in [(0, 0), (50, 50), (50, 1), (60, 200), (300, 1_000), (1, u64::MAX)] {
            assert!(!is_mass(removals, held), "{removals} of {held}");
        }
        for (removals, held) in [(51, 51), (51, 100), (61, 200), (301, 1_000), (u64::MAX, u64::MAX / 200)] {
            assert!(is_mass(removals, held), "{removals} of {held}");
        }
    }
}
