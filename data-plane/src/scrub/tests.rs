//! Paths and values of records: bounded, and without the secrets that were planted in them.

use proptest::prelude::*;

use super::*;

const KEY: &str = "sk_live_4fX92bQzT1";
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";

fn path(text: &str) -> (String, bool, bool) {
    let Path { text, is_template, is_masked, is_cut } = Path::of(text);
    assert!(!is_template);
    (text.into(), is_masked, is_cut)
}

#[test]
fn a_path_without_secrets_is_recorded_as_it_is() {
    for text in ["/", "", "/v1/users/42", "/a%20b/c", "/v1/users/42/", "/px_4vrjdwgxf1gf0a5t7m0twwk4ze"] {
        assert_eq!(path(text), (text.to_owned(), false, false));
    }
}

#[test]
fn a_segment_that_looks_like_a_secret_is_masked_and_the_others_stay() {
    for secret in [
        KEY,
        JWT,
        "ann@example.com",
        "ann%40example.com",
        "4111111111111111",
        "key=ghp_4fX92bQzA",
        "a;b=ghp_4fX92bQzA",
    ] {
        assert_eq!(path(&format!("/v1/{secret}/orders")), ("/v1/{masked}/orders".to_owned(), true, false));
        assert_eq!(path(&format!("/{secret}")), ("/{masked}".to_owned(), true, false));
        assert_eq!(path(&format!("/{secret}/{secret}/")), ("/{masked}/{masked}/".to_owned(), true, false));
    }
    assert_eq!(
        path("/sk%5Flive_4fX92bQzT1"),
        ("/{masked}".to_owned(), true, false),
        "an escape hides nothing"
    );
}

#[test]
fn a_path_is_cut_at_its_bound_and_a_secret_across_the_bound_is_masked() {
    let long = "/abcdefg".repeat(200);
    assert_eq!(path(&long), (long[..PATH_MAX].to_owned(), false, true));
    assert_eq!(path(&long[..PATH_MAX]), (long[..PATH_MAX].to_owned(), false, false));
    for before in PATH_MAX - 40..PATH_MAX + 4 {
        let plain = "/a".repeat(before / 2);
        let (text, _, is_cut) = path(&format!("{plain}/{KEY}/b"));
        assert!(is_cut || text.ends_with("/b"), "{before}");
        assert!(text.len() <= PATH_MAX && !text.contains("sk_live"), "{before}: {text}");
    }
    let (text, is_masked, is_cut) = path(&format!("/{}", "\u{e4}".repeat(100)));
    assert!(!is_masked && !is_cut && text.len() == 201);
}

#[test]
fn a_template_is_said_to_be_one_and_what_is_withheld_says_nothing() {
    let template = Path::template("/users/{id}");
    assert_eq!((&*template.text, template.is_template, template.is_masked), ("/users/{id}", true, false));
    let withheld = Path::withheld();
    assert_eq!((&*withheld.text, withheld.is_template, withheld.is_masked), ("/{masked}", false, true));
}

#[test]
fn a_value_is_masked_as_a_whole_or_kept_up_to_its_bound() {
    let plain = |text: &str, is_cut| Value { text: text.into(), is_masked: false, is_cut };
    assert_eq!(Value::of(b"7"), plain("7", false));
    assert_eq!(Value::of(b""), plain("", false));
    assert_eq!(Value::of(b"a\tb\x1b[2J"), plain("a b [2J", false));
    let turned = "a\u{202e}b\u{200b}c\u{2028}d\u{e0041}e\u{e4}";
    assert_eq!(Value::of(turned.as_bytes()), plain("a b c d e\u{e4}", false));
    let longest = "ab ".repeat(VALUE_MAX);
    assert_eq!(Value::of(longest.as_bytes()), plain(&longest[..VALUE_MAX], true));
    assert_eq!(Value::of(&longest.as_bytes()[..VALUE_MAX]), plain(&longest[..VALUE_MAX], false));
    assert_eq!(Value::of(&[0xff; 2000]).text.chars().count(), VALUE_MAX / 3);
    for secret in [
        KEY,
        JWT,
        "Bearer ghp_4fX92bQzA",
        "mail to ann@example.com",
        "https://a.example/?key=ghp%5F4fX92bQzA",
    ] {
        assert_eq!(Value::of(secret.as_bytes()), Value::masked(), "{secret}");
        for before in VALUE_MAX - 30..VALUE_MAX {
            let across = format!("{}{secret}", " ".repeat(before));
            assert_eq!(Value::of(across.as_bytes()), Value::masked(), "{secret} from {before}");
        }
    }
}

/// A planted secret, and how it may be written.
fn secret() -> impl Strategy<Value = String> {
    let random = proptest::collection::vec(
        proptest::sample::select(&b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[..]),
        40,
    );
    random.prop_flat_map(|random| {
        let random = String::from_utf8(random).expect("ASCII");
        prop_oneof![
            Just(format!("sk_live_{random}")),
            Just(format!("ghp_{random}")),
            Just(format!("eyJhbGciOiJIUzI1NiJ9.{random}.{random}")),
            Just(format!("xoxb-{random}")),
        ]
    })
}

proptest! {
    #[test]
    fn no_path_is_longer_than_its_bound_and_none_holds_a_planted_secret(
        before in "(/[a-z0-9%]{0,40}){0,60}",
        secret in secret(),
        behind in "(/[a-z0-9]{0,400}){0,5}",
    ) {
        let path = Path::of(&format!("{before}/{secret}{behind}"));
        prop_assert!(path.text.len() <= PATH_MAX);
        // Not even as much of it as tells whose it is.
        prop_assert!(!path.text.contains(&secret[..12]), "{}", path.text);
        prop_assert!(path.is_masked || path.is_cut);
    }

    #[test]
    fn no_value_is_longer_than_its_bound_and_none_holds_a_planted_secret(
        before in "[ a-z0-9=%&:;]{0,200}[ =&:;]",
        secret in secret(),
        behind in "[ &;,][ -~]{0,300}",
    ) {
        let value = Value::of(format!("{before}{secret}{behind}").as_bytes());
        prop_assert!(value.text.len() <= VALUE_MAX && value.is_masked, "{before}{secret}{behind}");
    }

    #[test]
    fn whatever_a_path_or_a_value_is_it_becomes_a_text_within_its_bound(
        text in "\\PC{0,2000}",
        bytes in proptest::collection::vec(any::<u8>(), 0..1000),
    ) {
        prop_assert!(Path::of(&text).text.len() <= PATH_MAX);
        prop_assert!(Value::of(&bytes).text.len() <= VALUE_MAX);
    }
}
