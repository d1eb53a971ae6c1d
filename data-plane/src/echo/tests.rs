//! Values in every form, cut at every place; and what must not hang on them.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use proptest::prelude::*;

use super::*;

mod edges;

const VALUE: &str = "sk-Live/9f86+d081884c7d65?9a2=feaa0c55";

fn needles(values: &[&str]) -> Arc<Needles> {
    Arc::new(
        Needles::of(values.iter().map(|value| value.as_bytes())).expect("there is something to look for"),
    )
}

/// Feeds pieces, and gives what came out with each, and at the end.
fn fed(needles: &Arc<Needles>, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut scanner = Scanner::new(Arc::clone(needles));
    let mut out: Vec<Vec<u8>> =
        pieces.iter().map(|piece| scanner.feed(Bytes::copy_from_slice(piece), false).to_vec()).collect();
    out.push(scanner.release().to_vec());
    assert_eq!(out.concat(), known(needles, pieces), "whether its end is known or not");
    out
}

/// What comes out where the last piece is known to be the last.
fn known(needles: &Arc<Needles>, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut scanner, mut out) = (Scanner::new(Arc::clone(needles)), Vec::new());
    for (at, piece) in pieces.iter().enumerate() {
        out.extend_from_slice(&scanner.feed(Bytes::copy_from_slice(piece), at + 1 == pieces.len()));
    }
    out.extend_from_slice(&scanner.release());
    out
}

fn text(out: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&out.concat()).into_owned()
}

/// A text that an encoder makes of a value, where the letters begin that hang on the value alone, how many they are, and
/// how many of them hold sixteen bytes.
struct Form {
    name: &'static str,
    text: String,
    from: usize,
    length: usize,
    held_min: usize,
}

