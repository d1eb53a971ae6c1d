//! Walks: they say what the engine says, and how much they do is bounded and always the same.

use proptest::prelude::*;
use rr_domain::model::pattern::{Flags, Pattern};

use super::super::super::pace::PIECE;
use super::*;

/// Patterns near the limit of weight that have many steps under way at once, and texts that keep them so.
const WORST: [(&str, &str); 8] = [
    ("a[a-z]{3000}[^a-z]", "a"),
    ("a[a-z]{15000}[^a-z]", "ab"),
    ("a[ab]{15000}9", "a"),
    ("(a|b)*a[ab]{2000}c", "ab"),
    ("((a?){100}){130}9", "a"),
    ("((a{0,20}){0,20}){0,20}9", "a"),
    (r"(\w\d?){0,40}!", "a1"),
    (r"((a|aa|aaa|b){1,20}){1,50}9", "ab"),
];

fn pattern(regex: &str, flags: &str) -> Pattern {
    Pattern::new(regex, Flags::parse(flags).expect("flags")).expect(regex)
}

fn automaton(pattern: &Pattern) -> Automaton {
    Automaton::new(&pattern.hir(pattern.flags()))
}

/// What a walk says, left every so many steps, and how much it did.
fn walked(pattern: &Pattern, text: &str, piece: i64) -> (bool, i64) {
    let (automaton, mut done) = (automaton(pattern), 0);
    let mut walk = Walk::new(&automaton, text, &mut 0);
    loop {
        let mut work = piece;
        let came = walk.advance(&mut work);
        done += piece - work;
        if let Some(found) = came {
            return (found, done);
        }
    }
}

fn engine(pattern: &Pattern, text: &str) -> bool {
    super::super::engine(pattern, pattern.flags()).expect("compiles").is_match(text)
}

#[test]
fn every_kind_of_look_around_and_class_is_walked_as_the_engine_goes() {
    let texts = [
        "", "a", "b", "ab", "ba", "aab", "abc", "é", "aé", "éa", "a b", "a-b", "\n", "a\n", "\na", "a\nb",
        "a\r\nb", "\r\n", "\r", "\n\r", "a\rb", "K", "k", "\u{212a}", "ſ", "_", "1", "١", "a1", "中文",
        "\u{fffd}", "x\u{301}", "A", "aB9",
    ];
    let looks = [
        "^",
        "$",
        r"\A",
        r"\z",
        r"\b",
        r"\B",
        r"(?-u:\b)",
        r"(?-u:\B)",
        r"\b{start}",
        r"\b{end}",
        r"\b{start-half}",
        r"\b{end-half}",
        r"(?-u:\b{start})",
        r"(?-u:\b{end})",
        r"(?-u:\b{start-half})",
        r"(?-u:\b{end-half})",
        "(?m:^)",
        "(?m:$)",
        "(?mR:^)",
        "(?mR:$)",
    ];
    let subs = [
        "a",
        ".",
        r"\w",
        r"\W",
        r"\d",
        r"(?-u:\w)",
        "[^a]",
        "[é-中]",
        "(?s:.)",
        "(?i:k)",
        r"\p{Greek}",
        "[a&&b]",
        "",
        "(?:a|b)+",
        "b*",
        "a?b",
        "(?:ab?){2,}",
        "(?:a|éa){0,2}",
        "a{0}",
        "(?:|a)+",
        "(?:a*)*",
        "(?:)+",
        "(?:^|a)b",
    ];
    for look in looks {
        for sub in subs {
            for regex in [
                format!("{look}{sub}"),
                format!("{sub}{look}"),
                format!("{sub}{look}{sub}"),
                format!("(?:{look}|b){sub}$"),
            ] {
                let pattern = pattern(&regex, "");
                let engine = super::super::engine(&pattern, pattern.flags()).expect("compiles");
                for text in texts {
                    assert_eq!(
                        walked(&pattern, text, i64::MAX).0,
                        engine.is_match(text),
                        "{regex:?} in {text:?}"
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_walk_says_what_the_engine_says(
        regex in "\\^?((a|b|é|[ab]|[^a]|\\.|\\\\w|\\\\b|\\$|\\(a\\|bc\\|\\)|\\(a\\(b\\|c\\)\\*\\))(|\\?|\\*|\\+|\\{2\\}|\\{0,3\\}|\\{1,\\})){1,6}",
        flags in "i?m?s?",
        text in "[abcAé1\n ]{0,10}",
        piece in 1_i64..40,
    ) {
        let Ok(pattern) = Pattern::new(&regex, Flags::parse(&flags).expect("flags")) else { return Ok(()) };
        let wanted = engine(&pattern, &text);
        let (found, steps) = walked(&pattern, &text, i64::MAX);
        prop_assert_eq!(found, wanted, "{} in {:?}", regex, text);
        // However often it is left, it says and counts the same.
        prop_assert_eq!(walked(&pattern, &text, piece), (wanted, steps), "{} in {:?}", regex, text);
    }
}

#[test]
fn no_pattern_that_is_taken_has_more_than_three_steps_for_what_it_weighs() {
    for (regex, _) in
        WORST.into_iter().chain([("(a|){300}", ""), ("(?:a*b?){900}", ""), ("(|a|b|){400}", "")])
    {
        let pattern = pattern(regex, "");
        let steps = automaton(&pattern).len();
        assert!(
            steps as u64 <= 3 * u64::from(pattern.weight()) + 1,
            "{regex}: {steps}, {}",
            pattern.weight()
        );
    }
}

#[test]
fn between_two_rests_there_is_no_more_than_a_piece_and_one_character() {
    for (regex, text) in WORST {
        let pattern = pattern(regex, "");
        let (automaton, text) = (automaton(&pattern), text.repeat(40_000 / text.len()));
        let mut walk = Walk::new(&automaton, &text, &mut 0);
        for _ in 0..50 {
            let mut work = PIECE;
            if walk.advance(&mut work).is_some() {
                break;
            }
            // Two steps at the most lead on from one, and a character may lead to each.
            let one = 2 + 3 * automaton.len() as i64;
            assert!((1 - one..=0).contains(&work), "{regex}: {work}");
        }
    }
}

#[test]
fn ordinary_patterns_take_a_few_steps_for_each_character() {
    let text =
        "Please send the report to jane.doe@example.com by 2026-11-26, order 4711-0815-42. ".repeat(2_000);
    for (regex, most) in [
        (r"[\w.-]{1,64}@\w+\.(museum|arpa)\b", 30),
        (r"\b[A-Za-z0-9]{40}\b", 12),
        (r"sk-[A-Za-z0-9]{20,48}", 3),
        (r"\d{4}-\d{4}-\d{4}", 4),
        (r"(?i)\b(secret|password|token|passphrase)\s*[:=]", 8),
        (r"^/v\d+/users/[^/]+$", 1),
    ] {
        let (found, steps) = walked(&pattern(regex, ""), &text, i64::MAX);
        let each = steps as f64 / text.len() as f64;
        assert!(!found && each <= f64::from(most), "{regex}: {each} for each");
    }
}
