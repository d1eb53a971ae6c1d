//! What looks like a secret and what does not, of texts as they are met and as they are drawn.

use proptest::prelude::*;

mod corpus;
mod scan;

use super::*;

/// Never a real one.
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY3EXAMPLEKY";

fn shape(text: &str) -> Option<Shape> {
    first(text.as_bytes()).map(|found| found.shape)
}

fn secrets() -> Vec<(String, Shape)> {
    let mut all: Vec<(String, Shape)> =
        KEYS.iter()
            .map(|key| (format!("{}4fX92bQz", str::from_utf8(key).expect("ASCII")), Shape::Key))
            .chain(SHORT_KEYS.iter().map(|key| {
                (format!("{}abcdefghijklmnopqrs7", str::from_utf8(key).expect("ASCII")), Shape::Key)
            }))
            .collect();
    all.extend([
        (JWT.to_owned(), Shape::Jwt),
        ("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----".to_owned(), Shape::Pem),
        ("-----BEGIN RSA PRIVATE KEY----- MII".to_owned(), Shape::Pem),
        ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), Shape::Random),
        ("9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08".to_owned(), Shape::Random),
        ("Zk3vQ9_x7LmT2-pW8sYb4Nc6".to_owned(), Shape::Random),
        (AWS_SECRET.to_owned(), Shape::Random),
        ("ann@example.com".to_owned(), Shape::Mail),
        ("a@b.de".to_owned(), Shape::Mail),
        ("j\u{f6}rg.o'neill+x@mail.example.co.uk".to_owned(), Shape::Mail),
        ("4111111111111111".to_owned(), Shape::Card),
        ("4111 1111 1111 1111".to_owned(), Shape::Card),
        ("5555-5555-5555-4444".to_owned(), Shape::Card),
        ("3782 822463 10005".to_owned(), Shape::Card),
    ]);
    all
}

#[test]
fn what_looks_like_a_secret_is_found_wherever_it_stands() {
    for (secret, wanted) in secrets() {
        for text in [
            secret.clone(),
            format!("Bearer {secret}"),
            format!("key={secret}&x=1"),
            format!("\"{secret}\""),
            format!("({secret})"),
            format!("a b c {secret}"),
        ] {
            let found = first(text.as_bytes()).unwrap_or_else(|| panic!("{text:?}"));
            assert_eq!(found.shape, wanted, "{text:?}");
            let masked = [&text[..found.at.start], &text[found.at.end..]].concat();
            assert!(!masked.contains(&secret[secret.len() / 2..]), "{text:?}: {masked:?}");
        }
    }
}

#[test]
fn what_apis_are_called_by_is_not_taken_for_a_secret() {
    for text in [
        "",
        "users",
        "getUserAccountInformation",
        "get-user-account-information-by-identifier-and-region",
        "Top-10-Best-Movies-Of-2024-And-2025-In-Review",
        "X-Request-Id-V2-Of-The-Caller",
        "2024-11-27-top-10-tips-for-2025-and-7-more",
        "550e8400-e29b-41d4-a716-446655440000",
        "px_4vrjdwgxf1gf0a5t7m0twwk4ze",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "507f1f77bcf86cd799439011",
        "cus_NffrFeUfNV2Hib",
        "1732752000000",
        "1732752000000000",
        "2026-11-27T23:21:51.123456Z",
        "curl/8.5.0 (x86_64-pc-linux-gnu) libcurl/8.5.0",
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
        "application/vnd.github.v3+json; charset=utf-8",
        "https://example.com/Api/V2/Users/42/Orders/7?page=3",
        "sk-slovakia-and-the-language-of-it",
        "npm_packages_and_their_versions",
        "asking_live_audience",
        "task_live_stream",
        "a@b",
        "@example.com",
        "user@localhost",
        "4111111111111112",
        "order_4111111111111111",
        "x4111111111111111",
        "+49 30 1234 5678 9012",
        "10.0.0.1",
        "v1.2.3-rc.1+build.5",
    ] {
        assert_eq!(shape(text), None, "{text:?}");
    }
}

#[test]
fn all_of_them_are_found_one_behind_the_other() {
    let text = format!("ann@example.com and {JWT}, 4111111111111111; ghp_4fX92bQzA");
    let shapes: Vec<Shape> = all(text.as_bytes()).map(|found| found.shape).collect();
    assert_eq!(shapes, [Shape::Mail, Shape::Jwt, Shape::Card, Shape::Key]);
}

#[test]
fn a_text_of_a_megabyte_takes_no_longer_than_its_length_whatever_it_is() {
    // A search that begins anew at each place would take hours.
    for part in [
        "@",
        "a@",
        "a@a.",
        "a@b.de ",
        "1",
        "1 ",
        "4111 ",
        "4111111111111111 ",
        "-----BEGIN",
        "-----BEGIN a ",
        "eyJ.",
        "eyJ-",
        "eyJaaaaaaaa.",
        "sk_live_",
        "sk-",
        "hf_",
        "-",
        "Aa1",
        "Aa1-",
        "a1/",
        "%",
        "xox",
        "/",
        "=",
    ] {
        let text = part.repeat((1 << 18) / part.len());
        let begun = std::time::Instant::now();
        let found = first(text.as_bytes()).is_some();
        let count = all(text.as_bytes()).count();
        assert_eq!(found, count > 0, "{part}");
        // Some hundred times what it takes.
        assert!(begun.elapsed().as_secs() < 20, "{part}");
    }
}

/// As services make them; of some forty thousand of this length one has no digit.
fn random(length: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(
        proptest::sample::select(&b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[..]),
        length,
    )
    .prop_map(|bytes| String::from_utf8(bytes).expect("ASCII"))
}

proptest! {
    #[test]
    fn whatever_the_text_is_what_is_found_lies_within_it(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut end = 0;
        for found in all(&text) {
            prop_assert!(found.at.start >= end && found.at.start < found.at.end && found.at.end <= text.len());
            end = found.at.end;
        }
    }

    #[test]
    fn a_text_of_signs_that_mean_something_is_read_to_its_end(text in "[-a-cA-C0-9@._/=+ eyJ~]{0,200}") {
        for found in all(text.as_bytes()) {
            prop_assert!(found.at.end <= text.len());
        }
    }

    #[test]
    fn a_random_key_of_64_signs_is_found_behind_whatever_words(key in random(64), before in "([a-z]{1,9}[-_ =:/]){0,4}") {
        prop_assume!(key.bytes().filter(u8::is_ascii_digit).count() >= 5);
        prop_assert!(first(format!("{before}{key}").as_bytes()).is_some(), "{before}{key}");
    }
}