fn escaped(value: &str, one: impl Fn(u8) -> String) -> String {
    value.bytes().map(one).collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// How a character is escaped.
type Escape = Box<dyn Fn(u8) -> String>;

fn forms(value: &str) -> Vec<Form> {
    let bytes = value.as_bytes();
    let mut forms = Vec::new();
    let mut add = |name, text: String, held_min| {
        let length = text.len();
        forms.push(Form { name, text, from: 0, length, held_min });
    };
    add("raw", value.to_owned(), 16);
    add("hex", HEXLOWER.encode(bytes), 32);
    add("HEX", HEXUPPER.encode(bytes), 32);
    let sixteen =
        |one: &dyn Fn(u8) -> String| -> usize { bytes[..16].iter().map(|byte| one(*byte).len()).sum() };
    let kinds: [(&'static str, Escape); 12] = [
        ("URL", Box::new(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") })),
        ("url", Box::new(|b| if is_plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") })),
        ("URL, all", Box::new(|b| format!("%{b:02X}"))),
        ("JSON \\u", Box::new(|b| format!("\\u{b:04x}"))),
        ("JSON \\U", Box::new(|b| format!("\\u{b:04X}"))),
        (
            "JSON \\u of some",
            Box::new(|b| if is_plain(b) { char::from(b).to_string() } else { format!("\\u{b:04x}") }),
        ),
        ("JSON \\/", Box::new(|b| if b == b'/' { "\\/".to_owned() } else { char::from(b).to_string() })),
        ("JS \\x", Box::new(|b| format!("\\x{b:02x}"))),
        (
            "HTML names",
            Box::new(|b| match b {
                b'&' => "&amp;".to_owned(),
                b'<' => "&lt;".to_owned(),
                b'>' => "&gt;".to_owned(),
                b'"' => "&quot;".to_owned(),
                b'\'' => "&#39;".to_owned(),
                _ => char::from(b).to_string(),
            }),
        ),
        ("HTML decimal", Box::new(|b| format!("&#{b};"))),
        ("HTML hex", Box::new(|b| format!("&#x{b:X};"))),
        (
            "HTML of some",
            Box::new(|b| if is_plain(b) { char::from(b).to_string() } else { format!("&#x{b:02x};") }),
        ),
    ];
    for (name, one) in kinds {
        let held_min = sixteen(&*one);
        add(name, escaped(value, &*one), held_min);
    }
    for (name, coding) in
        [("base64", &BASE64), ("base64url", &BASE64URL), ("base64url, bare", &BASE64URL_NOPAD)]
    {
        for before in 0..3 {
            for after in 0..3 {
                let whole = [&b"\xff\xee"[..before], bytes, &b"\xdd\xcc"[..after]].concat();
                let text = coding.encode(&whole);
                let from = (before * 8).div_ceil(6);
                let to = (before + bytes.len()) * 8 / 6;
                forms.push(Form { name, text, from, length: to - from, held_min: 22 });
            }
        }
    }
    forms
}

/// Values without and with what begins escapes.
fn values() -> [String; 4] {
    [
        VALUE.to_owned(),
        "a%41b\\u0041c&amp;d\"<e>'f\\n%%&&\\\\g".to_owned(),
        "abababababababababababababababab".to_owned(),
        "x".repeat(16) + &"y".repeat(300),
    ]
}

#[test]
fn every_form_is_masked_byte_for_byte_wherever_it_is_cut() {
    for value in values() {
        let needles = needles(&[&value]);
        for form in forms(&value) {
            let Form { name, text: middle, from, length, held_min } = &form;
            let whole = format!("{{\"a\":\"{middle}\"}}");
            let (first, last) = (6 + from, 6 + from + length);
            let wanted = format!("{}{}{}", &whole[..first], "*".repeat(*length), &whole[last..]);
            assert_eq!(text(&fed(&needles, &[whole.as_bytes()])), wanted, "{name} of {value}");
            let masked =
                needles.masked(whole.as_bytes()).map(|text| String::from_utf8_lossy(&text).into_owned());
            assert_eq!(masked.as_deref(), Some(&*wanted), "{name} of {value}");
            for cut in 0..=whole.len() {
                let (one, two) = whole.as_bytes().split_at(cut);
                let out = fed(&needles, &[one, two]);
                let out_text = text(&out);
                assert_eq!(out_text.len(), whole.len(), "{name} of {value}, cut at {cut}");
                // What may go out before the rest has come: less than sixteen bytes of the value.
                let leaked = if cut > first && cut < first + held_min { cut } else { first };
                assert_eq!(out_text[leaked..], wanted[leaked..], "{name} of {value}, cut at {cut}");
                assert_eq!(out_text[..first], whole[..first], "{name} of {value}, cut at {cut}");
            }
        }
    }
}

#[test]
fn a_form_that_comes_byte_by_byte_is_masked_behind_its_first_bytes() {
    let needles = needles(&[VALUE]);
    for form in forms(VALUE) {
        let pieces: Vec<&[u8]> = form.text.as_bytes().chunks(1).collect();
        let out = text(&fed(&needles, &pieces));
        let rest = &out[form.from + form.held_min..form.from + form.length];
        assert_eq!(rest, "*".repeat(rest.len()), "{}", form.name);
        assert_eq!(out.len(), form.text.len());
    }
}

#[test]
fn nothing_waits_for_fewer_than_sixteen_bytes_of_a_value_in_whichever_form() {
    for value in values() {
        let needles = needles(&[&value]);
        for form in forms(&value) {
            for end in 0..form.text.len() {
                let said = format!("data: {}", &form.text[..end]);
                let mut scanner = Scanner::new(Arc::clone(&needles));
                let out = scanner.feed(Bytes::from(said.clone()), false);
                let waits = end >= form.from + form.held_min && end < form.from + form.length;
                let is_held = out.len() < said.len();
                let name = form.name;
                // Of a value that can be read in several ways, an escape can be the value itself.
                let is_plain = !value.bytes().any(escape::begins) && !value.starts_with("abab");
                if end < 16 || (is_plain && end < form.from + form.held_min) {
                    assert!(!is_held, "{name} of {value}: {end} bytes tell by their time");
                }
                assert!(is_held || !waits, "{name} of {value}: {end} bytes are not held");
                assert_eq!(out.len() + scanner.held(), said.len());
            }
        }
    }
}

#[test]
fn what_waited_goes_on_as_it_is_where_it_goes_on_otherwise_or_ends() {
    let needles = needles(&[VALUE]);
    for length in 16..VALUE.len() {
        let said = &VALUE.as_bytes()[..length];
        let out = fed(&needles, &[said, b"\n", b"more"]);
        assert_eq!(out[0], b"");
        assert_eq!(out[1], [said, b"\n"].concat());
        assert_eq!(out[2], b"more");
        let out = fed(&needles, &[said]);
        assert_eq!((out[0].len(), &out[1][..]), (0, said));
    }
}

#[test]
fn what_was_let_go_of_is_still_a_part_of_what_is_searched() {
    let needles = needles(&[VALUE]);
    for cut in 16..VALUE.len() {
        let mut scanner = Scanner::new(Arc::clone(&needles));
        assert_eq!(scanner.feed(Bytes::copy_from_slice(&VALUE.as_bytes()[..cut]), false), "");
        assert_eq!(scanner.release(), VALUE[..cut]);
        assert_eq!(scanner.held(), 0);
        let out = scanner.feed(Bytes::from(format!("{}!", &VALUE[cut..])), false);
        assert_eq!(out, format!("{}!", "*".repeat(VALUE.len() - cut)));
        assert!(scanner.has_found());
    }
}

#[test]
fn values_behind_one_another_and_of_several_kinds_are_all_masked() {
    let other = "another-value-of-32-characters!!";
    let needles = needles(&[VALUE, other, "too-short-to-look-for"]);
    let said = format!("{VALUE}{other}{VALUE} too-short-to-look-for {}", HEXLOWER.encode(other.as_bytes()));
    let out = text(&fed(&needles, &[said.as_bytes()]));
    let stars = "*".repeat(VALUE.len() * 2 + other.len());
    assert_eq!(out, format!("{stars} too-short-to-look-for {}", "*".repeat(64)));
}

#[test]
fn short_values_are_not_looked_for() {
    for value in ["", "x", "twenty-three-characters"] {
        assert!(Needles::of([value.as_bytes()].into_iter()).is_none(), "{value}");
    }
    assert!(Needles::of([&b"twenty-four-characters!!"[..]].into_iter()).is_some());
    assert!(Needles::of(std::iter::empty()).is_none());
}

#[test]
fn a_value_that_is_not_there_changes_nothing_and_copies_nothing() {
    let needles = needles(&[VALUE]);
    let mut scanner = Scanner::new(Arc::clone(&needles));
    let body =
        Bytes::from(r#"{"url":"https:\/\/a.example\/%20x?a=1&b=2","text":"line\nline \u00e9 &amp; more"}"#);
    let out = scanner.feed(body.clone(), false);
    assert_eq!(out.as_ptr(), body.as_ptr());
    assert_eq!(out, body);
    assert!(!scanner.has_found());
    assert!(needles.masked(&body).is_none());
}

#[test]
fn base64_text_of_a_value_that_is_escaped_itself_is_masked() {
    let value = "\u{ff}?>\u{ff}?>secret-of-some-length-here";
    let needles = needles(&[value]);
    let base64 = BASE64.encode(value.as_bytes());
    assert!(base64.contains('/') || base64.contains('+'));
    for said in
        [base64.replace('/', "\\/"), base64.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D")]
    {
        let out = text(&fed(&needles, &[said.as_bytes()]));
        assert!(out.starts_with("********************"), "{out}");
    }
    let mut json = String::new();
    for character in value.chars() {
        write!(json, "\\u{:04x}", u32::from(character)).expect("memory takes every write");
    }
    assert_eq!(text(&fed(&needles, &[json.as_bytes()])), "*".repeat(json.len()));
}

#[test]
fn work_is_in_proportion_to_what_comes_whatever_it_is() {
    const LENGTH: usize = 50_000;
    // Each of five ways to read takes a step for each byte, and looks again at an escape that has not come whole.
    const MOST: u64 = 20;
    let periodic = "ab".repeat(2000);
    let nearly = format!("{}c", "a".repeat(1000));
    let percent = "%a".repeat(500);
    for value in [VALUE, &periodic, &nearly, &percent, "%4141414141414141414141414141"] {
        let needles = needles(&[value]);
        let head = &value[..16];
        for unit in [
            "a",
            "ab",
            "abc",
            "%",
            "%4",
            "%61",
            "\\",
            "\\u00",
            "\\u0061",
            "&",
            "&#",
            "&#97;",
            "&#00000",
            "%2f",
            "\\/",
            "/",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
            "%a%61",
            head,
            &value[..value.len() - 1],
            &format!("{head}%61"),
        ] {
            let text = unit.repeat(LENGTH / unit.len());
            for piece in [1, 7, 1000, LENGTH] {
                let mut scanner = Scanner::new(Arc::clone(&needles));
                let mut out = 0;
                for piece in text.as_bytes().chunks(piece) {
                    out += scanner.feed(Bytes::copy_from_slice(piece), false).len();
                }
                out += scanner.release().len();
                assert_eq!(out, text.len());
                let (steps, most) = (scanner.steps(), MOST * text.len() as u64);
                assert!(
                    steps <= most,
                    "{steps} steps for {} bytes: {unit:.40} in pieces of {piece}",
                    text.len()
                );
            }
        }
    }
}

#[test]
fn what_waits_is_bounded_by_the_length_of_the_value() {
    let value = "ab".repeat(50);
    let needles = needles(&[&value]);
    let mut scanner = Scanner::new(Arc::clone(&needles));
    for _ in 0..1000 {
        scanner.feed(Bytes::from_static(b"\\u0061\\u0062"), false);
        assert!(scanner.held() <= 6 * 400, "{}", scanner.held());
    }
}

#[tokio::test]
async fn a_whole_body_is_masked_across_the_pieces_in_which_it_is_looked_through() {
    let needles = needles(&[VALUE]);
    for at in PIECE - VALUE.len()..=PIECE {
        let mut body = vec![b'.'; PIECE * 2 + 9];
        body[at..at + VALUE.len()].copy_from_slice(VALUE.as_bytes());
        let masked = needles.masked_whole(&body).await.expect("it is there");
        body[at..at + VALUE.len()].fill(b'*');
        assert_eq!(masked, body);
    }
    assert!(needles.masked_whole(&vec![b'.'; PIECE * 2]).await.is_none());
}

proptest! {
    #[test]
    fn any_mixture_of_escapes_in_any_pieces_is_masked(
        value in "[A-Za-z0-9/+=._~-]{24,60}",
        kinds in prop::collection::vec(0..8_u8, 60),
        before in "[a-z%&\\\\u#;0-9]{0,40}",
        cuts in prop::collection::vec(0..600_usize, 0..6),
    ) {
        let needles = needles(&[&value]);
        let mut middle = String::new();
        for (byte, kind) in value.bytes().zip(kinds) {
            match kind {
                0 => write!(middle, "%{byte:02x}"),
                1 => write!(middle, "\\u{byte:04X}"),
                2 => write!(middle, "&#{byte};"),
                3 => write!(middle, "&#x{byte:x};"),
                4 => write!(middle, "\\x{byte:02x}"),
                _ => write!(middle, "{}", char::from(byte)),
            }.expect("memory takes every write");
        }
        // A space, so that what stands before is no part of an escape.
        let whole = format!("{before} {middle} end");
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= whole.len()).collect();
        cuts.sort_unstable();
        let (mut pieces, mut at) = (Vec::new(), 0);
        for cut in cuts {
            pieces.push(&whole.as_bytes()[at..cut]);
            at = cut;
        }
        pieces.push(&whole.as_bytes()[at..]);
        let out = text(&fed(&needles, &pieces));
        prop_assert_eq!(out.len(), whole.len());
        let masked = out.bytes().filter(|byte| *byte == b'*').count();
        let least = if pieces.len() == 1 { middle.len() } else { 0 };
        prop_assert!(masked >= least, "{}", out);
        // The end of the value is behind any sixteen bytes of it that have come in one piece or in several.
        let last = &out[before.len() + 1 + middle.len() - 1..=before.len() + 1 + middle.len() - 1];
        prop_assert_eq!(last, "*");
        prop_assert!(out.ends_with(" end") && out.starts_with(&*before));
    }
}
