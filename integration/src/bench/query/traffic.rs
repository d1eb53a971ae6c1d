//! A day of one organization's requests.
//!
//! Draws; writes nothing. The invariant: the same seed gives the same requests however often they are drawn.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::model::id::RequestId;
use rr_contract::model::latency::Latencies;
use rr_contract::model::time::{timestamp, wire_duration};
use rr_contract::wire::fleet;
use rr_integration::fleet_100k::Dice;

use super::loader::Value;

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const DAY: i64 = 24 * 60 * MINUTE;
/// A change of the configuration comes so often. Whole minutes: times begin with one.
const REVISION_EVERY: i64 = 180 * MINUTE;
/// Of a path that one request in so many has.
const RARE: usize = 100_000;

/// Who and what requests are of: ids.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub(crate) org: String,
    pub(crate) proxies: Vec<String>,
    pub(crate) callers: Vec<String>,
    pub(crate) rules: Vec<String>,
    /// Seven requests of ten are of the first.
    pub(crate) regions: [String; 2],
    pub(crate) node: String,
    pub(crate) target: String,
    pub(crate) upstream: String,
}

/// How a request ends, and how many of a thousand do.
pub(super) struct Ending {
    pub(super) status: i32,
    pub(super) code: &'static str,
    upstream_status: u32,
    of_a_thousand: usize,
}

const fn ending(status: i32, code: &'static str, upstream_status: u32, of_a_thousand: usize) -> Ending {
    Ending { status, code, upstream_status, of_a_thousand }
}

const GRANTED: &str = "proxy-access-granted";
pub(super) const ENDINGS: [Ending; 9] = [
    ending(200, GRANTED, 200, 880),
    ending(201, GRANTED, 201, 40),
    ending(404, GRANTED, 404, 25),
    ending(401, "proxy-access-denied", 0, 15),
    ending(403, "rule-denied", 0, 12),
    ending(429, "rate-limited", 0, 10),
    ending(503, GRANTED, 503, 8),
    ending(502, "upstream-unreachable", 0, 6),
    ending(504, "upstream-timeout", 0, 4),
];
const REFUSED: usize = 3;
const DENIED: usize = 4;

/// What requests have in common that are in one series: places in the lists of the cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Common {
    pub(super) proxy: usize,
    pub(super) caller: Option<usize>,
    pub(super) region: usize,
    pub(super) ending: usize,
    pub(super) rule: Option<usize>,
}

/// One request.
pub(crate) struct Drawn {
    pub(super) common: Common,
    /// From 1.
    number: i64,
    pub(super) at: i64,
    id: [u8; 16],
    path: String,
    micros: u64,
    bytes: (u64, u64),
    pub(super) revision: i64,
}

/// Requests in the order in which they came.
pub(crate) struct Traffic<'a> {
    cast: &'a Cast,
    dice: Dice,
    begin: i64,
    length: i64,
    count: usize,
    next: usize,
}

impl<'a> Traffic<'a> {
    /// So many, of a time that begins at microseconds since 1970 and is so long.
    pub(crate) fn new(cast: &'a Cast, seed: u64, (begin, length): (i64, i64), count: usize) -> Self {
        Self { cast, dice: Dice::new(seed), begin, length, count, next: 0 }
    }

    /// Of the first so many the more, as it is with people's proxies: the square of an even draw.
    fn skewed(&mut self, end: usize) -> usize {
        let draw = self.dice.below(1 << 20) as f64 / f64::from(1 << 20);
        ((draw * draw * end as f64) as usize).min(end - 1)
    }

    /// From 3 ms on; half within 25 ms, one in a hundred above 300 ms.
    fn micros(&mut self, ending: usize) -> u64 {
        let draw = (self.dice.below(999_999) + 1) as f64 / 1e6;
        let whole = 3_000.0 + 22_000.0 * (draw / (1.0 - draw)).powf(0.6);
        match ENDINGS[ending].status {
            401 | 403 | 429 => (whole / 100.0) as u64,
            504 => 30_000_000 + whole as u64,
            _ => whole.min(29e6) as u64,
        }
    }
}

impl Iterator for Traffic<'_> {
    type Item = Drawn;

    fn next(&mut self) -> Option<Drawn> {
        if self.next == self.count {
            return None;
        }
        let spacing = self.length as f64 / self.count as f64;
        let within = self.dice.below(1024) as f64 / 1024.0;
        let at = self.begin + ((self.next as f64 + within) * spacing) as i64;
        let at = at.min(self.begin + self.length - 1);
        self.next += 1;
        let mut left = self.dice.below(1000);
        let ending = ENDINGS.iter().position(|ending| {
            let found = left < ending.of_a_thousand;
            left = left.saturating_sub(ending.of_a_thousand);
            found
        });
        let ending = ending.unwrap_or(0);
        let proxy = self.skewed(self.cast.proxies.len());
        let rule = match ending {
            DENIED => Some(proxy % self.cast.rules.len()),
            // Where no rule allows, a default does.
            _ if ending != REFUSED && proxy.is_multiple_of(4) => Some((proxy / 4) % self.cast.rules.len()),
            _ => None,
        };
        let caller = self.skewed(self.cast.callers.len());
        let path = match self.dice.below(RARE) {
            0 => "/v1/exports/yearly".to_owned(),
            n => format!("/v1/{}/{}", ["users", "orders", "invoices", "search", "files"][n % 5], n % 977),
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.dice.roll().to_be_bytes());
        id[8..].copy_from_slice(&self.dice.roll().to_be_bytes());
        Some(Drawn {
            common: Common {
                proxy,
                caller: (ending != REFUSED).then_some(caller),
                region: usize::from(self.dice.below(10) >= 7),
                ending,
                rule,
            },
            number: self.next as i64,
            at,
            id,
            path,
            micros: self.micros(ending),
            bytes: (self.dice.below(2_000) as u64, self.dice.below(20_000) as u64),
            revision: 1 + (at - self.begin) / REVISION_EVERY,
        })
    }
}

