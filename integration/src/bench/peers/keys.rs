//! Keys of callers, for proxies that take whatever text they are given: `sk-` and 45 hexadecimal digits.

use std::fmt::Write as _;

use rr_integration::fleet_100k::Dice;

/// As many as there are callers.
pub(super) struct Keys(Vec<String>);

impl Keys {
    pub(super) fn make(count: usize) -> Self {
        let mut dice = Dice::new(1);
        let mut key = || {
            let mut key = "sk-".to_owned();
            for _ in 0..3 {
                write!(key, "{:015x}", dice.roll() >> 4).expect("a text takes more");
            }
            key
        };
        Self((0..count).map(|_| key()).collect())
    }

    /// The key of the caller in the middle.
    pub(super) fn one(&self) -> &str {
        &self.0[self.0.len() / 2]
    }

    /// Each with the name of its consumer.
    pub(super) fn consumers(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().enumerate().map(|(n, key)| (key.as_str(), format!("consumer-{n:05}")))
    }

    /// A file with one line for each.
    pub(super) fn lines(&self, line: impl Fn(&str, &str) -> String) -> String {
        self.consumers().map(|(key, consumer)| line(key, &consumer)).collect()
    }
}
