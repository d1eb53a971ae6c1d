//! Patterns: how each is matched, and which are refused and where.

use proptest::prelude::*;

use super::*;

fn pattern(regex: &str, flags: &str) -> Pattern {
    Pattern::new(regex, Flags::parse(flags).expect("flags")).expect(regex)
}

fn found(matcher: &Matcher, text: &[u8]) -> bool {
    matcher.is_in(text, &mut HeadWork::default())
}

fn without_case(flags: Flags) -> Flags {
    Flags { ignore_case: true, ..flags }
}

fn kind(regex: &str, flags: &str) -> &'static str {
    match Patterns::default().matcher(&pattern(regex, flags)).expect("compiles").0 {
        Kind::Always => "always",
        Kind::Exactly(_) => "exactly",
        Kind::Starts(_) => "starts",
        Kind::Ends(_) => "ends",
        Kind::Holds(_) | Kind::HoldsOne(_) => "holds",
        Kind::Regex(_) => "regex",
    }
}

#[test]
fn texts_prefixes_and_alternations_of_them_never_reach_the_engine() {
    for (regex, wanted) in [
        ("^/v1/", "starts"),
        ("^/v1/users$", "exactly"),
        ("^/(users|orders|u?)/x$", "exactly"),
        ("^(?:/a|/b)", "starts"),
        (r"\.json$", "ends"),
        ("secret", "holds"),
        ("secret|token|password", "holds"),
        (r"^/v[12]/", "starts"),
        ("^", "always"),
        ("a?", "always"),
        (r"\/a\/", "holds"),
        ("^$", "exactly"),
        (r"^/v\d/", "regex"),
        (r"\bx", "regex"),
        ("a+", "regex"),
        ("^/a|^/b", "starts"),
        ("^a|b", "regex"),
    ] {
        assert_eq!(kind(regex, ""), wanted, "{regex}");
    }
    assert_eq!(kind("^a$", "m"), "regex", "line ends count");
    assert_eq!(kind("token", "i"), "holds", "in all its spellings");
    assert_eq!(kind("authorization", "i"), "regex", "there are too many");
}

#[test]
fn names_of_headers_are_found_without_regard_to_case() {
    let mut patterns = Patterns::default();
    for regex in ["^X-Tenant$", "Tenant$", "^X-", "-Ten", "^X-[A-Z]+$", "(Foo|Ten)ant"] {
        let matcher = patterns.header_name(&pattern(regex, "")).expect("compiles");
        assert!(found(&matcher, b"x-tenant"), "{regex}");
        assert!(!found(&matcher, b"accept"), "{regex}");
    }
    assert!(!patterns.header_name(&pattern("^X-Tenant$", "")).expect("compiles").is_regex());
}

#[test]
fn equal_patterns_are_one_matcher_and_unused_ones_are_dropped() {
    let mut patterns = Patterns::default();
    let one = patterns.matcher(&pattern("a+", "i")).expect("compiles");
    assert!(Arc::ptr_eq(&one, &patterns.matcher(&pattern("a+", "gi")).expect("compiles")));
    assert!(!Arc::ptr_eq(&one, &patterns.matcher(&pattern("a+", "")).expect("compiles")));
    assert_eq!(patterns.in_use(), 1);
    for i in 0..5000 {
        patterns.matcher(&pattern(&format!("x{i}"), "")).expect("compiles");
    }
    assert!(patterns.shared.len() <= 1025 && patterns.in_use() == 1);
}

#[test]
fn a_value_that_is_not_utf8_is_looked_at_all_the_same() {
    let mut patterns = Patterns::default();
    for regex in ["evil", "ev+il", "^.*evil"] {
        let matcher = patterns.matcher(&pattern(regex, "")).expect("compiles");
        assert!(found(&matcher, b"\xffevil\xfe"), "{regex}");
    }
}

