//! What was wrong with an input, field by field: all of them, not only the first.

use std::fmt;

/// One field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as the schema names it: `base_url`, `regions[1]`. Empty for the whole.
    pub field: String,
    /// A fragment that says what is wrong and what would be right. Never repeats a secret.
    pub reason: String,
}

/// An input that breaks rules of the model. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(Vec<Violation>);

impl Invalid {
    /// One field at fault.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self(vec![Violation { field: field.into(), reason: reason.into() }])
    }

    /// Every field at fault.
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            match violation.field.as_str() {
                "" => f.write_str(&violation.reason)?,
                field => write!(f, "{field}: {}", violation.reason)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// How many violations are kept: enough for a person, and what arrives cannot make the answer grow.
const KEPT: usize = 50;

/// Gathers violations while a message is parsed.
#[derive(Debug, Default)]
pub struct Violations {
    kept: Vec<Violation>,
    /// Noted beyond those.
    more: usize,
}

impl Violations {
    /// Notes a fault. Where there are many already, it is only counted.
    pub fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.note(|| Violation { field: field.into(), reason: reason.into() });
    }

    /// The same, for words that are work to find: they are looked for only where they are kept.
    pub fn note(&mut self, fault: impl FnOnce() -> Violation) {
        if self.kept.len() >= KEPT {
            self.more += 1;
            return;
        }
        self.kept.push(fault());
    }

    /// Keeps a good value, or notes why there is none.
    pub fn take<T, E: fmt::Display>(&mut self, field: impl Into<String>, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// A number that is no higher than `most`, or a note that it is.
    pub(crate) fn at_most(&mut self, field: &str, value: u32, most: u16) -> Option<u16> {
        match u16::try_from(value) {
            Ok(value) if value <= most => Some(value),
            _ => {
                self.add(field, format!("is over {most}"));
                None
            }
        }
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The whole, built from the parts, unless something was noted. `build` answers `None` only where
    /// a part is missing, and every missing part was noted.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<T, Invalid> {
        if self.kept.is_empty() {
            if let Some(value) = build() {
                return Ok(value);
            }
            return Err(Invalid::field("", "incomplete"));
        }
        if self.more > 0 {
            let reason = format!("and {} more", self.more);
            self.kept.push(Violation { field: String::new(), reason });
        }
        Err(Invalid(self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_with_endless_faults_gets_a_short_answer_that_says_how_many_there_are() {
        let mut faults = Violations::default();
        for i in 0..100_000 {
            faults.add(format!("wraps[{i}]"), "is wrong");
        }
        let invalid = faults.finish(|| Some(())).expect_err("faults");
        assert_eq!(invalid.violations().len(), KEPT + 1);
        assert!(invalid.to_string().ends_with("; and 99950 more"), "{invalid}");
    }
}
