//! The requests that a rule or a meter matches: flags and text.

use anyhow::Result;
use clap::Args;
use rr_contract::wire::fleet;

use crate::fault;

/// The values of the flags, the same for rules and meters.
pub(crate) struct Typed {
    /// What the flags begin with.
    begin: &'static str,
    /// Drops the old conditions.
    pub(crate) every: bool,
    pub(crate) methods: Vec<String>,
    pub(crate) path: Option<String>,
    pub(crate) path_absent: bool,
    pub(crate) headers: Vec<String>,
    pub(crate) query: Vec<String>,
    pub(crate) body: Vec<String>,
    /// Flags of every pattern; `None` leaves those that are there as they are.
    pub(crate) flags: Option<String>,
}

/// The requests that a rule matches.
#[derive(Args, Clone)]
pub(crate) struct When {
    /// Matches every request: drops the old conditions. Conditions that are given with it apply. A new rule needs this
    /// or a condition.
    #[arg(long)]
    every_request: bool,
    /// HTTP method; can be repeated.
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,
    /// Regular expression that is searched for in the path; ^ and $ anchor it.
    #[arg(long, value_name = "REGEX")]
    path: Option<String>,
    /// Negates --path: matches paths in which the expression is not found.
    #[arg(long, requires = "path")]
    path_absent: bool,
    /// Header whose name and value match these regular expressions, as `^x-env$=^test`; `!` before it: no such header.
    /// Can be repeated; all must match.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// The same for a parameter of the query.
    #[arg(long, value_name = "NAME=VALUE")]
    query: Vec<String>,
    /// Field of a JSON body whose value matches this regular expression, as `user.role=^admin$`; `!` before it: no such
    /// field. Can be repeated; all must match.
    #[arg(long, value_name = "PATH=REGEX")]
    body: Vec<String>,
    /// Flags of all its regular expressions, also of those that it has: `i` ignores case, `m` lets ^ and $ match at
    /// lines, `s` lets . match line ends; empty for none. A condition that is replaced without it keeps its flags. For one
    /// expression alone, write `(?i)` into it.
    #[arg(long, value_name = "FLAGS", value_parser = regex_flags)]
    flags: Option<String>,
}

/// The requests that a meter counts.
#[derive(Args, Clone)]
pub(crate) struct OnlyWhen {
    /// Counts every request: drops the old conditions. Conditions that are given with it apply.
    #[arg(long)]
    every_request: bool,
    /// Counts only this HTTP method; can be repeated.
    #[arg(long = "only-when-method", value_name = "METHOD")]
    methods: Vec<String>,
    /// Counts only requests in whose path this regular expression is found.
    #[arg(long = "only-when-path", value_name = "REGEX")]
    only_path: Option<String>,
    /// Negates --only-when-path: counts requests in whose path the expression is not found.
    #[arg(long = "only-when-path-absent", requires = "only_path")]
    path_absent: bool,
    /// Counts only requests with a header whose name and value match these regular expressions; `!` before it: without one.
    #[arg(long = "only-when-header", value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// The same for a parameter of the query.
    #[arg(long = "only-when-query", value_name = "NAME=VALUE")]
    query: Vec<String>,
    /// Counts only requests with a field of a JSON body whose value matches this regular expression; `!` before it:
    /// without one.
    #[arg(long = "only-when-body", value_name = "PATH=REGEX")]
    body: Vec<String>,
    /// Flags of all these regular expressions, also of those that it has: `i` ignores case, `m` lets ^ and $ match at
    /// lines, `s` lets . match line ends; empty for none. A condition that is replaced without it keeps its flags.
    #[arg(long = "only-when-flags", value_name = "FLAGS", value_parser = regex_flags)]
    only_flags: Option<String>,
}

/// Flags of regular expressions, each once.
fn regex_flags(text: &str) -> Result<String, String> {
    let good = text.chars().enumerate().all(|(at, c)| "imsg".contains(c) && text.find(c) == Some(at));
    if good { Ok(text.to_owned()) } else { Err("the flags are i, m and s, each at most once".to_owned()) }
}

impl From<When> for Typed {
    fn from(args: When) -> Self {
        let When { every_request: every, methods, path, path_absent, headers, query, body, flags } = args;
        Self { begin: "--", every, methods, path, path_absent, headers, query, body, flags }
    }
}

impl From<OnlyWhen> for Typed {
    fn from(args: OnlyWhen) -> Self {
        let OnlyWhen {
            every_request: every,
            methods,
            only_path: path,
            path_absent,
            headers,
            query,
            body,
            only_flags: flags,
        } = args;
        Self { begin: "--only-when-", every, methods, path, path_absent, headers, query, body, flags }
    }
}

impl Typed {
    pub(crate) const fn is_given(&self) -> bool {
        self.every || self.flags.is_some() || self.has_condition()
    }

    const fn has_condition(&self) -> bool {
        self.path.is_some()
            || !(self.methods.is_empty()
                && self.headers.is_empty()
                && self.query.is_empty()
                && self.body.is_empty())
    }