proptest! {
    #[test]
    fn every_matcher_says_what_the_engine_says(
        regex in "\\^?(a|b|[ab]|\\(a\\|bc\\)|c\\?|\\(b\\|\\)|\\(a\\(b\\|c\\)\\)|\\||aab){1,6}\\$?",
        text in "[abc]{0,8}",
    ) {
        let pattern = pattern(&regex, "");
        let matcher = Patterns::default().matcher(&pattern).expect("compiles");
        let wanted = engine(&pattern, pattern.flags()).expect("compiles").is_match(&text);
        prop_assert_eq!(found(&matcher, text.as_bytes()), wanted, "{} in {}", regex, text);
    }

    #[test]
    fn every_name_matcher_says_what_the_engine_says_without_case(
        regex in "\\^?(A|b|[ab]|\\(a\\|Bc\\)|C\\?|\\(b\\|\\)|X-){1,5}\\$?",
        text in "[abcx-]{0,8}",
    ) {
        let pattern = pattern(&regex, "");
        let matcher = Patterns::default().header_name(&pattern).expect("compiles");
        let wanted = engine(&pattern, without_case(pattern.flags())).expect("compiles").is_match(&text);
        prop_assert_eq!(found(&matcher, text.as_bytes()), wanted, "{} in {}", regex, text);
    }
}

