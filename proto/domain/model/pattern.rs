//! Patterns: regular expressions that a node can run in linear time, checked and not yet compiled.
//!
//! Refuses what would need backtracking, and what would compile to something large, and says in which column.
//! What a pattern costs is counted here on its syntax alone, so that both planes agree on it.

use std::fmt;

use regex_syntax::ParserBuilder;
use regex_syntax::ast::ErrorKind;
use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;

/// The longest pattern, in bytes.
pub const REGEX_MAX: usize = 1024;
/// How much a pattern may weigh: a byte of text weighs 1, a class the byte ranges it is made of, and
/// repetitions multiply. About the states of the automaton.
pub const WEIGHT_MAX: u32 = 80_000;
/// How deep groups may be nested.
pub const NESTING_MAX: u32 = 64;

/// `i`, `m` and `s`, as in JavaScript.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags {
    /// Letters match without regard to case.
    pub ignore_case: bool,
    /// `^` and `$` match at line ends too.
    pub multi_line: bool,
    /// `.` matches a line end too.
    pub dot_all: bool,
}

/// A regular expression that can be run. Not anchored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    regex: Box<str>,
    flags: Flags,
    weight: u32,
}

/// A text that is no pattern, and the column, counted in characters from 1, where it goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It is not there.
    #[error("is empty; leave the pattern out to match everything")]
    Empty,
    /// It is long.
    #[error("is longer than {REGEX_MAX} bytes")]
    TooLong,
    /// `(?=`, `(?!`, `(?<=` or `(?<!`.
    #[error(
        "has look-around at column {column} of {regex:?}, which no linear-time engine has; \
         say what must not be there in a check of its own with `absent`, or in a rule that denies"
    )]
    LookAround {
        /// The column of the fault, from 1.
        column: usize,
        /// The whole pattern.
        regex: String,
    },
    /// `\1`, `\k<name>`.
    #[error(
        "has a back-reference at column {column} of {regex:?}, which no linear-time engine has; \
         write the alternatives out"
    )]
    BackReference {
        /// The column of the fault, from 1.
        column: usize,
        /// The whole pattern.
        regex: String,
    },
    /// Another fault of syntax.
    #[error("is wrong at column {column} of {regex:?}: {fault}")]
    Syntax {
        /// The column of the fault, from 1.
        column: usize,
        /// The whole pattern.
        regex: String,
        /// The fault.
        fault: String,
    },
    /// It would compile to something large.
    #[error(
        "weighs {weight}, and {WEIGHT_MAX} is the most that is run: {regex:?}; repeat less, or narrow its classes: \
         [0-9a-z] weighs less than \\w"
    )]
    TooLarge {
        /// How much it weighs.
        weight: u64,
        /// The whole pattern.
        regex: String,
    },
}

/// A text that is no set of flags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("has {0:?}; flags are a subset of `ims`, and `g` means nothing")]
pub struct InvalidFlags(char);

impl Flags {
    /// Reads `ims`; `g` is taken and means nothing.
    pub fn parse(text: &str) -> Result<Self, InvalidFlags> {
        let mut flags = Self::default();
        for flag in text.chars() {
            match flag {
                'i' => flags.ignore_case = true,
                'm' => flags.multi_line = true,
                's' => flags.dot_all = true,
                'g' => {}
                other => return Err(InvalidFlags(other)),
            }
        }
        Ok(flags)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (on, flag) in [(self.ignore_case, "i"), (self.multi_line, "m"), (self.dot_all, "s")] {
            if on {
                f.write_str(flag)?;
            }
        }
        Ok(())
    }
}

impl Pattern {
    /// Checks a pattern.
    pub fn new(regex: &str, flags: Flags) -> Result<Self, InvalidPattern> {
        if regex.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if regex.len() > REGEX_MAX {
            return Err(InvalidPattern::TooLong);
        }
        // With capitals and small letters a pattern can only weigh more.
        let hir = parse(regex, Flags { ignore_case: true, ..flags })?;
        match weight(&hir) {
            weight if weight > u64::from(WEIGHT_MAX) => {
                Err(InvalidPattern::TooLarge { weight, regex: regex.to_owned() })
            }
            weight => Ok(Self { regex: regex.into(), flags, weight: weight as u32 }),
        }
    }

    /// As it was written.
    pub fn regex(&self) -> &str {
        &self.regex
    }

    /// Its flags.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// How much it weighs, at the most [`WEIGHT_MAX`].
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The shortest and the longest text that it can find, in bytes. `None`: none at all, or of any length.
    pub fn found_lengths(&self) -> (Option<usize>, Option<usize>) {
        let hir = self.hir(self.flags);
        (hir.properties().minimum_len(), hir.properties().maximum_len())
    }

    /// Its syntax, under other flags than its own where `flags` says so.
    pub fn hir(&self, flags: Flags) -> Hir {
        parse(&self.regex, flags).expect("was parsed when it was made, and no flag makes it wrong")
    }
}