    /// Refuses a rule about every request that nobody asked for.
    pub(crate) fn says_which(&self) -> Result<()> {
        if self.every || self.has_condition() {
            return Ok(());
        }
        Err(fault::usage(
            "the rule has no condition",
            "give --method, --path, --header, --query or --body, or --every-request for a rule about every request",
        ))
    }

    /// The old match with the given conditions in place. `None` when no condition is left.
    pub(crate) fn over(self, there: Option<fleet::RequestMatch>) -> Result<Option<fleet::RequestMatch>> {
        let begin = self.begin;
        let mut found = if self.every { fleet::RequestMatch::default() } else { there.unwrap_or_default() };
        if !self.methods.is_empty() {
            found.methods = self.methods.iter().map(|method| method.to_uppercase()).collect();
        }
        if let Some(regex) = self.path {
            let flags = shared_flags(found.path.iter_mut());
            found.path = Some(fleet::Pattern { absent: self.path_absent, flags, ..pattern(&regex) });
        }
        if !self.headers.is_empty() {
            let flags = shared_flags(found.headers.iter_mut().flat_map(of_pair));
            found.headers = pairs(&format!("{begin}header"), &self.headers)?;
            set_flags(found.headers.iter_mut().flat_map(of_pair), &flags);
        }
        if !self.query.is_empty() {
            let flags = shared_flags(found.query.iter_mut().flat_map(of_pair));
            found.query = pairs(&format!("{begin}query"), &self.query)?;
            set_flags(found.query.iter_mut().flat_map(of_pair), &flags);
        }
        if !self.body.is_empty() {
            let flags = shared_flags(found.body.iter_mut().filter_map(|check| check.value.as_mut()));
            found.body =
                self.body.iter().map(|text| body(&format!("{begin}body"), text)).collect::<Result<_>>()?;
            set_flags(found.body.iter_mut().filter_map(|check| check.value.as_mut()), &flags);
        }
        if let Some(flags) = &self.flags {
            let pairs = found.headers.iter_mut().chain(&mut found.query).flat_map(of_pair);
            let bodies = found.body.iter_mut().filter_map(|check| check.value.as_mut());
            let mut patterns = found.path.iter_mut().chain(pairs).chain(bodies).peekable();
            if patterns.peek().is_none() {
                return Err(fault::usage(
                    &format!("{begin}flags is given without a regular expression"),
                    &format!(
                        "give {begin}path, {begin}header, {begin}query or {begin}body with one, or leave it out"
                    ),
                ));
            }
            set_flags(patterns, flags);
        }
        Ok((found != fleet::RequestMatch::default()).then_some(found))
    }
}

fn of_pair(check: &mut fleet::PairCheck) -> impl Iterator<Item = &mut fleet::Pattern> {
    check.name.iter_mut().chain(&mut check.value)
}

fn set_flags<'a>(patterns: impl Iterator<Item = &'a mut fleet::Pattern>, flags: &str) {
    patterns.for_each(|pattern| flags.clone_into(&mut pattern.flags));
}

/// The flags that all these patterns have; none where they differ. What replaces them keeps these: a rule that denies
/// whatever the case must not begin to look at it because its path was changed.
fn shared_flags<'a>(mut patterns: impl Iterator<Item = &'a mut fleet::Pattern>) -> String {
    let Some(first) = patterns.next().map(|pattern| pattern.flags.clone()) else { return String::new() };
    if patterns.all(|pattern| pattern.flags == first) { first } else { String::new() }
}

fn pattern(regex: &str) -> fleet::Pattern {
    fleet::Pattern { regex: regex.to_owned(), ..fleet::Pattern::default() }
}

fn pairs(option: &str, texts: &[String]) -> Result<Vec<fleet::PairCheck>> {
    texts
        .iter()
        .map(|text| {
            let (absent, text) = negated(text);
            let (name, value) =
                text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            if name.is_empty() && value.is_none_or(str::is_empty) {
                return Err(fault::usage(
                    &format!("{option} has neither a name nor a value"),
                    "write it like '^x-env$=^test', or '!^x-env$' for requests without that name",
                ));
            }
            let some = |text: &str| (!text.is_empty()).then(|| pattern(text));
            Ok(fleet::PairCheck { name: some(name), value: value.and_then(some), absent })
        })
        .collect()
}

fn body(option: &str, text: &str) -> Result<fleet::BodyCheck> {
    let (absent, text) = negated(text);
    // A key in brackets may contain the equals sign: `a["b=c"]`.
    let mut depth = 0_u32;
    let split = text.char_indices().find(|(_, c)| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *c == '=' && depth == 0
    });
    let (path, value) = split.map_or((text, None), |(at, _)| (&text[..at], Some(&text[at + 1..])));
    if path.is_empty() {
        return Err(fault::usage(
            &format!("{option} names no field"),
            "write it like 'user.role=^admin$', or '!user.role' for requests without that field",
        ));
    }
    let value = value.filter(|value| !value.is_empty()).map(pattern);
    Ok(fleet::BodyCheck { path: path.to_owned(), value, absent })
}

