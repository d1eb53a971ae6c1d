//! Requests as they come over the wire, with the structure of real ones and the faults of bad ones, from their raw
//! text to the verdict. The reference reads the same text with readers of its own.
//!
//! `RR_FUZZ_REQUESTS` and `RR_FUZZ_SEED` say how many and from which seed.

use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};

use rr_domain::model::effect::Effect;
use rr_domain::model::id::RuleId;
use rr_domain::model::path as paths;
use rr_domain::model::pattern::Pattern;
use rr_domain::model::request_match::{BodyCheck, PairCheck, PathCheck, RequestMatch};
use rr_domain::model::rule::Rule;

use super::super::super::request::{RequestBody, RequestView, decode_query};
use super::super::reference::{self, Body, Request, Said, Scope};
use super::super::tree::Tree;
use super::write::{pattern, rule, rule_id};
use super::{answer, compiled};

/// How many requests are sent through rules before others are made.
const TURN: u64 = 250;

/// A request as text.
#[derive(Debug)]
struct Raw {
    method: &'static str,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

/// Repeatable chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % bound
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.below(some.len())]
    }

    fn several<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }

    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(2).then(|| one(self))
    }
}

const WORDS: [&str; 12] =
    ["a", "b", "users", "@me", "v1", "x:y", "tools", "call", "1", "\u{e4}", "a b", "(c)"];

fn any_pattern(chance: &mut Chance) -> Pattern {
    let regex = chance.of(&[
        "^/v1/",
        "^/v1/users$",
        "a",
        "^a$",
        "^A$",
        "users|tools",
        r"\d",
        "^[a-c]+$",
        "@me",
        "^.$",
        "true|null",
        "X-",
        r"/[^/]+/users",
        r"/\w+:\w$",
        r"(a|b)+/1",
        r"^/.*me",
        r"\bcall\b",
        "[(]c[)]$",
        "%20|%C3",
        r"\S+ ",
        "^(a|b)$",
    ]);
    pattern(regex, chance.of(&["", "", "", "i", "s", "gm"]))
}

/// Of one or two parts, so that it often matches.
fn any_rule(chance: &mut Chance) -> Rule {
    let name = |chance: &mut Chance| match chance.below(3) {
        0 => any_pattern(chance),
        _ => pattern(chance.of(&["^a$", "^b$", "^users$"]), ""),
    };
    let value = |chance: &mut Chance| match chance.below(3) {
        0 => any_pattern(chance),
        _ => pattern(chance.of(&["^a$", "^b", "[ab1]", "@"]), ""),
    };
    let pair = |chance: &mut Chance| {
        let name = if chance.once_in(5) { None } else { Some(name(chance)) };
        let value = if name.is_none() { Some(value(chance)) } else { chance.maybe(value) };
        PairCheck { name, value, absent: chance.once_in(3) }
    };
    let field = |chance: &mut Chance| BodyCheck {
        path: chance.of(&["a", "a", "b", "a.b", "*", "a[*].b", "*.*", "users[*]"]).parse().expect("a path"),
        value: if chance.once_in(3) { None } else { Some(value(chance)) },
        absent: chance.once_in(3),
    };
    let mut when = RequestMatch::default();
    for _ in 0..1 + chance.below(2) {
        match chance.below(9) {
            0 => {
                when.methods =
                    chance.of(&[&["GET"][..], &["POST", "PURGE"]]).iter().map(|&one| one.to_owned()).collect()
            }
            1 | 2 => when.path = Some(PathCheck { pattern: any_pattern(chance), absent: chance.once_in(4) }),
            3 | 4 => when.headers.push(pair(chance)),
            5 | 6 => when.query.push(pair(chance)),
            _ => when.body.push(field(chance)),
        }
    }
    let effect = chance.of(&[Effect::Allow, Effect::Deny]);
    let priority = u16::try_from(chance.below(3)).expect("few");
    Rule { observe: chance.once_in(6), ..rule(effect, priority, when) }
}

