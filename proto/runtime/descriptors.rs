//! File descriptors of this process: how many there may be.
//!
//! Service managers and shells start programs with a soft limit of 1,024 for the sake of programs that call
//! `select`. Ours do not, so they take what the hard limit gives.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is asked for where the hard limit names no number: the kernel's own limit, unless somebody moved it.
const MANY: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard one. Returns what holds now. A system that does not let us is
/// left as it is: whoever counts descriptors then counts with fewer.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MANY);
    // No limit at all is more than any number.
    let Some(current) = current.filter(|current| *current < wanted) else { return current.unwrap_or(MANY) };
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current.unwrap_or(MANY), limit);
        assert!(maximum.is_none_or(|maximum| maximum == limit));
    }
}