#[test]
fn the_heaviest_that_the_model_takes_compiles() {
    for sub in [r"\w", r"\p{L}", ".", "[a-z]", "[^a]", r"(a|\d)", "(ab?){3}"] {
        let heaviest = (1..=1000)
            .rev()
            .find_map(|times| Pattern::new(&format!("{sub}{{{times}}}"), Flags::default()).ok());
        let heaviest = heaviest.expect("once is not too heavy");
        let flags = heaviest.flags();
        assert!(
            engine(&heaviest, flags).is_ok() && engine(&heaviest, without_case(flags)).is_ok(),
            "{heaviest:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_taken_compiles_within_the_engines_limit(regex in "[a-c(|)*+?{}0-9\\\\\\[\\]^$.wdsp<>=!:-]{1,24}") {
        if let Ok(pattern) = Pattern::new(&regex, Flags::default()) {
            Patterns::default().matcher(&pattern).expect("compiles");
        }
    }
}

/// Some patterns as one set, and its screens.
fn screened(patterns: &mut Patterns, sources: &[(&str, &str)]) -> (Vec<Arc<Matcher>>, Arc<PatternSet>) {
    let matchers = sources.iter().map(|(regex, flags)| patterns.matcher(&pattern(regex, flags)));
    let matchers: Vec<Arc<Matcher>> = matchers.collect::<Result<_, _>>().expect("compile");
    let set = Matcher::set_of(matchers.iter().map(|matcher| &**matcher)).expect("there are enough");
    (matchers, set)
}

const MANY: [(&str, &str); 14] = [
    (r"a\d", ""),
    (r"a\d", "i"),
    ("^b+$", "m"),
    ("^b+$", ""),
    ("x.y", ""),
    ("x.y", "s"),
    ("(?x) c+ # a comment that would hide what follows", ""),
    ("(?x) c+ # a comment", "i"),
    ("(?i)d+e", ""),
    ("a+|b{2}", ""),
    (r"\bca", ""),
    ("[^a-z]$", ""),
    ("a*b", "i"),
    (r"\w{3}", ""),
];

#[test]
fn equal_sets_are_one_and_few_patterns_are_none() {
    let mut patterns = Patterns::default();
    let (_, one) = screened(&mut patterns, &MANY);
    let mut turned = MANY;
    turned.reverse();
    assert!(Arc::ptr_eq(&one, &screened(&mut patterns, &turned).1));
    assert!(!Arc::ptr_eq(&one, &screened(&mut patterns, &MANY[1..]).1));
    let few: Vec<_> =
        (0..7).map(|n| patterns.matcher(&pattern(&format!("a{n}+"), "")).expect("compiles")).collect();
    assert!(Matcher::set_of(few.iter().chain(&few).map(|matcher| &**matcher)).is_none(), "7, each twice");
    let plain: Vec<_> =
        (0..9).map(|n| patterns.matcher(&pattern(&format!("a{n}"), "")).expect("compiles")).collect();
    assert!(Matcher::set_of(plain.iter().map(|matcher| &**matcher)).is_none(), "they need no engine");
}

#[test]
fn patterns_that_are_too_large_together_are_tried_one_by_one() {
    let mut patterns = Patterns::default();
    let heavy: Vec<_> = (0..12)
        .map(|n| patterns.matcher(&pattern(&format!(r"\w{{60}}{n}"), "")).expect("compiles"))
        .collect();
    assert!(Matcher::set_of(heavy.iter().map(|matcher| &**matcher)).is_none());
}

proptest! {
    #[test]
    fn a_screen_hides_no_pattern_that_is_found(text in "[abcdexyABX01\n -]{0,12}") {
        let mut patterns = Patterns::default();
        let (matchers, set) = screened(&mut patterns, &MANY);
        let mut screen = Screen::new(Some(&set));
        let mut none = true;
        for matcher in &matchers {
            let slot = matcher.slot_in(&set).expect("it is in the set");
            let found = found(matcher, text.as_bytes());
            prop_assert!(screen.may_have(slot, &text, HeadWork::default().credit()) || !found);
            none &= !found;
        }
        // And hides all where none is found.
        let slots = matchers.iter().map(|matcher| matcher.slot_in(&set).expect("it is in the set"));
        prop_assert!(!none || slots.into_iter().all(|slot| !Screen::new(Some(&set)).may_have(slot, &text, HeadWork::default().credit())));
    }
}

#[test]
fn the_texts_that_a_pattern_needs_are_its_longest_known_ones() {
    let needs = |regex: &str| {
        let texts = texts::needed(&pattern(regex, "").hir(Flags::default()))?;
        Some(texts.into_iter().map(|text| String::from_utf8(text).expect("ASCII")).collect::<Vec<_>>())
    };
    let some = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!(needs(r"/users/\d+/secret7$"), some(&["/secret7"]));
    assert_eq!(needs(r"[^/]+/(delete|purge)$"), some(&["/delete", "/purge"]));
    assert_eq!(needs(r"(a\d|bc\d)+x?"), some(&["a", "bc"]));
    assert_eq!(needs(r"\w+-[ab]c"), some(&["-ac", "-bc"]));
    for nothing in [r"\d+", "a*", "(a|\\d)", "^$", "[a-z]x*", "(ab)?.", "(a|).*"] {
        let needed = needs(nothing);
        assert!(
            needed.as_ref().is_none_or(|texts| texts.iter().any(String::is_empty)),
            "{nothing}: {needed:?}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_has_a_pattern_has_a_text_that_the_pattern_needs(
        regex in "(a|b|[ab]|\\(a\\|bc\\)|c\\?|\\(b\\|\\)\\.|\\(a\\(b\\|c\\)\\)\\+|\\^a|b\\{2\\}|\\\\w|\\||aab|\\(\\?i:ab\\)|\\\\b|\\$){1,6}",
        text in "[abcAB]{0,9}",
    ) {
        let Ok(pattern) = Pattern::new(&regex, Flags::default()) else { return Ok(()) };
        let found = engine(&pattern, pattern.flags()).expect("compiles").is_match(&text);
        if let (true, Some(needed)) = (found, texts::needed(&pattern.hir(pattern.flags()))) {
            let has = needed.iter().any(|one| memchr::memmem::find(text.as_bytes(), one).is_some());
            prop_assert!(has, "{} in {}", needed.len(), text);
        }
    }
}

#[test]
fn a_set_is_not_asked_where_it_could_take_long() {
    let mut patterns = Patterns::default();
    let (matchers, set) = screened(&mut patterns, &MANY);
    let slot = matchers[0].slot_in(&set).expect("it is in the set");
    // No pattern is in it, as a set that is asked says.
    let may = |text: &str| Screen::new(Some(&set)).may_have(slot, text, HeadWork::default().credit());
    assert!(!may(&"!z".repeat(20)));
    assert!(may(&"!z".repeat(60_000)));
}
