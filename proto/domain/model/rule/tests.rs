//! Rules on the wire: what parses, and every fault of what does not.

use proptest::prelude::*;
use prost::Message as _;

use crate::model::feature;
use crate::model::id::{OrgId, ProxyId, RuleId};
use crate::model::resource::{InvalidPayload, Model, ResourceId};

use super::*;

fn org(n: u8) -> OrgId {
    OrgId::from_random([n; 16])
}

fn proxy_key(n: u8) -> Key {
    Key::new(org(n), ResourceId::Proxy(ProxyId::from_random([1; 16])))
}

fn wire() -> fleet::RuleResource {
    fleet::RuleResource {
        parent: Some(proxy_key(1).to_wire()),
        name: "no-deletes".to_owned(),
        effect: fleet::Effect::Deny.into(),
        ..fleet::RuleResource::default()
    }
}

fn pattern(regex: &str) -> fleet::Pattern {
    fleet::Pattern { regex: regex.to_owned(), flags: String::new(), absent: false }
}

fn pair(name: &str, value: &str) -> fleet::PairCheck {
    fleet::PairCheck { name: Some(pattern(name)), value: Some(pattern(value)), absent: false }
}

fn faults(wire: fleet::RuleResource) -> Vec<String> {
    let invalid = Rule::try_from(wire).expect_err("it is wrong");
    invalid.violations().iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn every_fault_is_told_at_once_and_each_with_its_field() {
    let body = fleet::BodyCheck {
        path: "a..b".to_owned(),
        value: Some(fleet::Pattern { flags: "iy".to_owned(), ..pattern("(") }),
        absent: false,
    };
    let wrong = fleet::RuleResource {
        parent: Some(Key::org(org(1)).to_wire()),
        name: "No Deletes".to_owned(),
        effect: 0,
        priority: 1001,
        when: Some(fleet::RequestMatch {
            methods: vec!["GET".to_owned(), "get".to_owned(), "GET".to_owned(), "A B".to_owned()],
            path: Some(pattern("^/a(?!b)")),
            headers: vec![pair("^x-a$", "1"), pair("^x-b$", "2"), pair("^x-c$", "(?=3)")],
            query: vec![
                fleet::PairCheck::default(),
                fleet::PairCheck {
                    name: Some(fleet::Pattern { absent: true, ..pattern("a") }),
                    ..pair("", "")
                },
            ],
            body: vec![body],
        }),
        notes: "x".repeat(1001),
        observe: true,
    };
    assert_eq!(
        faults(wrong),
        [
            "parent",
            "name",
            "effect",
            "priority",
            "when.methods[1]",
            "when.methods[2]",
            "when.methods[3]",
            "when.path.regex",
            "when.headers[2].value.regex",
            "when.query[0]",
            "when.query[1].name.absent",
            "when.query[1].value.regex",
            "when.body[0].path",
            "when.body[0].value.flags",
            "when.body[0].value.regex",
            "notes",
        ]
    );
}

#[test]
fn a_refused_pattern_is_quoted_with_its_column() {
    let when = fleet::RequestMatch { path: Some(pattern("^/a(?!b)")), ..Default::default() };
    let invalid =
        Rule::try_from(fleet::RuleResource { when: Some(when), ..wire() }).expect_err("look-around");
    let reason = &invalid.violations()[0].reason;
    assert!(reason.contains("column 4") && reason.contains("\"^/a(?!b)\""), "{reason}");
}

#[test]
fn there_is_a_limit_on_how_much_a_rule_checks() {
    let many = |n: usize| fleet::RequestMatch {
        methods: (0..n).map(|i| format!("M{i}")).collect(),
        headers: vec![pair("a", "b"); n],
        query: vec![pair("a", "b"); n],
        body: vec![fleet::BodyCheck { path: "a".to_owned(), value: None, absent: true }; n],
        path: None,
    };
    assert!(Rule::try_from(fleet::RuleResource { when: Some(many(16)), ..wire() }).is_ok());
    let fields = faults(fleet::RuleResource { when: Some(many(17)), ..wire() });
    assert_eq!(fields, ["when.methods", "when.headers", "when.query", "when.body"]);
}

#[test]
fn a_rule_names_its_parent_and_cannot_reach_into_another_organization() {
    let parse = |wire: fleet::RuleResource, n: u8| {
        let key = Key::new(org(n), ResourceId::Rule(RuleId::from_random([9; 16])));
        Model::parse(&key, &wire.encode_to_vec()).map(|model| (model.refs(&key), model.needs()))
    };
    assert_eq!(parse(wire(), 1).expect("a rule"), (vec![proxy_key(1)], vec![feature::RULES]));
    let Err(InvalidPayload::Invalid(invalid)) = parse(wire(), 2) else { panic!("another organization") };
    assert_eq!(invalid.violations()[0].field, "parent.org");
}

fn any_pattern() -> impl Strategy<Value = Option<fleet::Pattern>> {
    let one = ("[ab^/$(|)*\\\\]{1,6}", "[imsg]{0,3}").prop_map(|(regex, flags)| fleet::Pattern {
        regex,
        flags,
        absent: false,
    });
    prop::option::of(one)
}

fn any_pair() -> impl Strategy<Value = fleet::PairCheck> {
    (any_pattern(), any_pattern(), any::<bool>()).prop_map(|(name, value, absent)| fleet::PairCheck {
        name,
        value,
        absent,
    })
}

fn any_body() -> impl Strategy<Value = fleet::BodyCheck> {
    ("[ab]|a(\\.b|\\[\\*\\]|\\[\"a\\.\"\\]){0,3}", any_pattern(), any::<bool>())
        .prop_map(|(path, value, absent)| fleet::BodyCheck { path, value, absent })
}

proptest! {
    #[test]
    fn what_is_read_is_written_as_the_same(
        priority in 0..1000_u32,
        methods in prop::collection::vec("[A-Z]{1,7}", 0..3),
        path in any_pattern(),
        absent: bool,
        headers in prop::collection::vec(any_pair(), 0..3),
        query in prop::collection::vec(any_pair(), 0..3),
        body in prop::collection::vec(any_body(), 0..3),
        notes in "\\PC{0,8}",
    ) {
        let path = path.map(|path| fleet::Pattern { absent, ..path });
        let when = Some(fleet::RequestMatch { methods, path, headers, query, body });
        if let Ok(rule) = Rule::try_from(fleet::RuleResource { priority, when, notes, ..wire() }) {
            let bytes = rule.to_wire().encode_to_vec();
            let again = fleet::RuleResource::decode(bytes.as_slice()).expect("our own bytes");
            prop_assert_eq!(Rule::try_from(again), Ok(rule));
        }
    }
}

#[test]
fn a_node_has_to_know_rules_and_those_that_only_observe_apart() {
    for (observe, wanted) in
        [(false, &[feature::RULES][..]), (true, &[feature::RULES, feature::RULE_OBSERVE])]
    {
        let rule = Rule::try_from(fleet::RuleResource { observe, ..wire() }).expect("a rule");
        assert_eq!(Model::Rule(rule).needs(), wanted);
    }
}