fn any_scope(chance: &mut Chance) -> Scope {
    let most = chance.of(&[0, 0, 1, 1, 1, 2, 2, 24]);
    let rules = chance.several(most, any_rule).into_iter().enumerate();
    Scope {
        rules: rules.map(|(n, rule)| (rule_id(u8::try_from(n).expect("few")), rule)).collect(),
        default: if chance.once_in(6) { Effect::Deny } else { Effect::Allow },
        observe: chance.once_in(10),
    }
}

/// Writes a text as URLs do, in one of its spellings, seldom in a wrong one.
fn spelled(chance: &mut Chance, text: &str, plus: bool, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' if plus && chance.once_in(2) => out.push('+'),
            byte if byte.is_ascii_graphic() && !b"%&=/".contains(&byte) && !chance.once_in(5) => {
                out.push(char::from(byte));
            }
            byte if chance.once_in(2) => out.push_str(&format!("%{byte:02x}")),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if chance.once_in(100) {
        out.push_str(chance.of(&["%", "%4", "%zz", "\u{e4}"]));
    }
}

fn any_path(chance: &mut Chance) -> String {
    let mut path = String::new();
    for _ in 0..chance.below(5) {
        path.push('/');
        if chance.once_in(12) {
            path.push_str(chance.of(&[".", "..", "%2e%2E", "", "...", "a;b"]));
        } else if chance.once_in(80) {
            path.push_str(chance.of(&["%2f", "%5C", "..;x", "\\", "%00", ".;"]));
        } else {
            let word = chance.of(&WORDS);
            spelled(chance, word, false, &mut path);
        }
    }
    if chance.once_in(4) {
        path.push('/');
    }
    path
}

fn any_query(chance: &mut Chance) -> String {
    let mut query = String::new();
    for _ in 0..chance.below(5) {
        let (name, value) = (chance.of(&WORDS), chance.of(&WORDS));
        spelled(chance, name, true, &mut query);
        if !chance.once_in(6) {
            query.push('=');
            spelled(chance, value, true, &mut query);
        }
        query.push('&');
    }
    query
}

fn any_header(chance: &mut Chance) -> (String, Vec<u8>) {
    let name = chance.of(&["a", "a", "A", "X-Users", "x-call", "b", "b", "Content-Type"]);
    let mut value = chance.of(&WORDS).as_bytes().to_vec();
    if chance.once_in(20) {
        value.push(chance.of(&[0x80, 0xFF, b'\t']));
    }
    (name.to_owned(), value)
}

/// Writes JSON with the freedom that JSON leaves.
fn any_json(chance: &mut Chance, depth: usize, out: &mut String) {
    let space = |chance: &mut Chance, out: &mut String| {
        if chance.once_in(6) {
            out.push_str(chance.of(&[" ", "\n", "\t \r"]));
        }
    };
    let text = |chance: &mut Chance, out: &mut String| {
        out.push('"');
        for c in chance.of(&WORDS).chars() {
            match chance.below(8) {
                0 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                1 => out.push_str(chance.of(&["\\/", "\\n", "\\u00e4", "\\ud83d\\ude00", "\\ud83d"])),
                _ => out.push(c),
            }
        }
        out.push('"');
    };
    space(chance, out);
    match if depth == 0 { 9 } else { chance.below(10) } {
        0..=3 => {
            out.push('{');
            for i in 0..chance.below(4) {
                out.push_str(if i > 0 { "," } else { "" });
                space(chance, out);
                let key = chance.of(&["\"a\"", "\"a\"", "\"b\"", "\"users\"", "\"\\u0061\"", "\"\""]);
                out.push_str(key);
                space(chance, out);
                out.push(':');
                any_json(chance, depth - 1, out);
            }
            out.push('}');
        }
        4..=6 => {
            out.push('[');
            for i in 0..chance.below(4) {
                out.push_str(if i > 0 { "," } else { "" });
                any_json(chance, depth - 1, out);
            }
            space(chance, out);
            out.push(']');
        }
        7 => out.push_str(chance.of(&["0", "-1.50", "2e3", "1E-7", "12345678901234567890"])),
        8 => out.push_str(chance.of(&["true", "false", "null"])),
        _ => text(chance, out),
    }
    space(chance, out);
}

