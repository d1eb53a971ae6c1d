//! 50 pairs of schema and body that want to take long: each is refused with a word that says so, or ends by itself.
//!
//! Work is counted, so what ends here ends everywhere. The time is looked at only to see an explosion.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{BODY, Effort, STACK, Stopped, Validator, validation};

/// What becomes of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The schema is not taken.
    NoSchema,
    /// It takes too much, and that is said.
    TooMuch,
    /// It passes, or not, for the reason that it gives.
    Judged,
}

use End::{Judged, NoSchema, TooMuch};

fn nested(depth: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
}

fn list(count: usize, item: &str) -> String {
    format!("[{}]", vec![item; count].join(","))
}

fn defs(count: usize, one: impl Fn(usize) -> Value, last: Value) -> Value {
    let mut defs: serde_json::Map<_, _> = (0..count).map(|i| (format!("d{i}"), one(i))).collect();
    defs.insert(format!("d{count}"), last);
    defs.into()
}

fn to(i: usize) -> Value {
    json!({"$ref": format!("#/$defs/d{i}")})
}

fn members(count: usize) -> String {
    let members: Vec<String> = (0..count).map(|i| format!(r#""k{i}":{i}"#)).collect();
    format!("{{{}}}", members.join(","))
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn pairs() -> Vec<(&'static str, Value, String, End)> {
    let root = json!({"$ref": "#"});
    let tree = |many: usize| json!({"anyOf": vec![json!({"items": root, "type": "array"}); many]});
    let numbers = |count| format!("[{}]", (0..count).map(|i| i.to_string()).collect::<Vec<_>>().join(","));
    let strings = |count: usize, length: usize| list(count, &format!("\"{}\"", "a".repeat(length)));
    let objects = |count: usize| {
        let objects: Vec<String> = (0..count).map(|i| format!(r#"{{"a":{i},"b":[{i}]}}"#)).collect();
        format!("[{}]", objects.join(","))
    };
    let wide = |of: &str, count: usize, one: Value| json!({of: vec![one; count]});
    vec![
        ("a cycle through $ref", json!({"$ref": "#"}), "1".into(), NoSchema),
        ("a cycle through allOf", json!({"allOf": [root, root]}), "1".into(), NoSchema),
        ("a cycle through not", json!({"not": root}), "1".into(), NoSchema),
        ("a cycle through if", json!({"if": root, "then": root, "else": root}), "1".into(), NoSchema),
        (
            "a cycle through dependentSchemas",
            json!({"dependentSchemas": {"a": root}}),
            r#"{"a":1}"#.into(),
            NoSchema,
        ),
        (
            "a cycle of dynamic references",
            json!({"$dynamicAnchor": "a", "anyOf": [{"$dynamicRef": "#a"}]}),
            "1".into(),
            NoSchema,
        ),
        (
            "allOf doubled 64 times",
            json!({"$ref": "#/$defs/d0", "$defs": defs(64, |i| json!({"allOf": [to(i + 1), to(i + 1)]}), json!({"type": "string"}))}),
            "1".into(),
            NoSchema,
        ),
        (
            "anyOf doubled 64 times",
            json!({"$ref": "#/$defs/d0", "$defs": defs(64, |i| json!({"anyOf": [to(i + 1), to(i + 1)]}), json!(false))}),
            "1".into(),
            NoSchema,
        ),
        (
            "oneOf of ten, ten times",
            json!({"$ref": "#/$defs/d0", "$defs": defs(10, |i| wide("oneOf", 10, to(i + 1)), json!({"type": "string"}))}),
            "1".into(),
            NoSchema,
        ),
        (
            "4,000 references in a row",
            json!({"$ref": "#/$defs/d0", "$defs": defs(4_000, |i| to(i + 1), json!(true))}),
            "1".into(),
            NoSchema,
        ),
        ("5,000 alternatives", wide("anyOf", 5_000, json!({"type": "string"})), "1".into(), NoSchema),
        (
            "a schema nested 70 deep",
            serde_json::from_str(&nested(60, r#"{"not":{"not":"#, "true", "}}")).unwrap_or_default(),
            "1".into(),
            NoSchema,
        ),
        ("a pattern that explodes", json!({"pattern": "((a{100}){100}){100}"}), r#""a""#.into(), NoSchema),
        ("a pattern with look-ahead", json!({"pattern": "^(?=(a+)+$)"}), r#""a""#.into(), NoSchema),
        ("a pattern with back-reference", json!({"pattern": r"(a*)*\1"}), r#""a""#.into(), NoSchema),
        ("a pattern that is long", json!({"pattern": "a".repeat(10_000)}), r#""a""#.into(), NoSchema),
        (
            "200 patterns",
            json!({"allOf": (0..200).map(|i| json!({"pattern": format!("a{i}")})).collect::<Vec<_>>()}),
            r#""a""#.into(),
            NoSchema,
        ),
        ("a fetch from a network", json!({"$ref": "http://169.254.169.254/latest"}), "1".into(), NoSchema),
        ("a file", json!({"$ref": "file:///dev/zero"}), "1".into(), NoSchema),
        (
            "a number of 400 digits in a schema",
            serde_json::from_str(r#"{"multipleOf":1e-320}"#).unwrap_or_default(),
            "1".into(),
            Judged,
        ),
        ("two ways down at each level", tree(2), nested(60, "[1,", "1", "]"), Judged),
        ("ten ways down at each level", tree(10), nested(60, "[1,", "1", "]"), Judged),
        (
            "two ways down through oneOf",
            json!({"oneOf": [{"items": root, "minItems": 2}, {"items": root, "maxItems": 9}]}),
            nested(60, "[", "1", "]"),
            Judged,
        ),
        (
            "two ways down through allOf",
            json!({"allOf": [{"items": root}, {"items": root}]}),
            nested(60, "[", "1", "]"),
            Judged,
        ),
        (
            "two ways down through members",
            json!({"allOf": [{"additionalProperties": root}, {"additionalProperties": root}]}),
            nested(60, r#"{"a":"#, "1", "}"),
            Judged,
        ),
        (
            "two ways down through names and members",
            json!({"allOf": [{"properties": {"a": root}}, {"patternProperties": {"a": root}}]}),
            nested(60, r#"{"a":"#, "1", "}"),
            Judged,
        ),
        (
            "two ways down through contains",
            json!({"contains": root, "items": root}),
            nested(60, "[", "1", "]"),
            Judged,
        ),
        (
            "two ways down through if",
            json!({"if": {"items": root}, "then": {"items": root}}),
            nested(60, "[", "1", "]"),
            Judged,
        ),
        (
            "two ways down, not evaluated",
            json!({"anyOf": [{"properties": {"a": root}}], "unevaluatedProperties": root}),
            nested(60, r#"{"a":"#, "1", "}"),
            Judged,
        ),
        (
            "unevaluated at each level",
            json!({"allOf": [{"prefixItems": [root]}, {"prefixItems": [root]}], "unevaluatedItems": false}),
            nested(60, "[", "1", "]"),
            Judged,
        ),
        (
            "one way down, at the bottom wrong",
            json!({"items": root, "type": "array"}),
            nested(63, "[", "1", "]"),
            Judged,
        ),
        ("a body nested too deep", json!({"items": root}), nested(100_000, "[", "1", "]"), Judged),
        ("unique of 200,000 numbers", json!({"uniqueItems": true}), numbers(200_000), Judged),
        ("unique of 100,000 objects", json!({"uniqueItems": true}), objects(60_000), Judged),
        (
            "unique, a hundred times",
            wide("allOf", 100, json!({"uniqueItems": true})),
            numbers(100_000),
            TooMuch,
        ),
        (
            "unique of lists in lists",
            json!({"uniqueItems": true, "items": root}),
            list(1_000, &numbers(200)),
            Judged,
        ),
        (
            "1,000 alternatives for 100,000 values",
            json!({"items": wide("anyOf", 1_000, json!({"type": "string"}))}),
            numbers(100_000),
            Judged,
        ),
        (
            "4,000 alternatives that ask nothing",
            json!({"items": wide("allOf", 4_000, json!({"description": ""}))}),
            numbers(200_000),
            TooMuch,
        ),
        (
            "an enum of 20,000 for 10,000 values",
            json!({"items": {"enum": (0..20_000).collect::<Vec<_>>()}}),
            list(10_000, "-1"),
            Judged,
        ),
        (
            "an enum of long texts",
            json!({"items": {"enum": (0..200).map(|i| format!("{}{i}", "a".repeat(1_000))).collect::<Vec<_>>()}}),
            list(5_000, &format!("\"{}\"", "a".repeat(1_000))),
            Judged,
        ),
        (
            "5,000 names required of 10,000 objects",
            json!({"items": {"required": (0..5_000).map(|i| format!("r{i}")).collect::<Vec<_>>()}}),
            list(10_000, "{}"),
            Judged,
        ),
        (
            "4,000 properties for 10,000 objects",
            json!({"items": {"properties": (0..4_000).map(|i| (format!("p{i}"), json!({}))).collect::<serde_json::Map<_, _>>()}}),
            list(10_000, "{}"),
            Judged,
        ),
        (
            "100 patterns for 50,000 names",
            json!({"patternProperties": (0..100).map(|i| (format!("[a-z]*{i}[0-9]*$"), json!(true))).collect::<serde_json::Map<_, _>>()}),
            members(50_000),
            TooMuch,
        ),
        (
            "a slow pattern on a long text",
            json!({"pattern": "[ab]*a[ab]{500}c"}),
            format!("\"{}\"", "ab".repeat(500_000)),
            TooMuch,
        ),
        (
            "a slow pattern on many texts",
            json!({"items": {"pattern": "([ab]*a[ab]{30}){20}c"}}),
            strings(1_000, 1_000),
            Judged,
        ),
        (
            "names held against a pattern",
            json!({"propertyNames": {"pattern": "([a-z]*[0-9]){200}"}}),
            members(100_000),
            Judged,
        ),
        (
            "a multiple of a small number",
            json!({"multipleOf": 1e-308}),
            "1.7976931348623157e308".into(),
            Judged,
        ),
        ("a number of a million digits", json!({"minimum": 0}), "9".repeat(1_000_000), Judged),
        (
            "an exponent of a million digits",
            json!({"multipleOf": 3, "type": "integer"}),
            format!("1e{}", "9".repeat(1_000_000)),
            Judged,
        ),
        ("a million numbers", json!({"items": {"type": "integer"}}), numbers(1_000_000), TooMuch),
    ]
}

#[test]
fn what_wants_to_take_long_is_refused_or_ends_by_itself() {
    let work = || {
        let pairs = pairs();
        assert_eq!(pairs.len(), 50);
        let mut others = Vec::new();
        for (what, schema, body, end) in pairs {
            let begun = Instant::now();
            let found = match Validator::compile(&validation(&schema.to_string())) {
                Err(_) => NoSchema,
                Ok(validator) => match validator.body(BODY, body.as_bytes(), Effort::AtLength) {
                    Err(Stopped::Refused(refusal)) if &*refusal.keyword == "too-much-work" => TooMuch,
                    Err(Stopped::TooMuch) => panic!("{what}: there is nobody else to do it"),
                    _ => Judged,
                },
            };
            let took = begun.elapsed();
            println!("{took:10.2?} {found:8?} {what}");
            if found != end {
                others.push((what, found, end));
            }
            // Built without optimisation, and on a machine that has other things to do.
            assert!(took < Duration::from_secs(60), "{what} took {took:?}");
        }
        assert!(others.is_empty(), "{others:?}");
    };
    std::thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread").join().expect("all end");
}

/// Workers have 1 MiB, and have used some of it.
#[test]
fn what_is_validated_at_once_fits_on_the_stack_of_a_worker() {
    let work = || {
        for (what, schema, body, _) in pairs() {
            let Ok(validator) = Validator::compile(&validation(&schema.to_string())) else { continue };
            let ended = validator.body(BODY, body.as_bytes(), Effort::AtOnce);
            assert!(
                !matches!(&ended, Err(Stopped::Refused(it)) if &*it.keyword == "too-much-work"),
                "{what}"
            );
        }
        // As high as may be, for as deep a body as is looked at so.
        for (height, depth) in [(24, 4), (12, 8), (6, 16), (3, 32)] {
            let mut schema = json!({"items": {"$ref": "#"}, "type": ["array", "number"]});
            for _ in 2..height {
                schema = json!({"allOf": [schema]});
            }
            let schema = schema.to_string();
            let validator =
                Validator::compile(&validation(&schema)).unwrap_or_else(|error| panic!("{error}"));
            let body = nested(depth - 1, "[", "1", "]");
            assert_eq!(validator.body(BODY, body.as_bytes(), Effort::AtOnce), Ok(()), "{height} {depth}");
        }
    };
    let thread = std::thread::Builder::new().stack_size(700 * 1024).spawn(work);
    thread.expect("a thread").join().expect("it fits");
}
