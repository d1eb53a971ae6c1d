//! Prints an error with its causes.
//!
//! Our errors never print their source; others do. A cause that the text before it already ends with
//! is left out, so that nothing is said twice.

use std::error::Error;
use std::fmt;

/// Shows `error` and its causes on one line, outermost first, joined by `: `.
///
/// ```
/// warn!(error = %chain(&err), "journal not written");
/// ```
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Load {
        #[error("read {path}")]
        Read { path: &'static str, source: io::Error },
        #[error("start: {0}")]
        Chatty(#[source] Box<Load>),
    }

    fn unreadable() -> Load {
        Load::Read { path: "config", source: io::Error::other("disk gone") }
    }

    #[test]
    fn causes_follow_the_error_on_one_line() {
        assert_eq!(chain(&unreadable()).to_string(), "read config: disk gone");
    }

    #[test]
    fn a_cause_that_was_already_printed_is_not_repeated() {
        let error = Load::Chatty(Box::new(unreadable()));
        assert_eq!(chain(&error).to_string(), "start: read config: disk gone");
    }

    #[test]
    fn an_error_without_a_cause_stands_alone() {
        assert_eq!(chain(&io::Error::other("disk gone")).to_string(), "disk gone");
    }
}