impl Cast {
    fn caller(&self, common: &Common) -> &str {
        common.caller.map_or("", |caller| &self.callers[caller])
    }

    fn rule(&self, common: &Common) -> &str {
        common.rule.map_or("", |rule| &self.rules[rule])
    }
}

/// Columns of `request_record`, in the order of `Drawn::row`.
pub(crate) const RECORD: [&str; 15] = [
    "id",
    "org",
    "proxy",
    "caller",
    "received_at",
    "stored_at",
    "node",
    "region",
    "status",
    "code",
    "path",
    "rule",
    "arrival",
    "count",
    "record",
];

impl Drawn {
    pub(crate) fn row(self, cast: &Cast) -> Vec<Value> {
        let ending = &ENDINGS[self.common.ending];
        let record = self.record(cast).encode_to_vec();
        let text = |text: &str| Value::Text(text.to_owned());
        vec![
            Value::Text(RequestId::from_random(self.id).text()),
            text(&cast.org),
            text(&cast.proxies[self.common.proxy]),
            text(cast.caller(&self.common)),
            Value::Long(self.at),
            Value::Long(self.at + 400_000),
            text(&cast.node),
            text(&cast.regions[self.common.region]),
            Value::Int(ending.status),
            text(ending.code),
            Value::Text(self.path),
            text(cast.rule(&self.common)),
            Value::Long(self.number),
            Value::Long(1),
            Value::Bytes(record),
        ]
    }

    pub(crate) fn record(&self, cast: &Cast) -> fleet::Record {
        let ending = &ENDINGS[self.common.ending];
        let took = |micros: u64| Some(wire_duration(Duration::from_micros(micros)));
        let received = SystemTime::UNIX_EPOCH + Duration::from_micros(self.at.unsigned_abs());
        let is_asked = ending.code == GRANTED;
        fleet::Record {
            id: RequestId::from_random(self.id).text(),
            received_at: Some(timestamp(received)),
            org: cast.org.clone(),
            proxy: cast.proxies[self.common.proxy].clone(),
            caller_credential: cast.caller(&self.common).to_owned(),
            target: cast.target.clone(),
            upstream_credential: cast.upstream.clone(),
            method: "GET".to_owned(),
            path: self.path.clone(),
            status: ending.status.unsigned_abs(),
            upstream_status: ending.upstream_status,
            code: ending.code.to_owned(),
            duration: took(self.micros),
            upstream_duration: if is_asked { took(self.micros - self.micros / 8) } else { None },
            request_bytes: self.bytes.0,
            response_bytes: self.bytes.1,
            revision: self.revision.unsigned_abs(),
            rules: self.common.rule.map(|rule| fleet::RuleOutcome {
                effect: if self.common.ending == DENIED { fleet::Effect::Deny } else { fleet::Effect::Allow }
                    .into(),
                scope: fleet::Scope::Proxy.into(),
                rule: cast.rules[rule].clone(),
            }),
            decide_duration: took(30),
            ..fleet::Record::default()
        }
    }
}

/// What requests add up to.
#[derive(Default)]
pub(super) struct Amounts {
    pub(super) requests: i64,
    pub(super) request_bytes: i64,
    pub(super) response_bytes: i64,
    pub(super) micros: i64,
    pub(super) longest: i64,
    pub(super) latencies: Latencies,
}

impl Amounts {
    pub(super) fn add(&mut self, drawn: &Drawn) {
        self.requests += 1;
        self.request_bytes += drawn.bytes.0.cast_signed();
        self.response_bytes += drawn.bytes.1.cast_signed();
        self.micros += drawn.micros.cast_signed();
        self.longest = self.longest.max(drawn.micros.cast_signed());
        self.latencies.add(Duration::from_micros(drawn.micros));
    }
}

/// The sums of requests, as a node sends them.
pub(crate) fn sums<'a>(all: impl IntoIterator<Item = &'a Drawn>, cast: &Cast) -> Vec<fleet::Sum> {
    let mut by_key: BTreeMap<(i64, Common, i64), Amounts> = BTreeMap::new();
    for drawn in all {
        by_key.entry((drawn.at.div_euclid(MINUTE), drawn.common, drawn.revision)).or_default().add(drawn);
    }
    let sum = |((minute, common, revision), amounts): ((i64, Common, i64), Amounts)| fleet::Sum {
        minute: minute.unsigned_abs(),
        org: cast.org.clone(),
        proxy: cast.proxies[common.proxy].clone(),
        caller_credential: cast.caller(&common).to_owned(),
        rule: cast.rule(&common).to_owned(),
        status: ENDINGS[common.ending].status.unsigned_abs(),
        code: ENDINGS[common.ending].code.to_owned(),
        revision: revision.unsigned_abs(),
        requests: amounts.requests.unsigned_abs(),
        request_bytes: amounts.request_bytes.unsigned_abs(),
        response_bytes: amounts.response_bytes.unsigned_abs(),
        micros: amounts.micros.unsigned_abs(),
        longest_micros: amounts.longest.unsigned_abs(),
        latencies: amounts.latencies.encode(),
        ..fleet::Sum::default()
    };
    by_key.into_iter().map(sum).collect()
}