fn parse(regex: &str, flags: Flags) -> Result<Hir, InvalidPattern> {
    ParserBuilder::new()
        .nest_limit(NESTING_MAX)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_all)
        .build()
        .parse(regex)
        .map_err(|error| fault(regex, &error))
}

fn fault(regex: &str, error: &regex_syntax::Error) -> InvalidPattern {
    let (offset, text, kind) = match error {
        regex_syntax::Error::Parse(error) => {
            (error.span().start.offset, error.kind().to_string(), Some(error.kind()))
        }
        regex_syntax::Error::Translate(error) => (error.span().start.offset, error.kind().to_string(), None),
        _ => (0, "cannot be read".to_owned(), None),
    };
    let rest = regex.get(offset..).unwrap_or_default();
    let column = regex.get(..offset).unwrap_or_default().chars().count() + 1;
    let regex = regex.to_owned();
    match kind {
        Some(ErrorKind::UnsupportedLookAround) => InvalidPattern::LookAround { column, regex },
        Some(ErrorKind::UnsupportedBackreference) => InvalidPattern::BackReference { column, regex },
        _ if rest.starts_with("\\k") => InvalidPattern::BackReference { column, regex },
        _ => InvalidPattern::Syntax { column, regex, fault: text },
    }
}

/// Nesting is bounded, so this returns.
fn weight(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges().iter();
            ranges.flat_map(|range| Utf8Sequences::new(range.start(), range.end())).count() as u64
        }
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
            weight(&repetition.sub).saturating_add(1).saturating_mul(times)
        }
        HirKind::Capture(capture) => weight(&capture.sub).saturating_add(2),
        HirKind::Concat(subs) | HirKind::Alternation(subs) => {
            subs.iter().map(weight).fold(1, u64::saturating_add)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(regex: &str) -> InvalidPattern {
        Pattern::new(regex, Flags::default()).expect_err(regex)
    }

    #[test]
    fn look_around_is_refused_with_its_column_and_a_way_out() {
        for (regex, wanted) in
            [("(?=a)b", 1), ("^/a(?!b)", 4), ("x(?<=y)", 2), ("ab(c|(?<!d)e)", 6), ("ä\n(?=b)", 3)]
        {
            let refused = refusal(regex);
            assert!(
                matches!(&refused, InvalidPattern::LookAround { column, .. } if *column == wanted),
                "{regex}: {refused:?}"
            );
            let text = refused.to_string();
            assert!(text.contains(&format!("column {wanted}")) && text.contains("absent"), "{text}");
        }
    }

    #[test]
    fn back_references_are_refused_with_their_column() {
        for (regex, wanted) in [(r"(a)\1", 4), (r"(?<x>a)-\k<x>", 9), (r"é\2", 2)] {
            let refused = refusal(regex);
            assert!(
                matches!(&refused, InvalidPattern::BackReference { column, .. } if *column == wanted),
                "{regex}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_fault_of_syntax_is_named_with_its_column() {
        for (regex, wanted) in [("a(b", 2), ("[z-a]", 2), ("a**b)", 5), (r"\p{Nope}", 1), ("a{3,1}", 2)] {
            let refused = refusal(regex);
            assert!(
                matches!(&refused, InvalidPattern::Syntax { column, .. } if *column == wanted),
                "{regex}: {refused:?}"
            );
        }
    }

    #[test]
    fn what_would_compile_to_something_large_is_refused() {
        // The last only because `k` has three forms where case is ignored, as in names of headers.
        for regex in
            ["(a{1000}){1000}", r"\w{400}", "((((a{30}){30}){30}){30})", r"(\d\w{50}){50}", "(k{1000}){30}"]
        {
            let refused = refusal(regex);
            let InvalidPattern::TooLarge { weight, .. } = refused else { panic!("{regex}: {refused}") };
            let text = refused.to_string();
            for named in [&weight.to_string(), "80000", &format!("{regex:?}"), "repeat less"] {
                assert!(text.contains(named), "{named} in {text}");
            }
        }
        assert_eq!(refusal(""), InvalidPattern::Empty);
        assert_eq!(refusal(&"a".repeat(REGEX_MAX + 1)), InvalidPattern::TooLong);
        assert!(matches!(refusal(&"(".repeat(REGEX_MAX)), InvalidPattern::Syntax { .. }));
        assert!(Pattern::new(r"^[\w.-]{1,64}@\w+\.\w{2,}$", Flags::default()).is_ok());
        assert!(Pattern::new(&"(secret|token)".repeat(70), Flags::default()).is_ok());
    }

    #[test]
    fn g_is_taken_and_unknown_flags_are_not() {
        assert_eq!(Flags::parse("gsi").expect("flags").to_string(), "is");
        assert_eq!(Flags::parse("iy").expect_err("y").to_string(), InvalidFlags('y').to_string());
    }
}