fn any_body(chance: &mut Chance) -> Option<Vec<u8>> {
    if chance.once_in(6) {
        return None;
    }
    if chance.once_in(12) {
        return Some(Vec::new());
    }
    let mut text = String::new();
    if chance.once_in(3) {
        let documents = chance.several(4, |chance| {
            let mut text = String::new();
            any_json(chance, 3, &mut text);
            text
        });
        text = format!("[{}]", documents.join(","));
    } else {
        any_json(chance, 4, &mut text);
    }
    let mut bytes = text.into_bytes();
    if chance.once_in(12) {
        let at = chance.below(bytes.len());
        match chance.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = chance.of(b"\"\\{}[],:0x\xFF\0"),
            2 => bytes.insert(at, chance.of(b"\"\\{}[],:0x\xFF\0")),
            _ => drop(bytes.remove(at)),
        }
    }
    Some(bytes)
}

fn any_raw(chance: &mut Chance) -> Raw {
    Raw {
        method: chance.of(&["GET", "POST", "PURGE", "PUT"]),
        path: any_path(chance),
        query: any_query(chance),
        headers: chance.several(4, any_header),
        body: any_body(chance),
    }
}

/// The request as the reference reads it; `None` where it is malformed.
fn plainly(raw: &Raw) -> Option<Request> {
    let headers = raw.headers.iter();
    let body = match &raw.body {
        None => Body::Unread,
        Some(bytes) if bytes.is_empty() => Body::Empty,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
                Body::Json(Tree::read(text))
            }
            _ => Body::Broken,
        },
    };
    Some(Request {
        method: raw.method.to_owned(),
        path: reference::path(&raw.path)?,
        query: reference::pairs(&raw.query),
        headers: headers
            .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
            .collect(),
        body,
    })
}

/// What the edge says; `None` where the request is malformed.
fn really(rules: &[super::ScopeRules; 4], raw: &Raw) -> Option<(Said, Option<Said>, Vec<RuleId>)> {
    let normal = paths::normalise(&raw.path).ok()?;
    let path = paths::for_rules(&normal);
    let query = decode_query(&raw.query);
    let mut headers = HeaderMap::new();
    for (name, value) in &raw.headers {
        let name = HeaderName::from_str(name).expect("a name");
        headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    let body = raw.body.as_deref().map_or(RequestBody::Unread, RequestBody::Read);
    let view = RequestView { method: raw.method, path: &path, query: &query, headers: &headers, body };
    Some(answer(rules, &view))
}

#[test]
fn whatever_comes_over_the_wire_is_judged_as_the_reference_judges_it() {
    let number = |name: &str, usual: u64| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => usual,
    };
    let (requests, seed) = (number("RR_FUZZ_REQUESTS", 20_000), number("RR_FUZZ_SEED", 1));
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut done, mut judged, mut needed, mut denied) = (0_u64, 0_u64, 0_u64, 0_u64);
    while done < requests {
        let scopes: [Scope; 4] = std::array::from_fn(|_| any_scope(&mut chance));
        let rules = compiled(&scopes);
        for _ in 0..TURN.min(requests - done) {
            done += 1;
            let raw = any_raw(&mut chance);
            let wanted = plainly(&raw).map(|request| {
                (reference::verdict(&scopes, &request), reference::observed(&scopes, &request))
            });
            let got = really(&rules, &raw).map(|(verdict, observed, _)| (verdict, observed));
            assert_eq!(got, wanted, "{raw:?} by {scopes:?}");
            match got {
                Some((Said::Deny(..), _)) => (judged, denied) = (judged + 1, denied + 1),
                Some((Said::Allow(_), _)) => judged += 1,
                Some((Said::NeedsBody, _)) => needed += 1,
                Some((Said::Unreadable, _)) | None => {}
            }
        }
    }
    println!("{judged} of {done} reached a verdict, {denied} were denied, {needed} lacked their body");
    assert!(judged * 2 >= done, "{judged} of {done} reached a verdict");
    assert!(denied * 10 >= judged && denied * 10 <= judged * 9, "{denied} of {judged} were denied");
}