fn negated(text: &str) -> (bool, &str) {
    text.strip_prefix('!').map_or((false, text), |rest| (true, rest))
}

/// A match in one line.
pub(crate) fn text(found: Option<&fleet::RequestMatch>) -> String {
    let Some(found) = found else { return "every request".to_owned() };
    let mut parts = Vec::new();
    let sign = |absent: bool| if absent { "!" } else { "" };
    let regex = |pattern: &Option<fleet::Pattern>| {
        pattern.as_ref().map(|p| format!("{}{}", p.regex, flags(p))).unwrap_or_default()
    };
    if !found.methods.is_empty() {
        parts.push(found.methods.join("|"));
    }
    if let Some(path) = &found.path {
        parts.push(format!("{}path ~ {}{}", sign(path.absent), path.regex, flags(path)));
    }
    for (what, checks) in [("header", &found.headers), ("query", &found.query)] {
        for check in checks {
            parts.push(format!(
                "{}{what} {}={}",
                sign(check.absent),
                regex(&check.name),
                regex(&check.value)
            ));
        }
    }
    for check in &found.body {
        parts.push(format!("{}body {}={}", sign(check.absent), check.path, regex(&check.value)));
    }
    if parts.is_empty() { "every request".to_owned() } else { parts.join(" and ") }
}

fn flags(pattern: &fleet::Pattern) -> String {
    if pattern.flags.is_empty() { String::new() } else { format!(" ({})", pattern.flags) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed() -> Typed {
        Typed {
            begin: "--",
            every: false,
            methods: Vec::new(),
            path: None,
            path_absent: false,
            headers: Vec::new(),
            query: Vec::new(),
            body: Vec::new(),
            flags: None,
        }
    }

    #[test]
    fn a_part_that_is_not_given_stays_as_it_was() {
        let first = Typed { methods: vec!["post".into()], path: Some("^/v1/".into()), ..typed() };
        let there = first.over(None).expect("a match");
        let second = Typed { headers: vec!["!^x-env$=test".into()], ..typed() };
        let both = second.over(there.clone()).expect("a match");
        assert_eq!(text(both.as_ref()), "POST and path ~ ^/v1/ and !header ^x-env$=test");
        let every = Typed { every: true, ..typed() };
        assert_eq!(every.over(both).expect("a match"), None);
    }

    #[test]
    fn flags_are_of_every_pattern_and_stay_when_a_condition_is_replaced() {
        let first = Typed {
            path: Some("^/admin".into()),
            headers: vec!["^x-env$=^test".into()],
            body: vec!["role=^admin$".into(), "id".into()],
            flags: Some("i".into()),
            ..typed()
        };
        let there = first.over(None).expect("a match");
        assert_eq!(
            text(there.as_ref()),
            "path ~ ^/admin (i) and header ^x-env$ (i)=^test (i) and body role=^admin$ (i) and body id="
        );
        let second = Typed { path: Some("^/root".into()), query: vec!["a=b".into()], ..typed() };
        let both = second.over(there).expect("a match").expect("conditions");
        assert_eq!(both.path.as_ref().map(|path| path.flags.as_str()), Some("i"));
        assert_eq!(both.query[0].value.as_ref().map(|value| value.flags.as_str()), Some(""));
        let none = Typed { flags: Some(String::new()), ..typed() };
        assert!(none.is_given());
        let plain = none.over(Some(both)).expect("a match");
        assert!(!text(plain.as_ref()).contains("(i)"), "{}", text(plain.as_ref()));
    }

    #[test]
    fn flags_that_there_are_not_and_flags_given_twice_are_refused() {
        for good in ["", "i", "ms", "gi"] {
            assert_eq!(regex_flags(good).as_deref(), Ok(good));
        }
        for bad in ["x", "ii", "I", "i m"] {
            assert!(regex_flags(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_may_hold_the_sign_and_so_may_a_key_in_brackets() {
        let headers = pairs("--header", &["a=b=c".into(), "a".into(), "=b".into()]).expect("pairs");
        assert_eq!(headers[0].value.as_ref().map(|p| p.regex.as_str()), Some("b=c"));
        assert_eq!(headers[1].value, None);
        assert_eq!(headers[2].name, None);
        let check = body("--body", r#"a["b=c"].d=^1$"#).expect("a check");
        assert_eq!(
            (check.path.as_str(), check.value.expect("a value").regex.as_str()),
            (r#"a["b=c"].d"#, "^1$")
        );
    }

    #[test]
    fn a_check_of_nothing_is_refused() {
        for text in ["", "=", "!", "!="] {
            assert!(pairs("--header", &[text.into()]).is_err(), "{text}");
            assert!(body("--body", text).is_err(), "{text}");
        }
    }
}
