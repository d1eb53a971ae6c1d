//! Which requests a rule or a meter is about, compiled.
//!
//! Where something occurs several times (header, query pair, key, element), the purpose of a condition says how
//! many occurrences have to match, so that what one of them hides is never allowed. The head is looked at first,
//! cheap checks before regular expressions; the body only when all of the head matches. Looking at a head
//! allocates nothing, but where a text is so long that a pattern has to be walked.

use std::sync::Arc;

use rr_domain::model::request_match::{PairCheck, RequestMatch};

use super::pace::HeadWork;
use super::pattern::{Matcher, Patterns, Uncompilable};
use super::request::RequestView;

use self::methods::Methods;
use self::need::Need;
use self::pair::{HeaderLook, QueryLook};

mod body;
mod methods;
mod need;
mod pair;

pub(super) use self::body::{BodyIndex, Look};
pub(super) use self::need::Found;
pub use self::need::Purpose;

/// A compiled condition.
#[derive(Debug)]
pub struct Condition {
    methods: Methods,
    path: Option<PathLook>,
    /// Cheap ones first.
    pairs: Box<[PairLook]>,
    slow_from: usize,
    body: Box<[Look]>,
}

#[derive(Debug)]
struct PathLook {
    matcher: Arc<Matcher>,
    absent: bool,
}

#[derive(Debug)]
enum PairLook {
    Header(HeaderLook),
    Query(QueryLook),
}

/// A request with what every condition asks of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) request: RequestView<'a>,
    /// 0 where the method has no bit.
    pub(super) method: u16,
}

impl<'a> Seen<'a> {
    pub(super) fn new(request: &RequestView<'a>) -> Self {
        Self { request: *request, method: methods::bit(request.method) }
    }
}

impl Condition {
    /// Compiles a condition.
    pub fn compile(
        when: &RequestMatch,
        purpose: Purpose,
        patterns: &mut Patterns,
    ) -> Result<Self, Uncompilable> {
        let path = when
            .path
            .as_ref()
            .map(|path| Ok(PathLook { matcher: patterns.matcher(&path.pattern)?, absent: path.absent }));
        let mut pairs = Vec::with_capacity(when.headers.len() + when.query.len());
        for check in &when.headers {
            let name = check.name.as_ref().map(|name| patterns.header_name(name)).transpose()?;
            let need = Need::new(purpose, check.absent);
            pairs.push(PairLook::Header(HeaderLook::new(name, value(check, patterns)?, need)));
        }
        for check in &when.query {
            let name = check.name.as_ref().map(|name| patterns.matcher(name)).transpose()?;
            let need = Need::new(purpose, check.absent);
            pairs.push(PairLook::Query(QueryLook { name, value: value(check, patterns)?, need }));
        }
        pairs.sort_by_key(PairLook::cost);
        let body = when.body.iter().map(|check| {
            let value = check.value.as_ref().map(|value| patterns.matcher(value)).transpose()?;
            Ok(Look { path: check.path.clone(), value, need: Need::new(purpose, check.absent) })
        });
        Ok(Self {
            methods: Methods::new(&when.methods),
            path: path.transpose()?,
            slow_from: pairs.partition_point(|look| !look.is_slow()),
            pairs: pairs.into(),
            body: body.collect::<Result<_, Uncompilable>>()?,
        })
    }

    /// Whether everything but the body matches; void once the work is over.
    pub(super) fn matches_head(&self, seen: &Seen<'_>, work: &mut HeadWork) -> bool {
        if !self.methods.has(seen.method, seen.request.method) {
            return false;
        }
        let path = |regex: bool, work: &mut HeadWork| match &self.path {
            Some(look) if look.matcher.is_regex() == regex => {
                look.matcher.is_in_text(seen.request.path, work) != look.absent
            }
            _ => true,
        };
        let (cheap, slow) = self.pairs.split_at(self.slow_from);
        let pairs = |looks: &[PairLook], work: &mut HeadWork| {
            looks.iter().all(|look| look.holds(&seen.request, work))
        };
        path(false, work) && pairs(cheap, work) && path(true, work) && pairs(slow, work)
    }

    /// A pattern without which it does not match: that of the path.
    pub(super) fn needs_in_path(&self) -> Option<&Matcher> {
        self.path.as_ref().filter(|look| !look.absent).map(|look| &*look.matcher)
    }

    /// Its methods as bits: without a common bit, no request whose method has one matches.
    pub(super) fn method_bits(&self) -> u16 {
        self.methods.bits()
    }

    /// Whether it can depend on the body.
    pub fn reads_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// Whether it depends on the query.
    pub fn reads_query(&self) -> bool {
        self.pairs.iter().any(|look| matches!(look, PairLook::Query(_)))
    }

    /// What it looks for in a body.
    pub(super) fn looks(&self) -> &[Look] {
        &self.body
    }

    /// Whether a document matches, by what was found of its looks.
    pub(super) fn matches_body(&self, found: &[Found]) -> bool {
        self.body.iter().zip(found).all(|(look, found)| look.need.is_met(*found))
    }
}

fn value(check: &PairCheck, patterns: &mut Patterns) -> Result<Option<Arc<Matcher>>, Uncompilable> {
    check.value.as_ref().map(|value| patterns.matcher(value)).transpose()
}

impl PairLook {
    /// For an order in which what is quick and decides often comes first.
    fn cost(&self) -> (bool, u8) {
        (self.is_slow(), u8::from(matches!(self, Self::Query(_))))
    }

    fn is_slow(&self) -> bool {
        match self {
            Self::Header(look) => look.is_slow(),
            Self::Query(look) => look.is_slow(),
        }
    }

    fn holds(&self, request: &RequestView<'_>, work: &mut HeadWork) -> bool {
        match self {
            Self::Header(look) => look.holds(request.headers, work),
            Self::Query(look) => look.holds(request.query, work),
        }
    }
}
