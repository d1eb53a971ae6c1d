//! What was wrong with an input, field by field: all of them, not only the first.

use std::fmt;

/// One field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as the schema names it: `base_url`, `regions[1]`.
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
            write!(f, "{}: {}", violation.field, violation.reason)?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// How many violations are kept: enough for a person, and what arrives cannot make the answer grow.
const KEPT: usize = 64;

/// Gathers violations while a message is parsed.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes a fault, unless there are many already.
    pub fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        if self.0.len() >= KEPT {
            return;
        }
        self.0.push(Violation { field: field.into(), reason: reason.into() });
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

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole, built from the parts, unless something was noted. `build` answers `None` only where
    /// a part is missing, and every missing part was noted.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Invalid> {
        if self.0.is_empty() {
            if let Some(value) = build() {
                return Ok(value);
            }
            return Err(Invalid::field("", "incomplete"));
        }
        Err(Invalid(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_with_endless_faults_gets_a_short_answer() {
        let mut faults = Violations::default();
        for i in 0..100_000 {
            faults.add(format!("wraps[{i}]"), "is wrong");
        }
        let invalid = faults.finish(|| Some(())).expect_err("faults");
        assert_eq!(invalid.violations().len(), KEPT);
    }
}
