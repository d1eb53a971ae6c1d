//! Values and escapes at the edges of each other, of pieces and of bounds.

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;

#[test]
fn an_escape_that_is_cut_where_it_is_let_go_of_is_still_searched() {
    let needles = needles(&[VALUE]);
    for cut in 1..6 {
        let said = format!("{}\\u{:04x}{}", &VALUE[..20], VALUE.as_bytes()[20], &VALUE[21..]);
        let (one, two) = said.split_at(20 + cut);
        let mut scanner = Scanner::new(Arc::clone(&needles));
        assert_eq!(scanner.feed(Bytes::copy_from_slice(one.as_bytes()), false), "");
        assert_eq!(scanner.release(), one);
        let out = scanner.feed(Bytes::from(format!("{two} end")), true);
        assert_eq!(out, format!("{} end", "*".repeat(two.len())), "cut at {cut}");
    }
}

#[test]
fn an_escape_that_is_cut_behind_the_beginning_of_a_form_loses_nothing_of_it() {
    let needles = needles(&[VALUE]);
    let hex = HEXLOWER.encode(VALUE.as_bytes());
    for digit in 1..HEX_HELD_MIN {
        let escape = format!("&#x{:07x};", hex.as_bytes()[digit]);
        let said = format!("{}{escape}{}", &hex[..digit], &hex[digit + 1..]);
        for cut in digit..digit + escape.len() {
            let (one, two) = said.split_at(cut);
            let before = "a text that is so long that nobody looks at the beginning of it again: ";
            let out = text(&fed(&needles, &[format!("{before}{one}").as_bytes(), two.as_bytes()]));
            let rest = &out[before.len() + HEX_HELD_MIN + escape.len()..];
            assert_eq!(rest, "*".repeat(rest.len()), "digit {digit}, cut at {cut}");
        }
    }
}

#[test]
fn a_value_that_begins_with_what_could_be_an_escape_is_found_where_another_escape_stands_in_it() {
    for (value, said) in [
        ("%00bcdefghijklmnopqrstuvwx", "%00\\u0062cdefghijklmnopqrstuvwx"),
        ("&lt;cdefghijklmnopqrstuvwx", "&lt;%63defghijklmnopqrstuvwx"),
        ("\\ncdefghijklmnopqrstuvwxyz", "\\n&#99;defghijklmnopqrstuvwxyz"),
    ] {
        let masked = needles(&[value]).masked(said.as_bytes()).expect("it is there");
        assert_eq!(String::from_utf8_lossy(&masked), "*".repeat(said.len()), "{value}");
    }
}

#[test]
fn a_value_in_the_end_or_the_middle_of_the_beginning_of_another_is_masked() {
    // A form of the first one that goes on otherwise ends in the second one, or has it in it.
    let second = "value-of-24-characters-01";
    let first = format!("before-the-{second}-and-behind-it");
    let needles = needles(&[&first, second]);
    for end in [11 + second.len(), first.len() - 1] {
        let out = text(&fed(&needles, &[&first.as_bytes()[..end], b"!"]));
        let wanted = format!("before-the-{}{}!", "*".repeat(second.len()), &first[11 + second.len()..end]);
        assert_eq!(out, wanted);
    }
}

#[test]
fn what_is_too_little_of_one_form_to_be_held_back_is_held_where_it_is_enough_of_another() {
    // Read from the escape on, it is the beginning of the first one in hexadecimal.
    let digits = "30313233343536373839616263";
    let needles = needles(&["x0123456789abcdefghijklmnop", digits]);
    let out = fed(
        &needles,
        &[format!("7%38{}", &digits[..20]).as_bytes(), format!("{}!", &digits[20..]).as_bytes()],
    );
    assert_eq!(out[0], b"7%38");
    assert_eq!(text(&out), format!("7%38{}!", "*".repeat(digits.len())));
}

#[test]
fn a_value_that_begins_in_what_looks_like_its_beginning_is_masked() {
    let value = "abababcdefghijklmnopqrstuvwx";
    let said = "ababab%61bcdefghijklmnopqrstuvwx";
    let masked = needles(&[value]).masked(said.as_bytes()).expect("it is there");
    assert_eq!(String::from_utf8_lossy(&masked), format!("ab{}", "*".repeat(said.len() - 2)));
}

#[test]
fn what_can_be_read_in_several_ways_hides_nothing_that_stands_in_it_or_behind_it() {
    let value = "%00bcdefghijklmnopqrstuvwx";
    let said = format!("\\%41 {value}");
    let masked = needles(&[value]).masked(said.as_bytes()).expect("it is there");
    assert_eq!(String::from_utf8_lossy(&masked), format!("\\%41 {}", "*".repeat(value.len())));
    // One way to read it waits for the rest of an escape, which is none in another.
    let value = "0123\\Abcdefghijklmnopqrstuvw";
    let said = "0123\\%41bcdefghijklmnopqrstuvw";
    for cut in 5..9 {
        let (one, two) = said.as_bytes().split_at(cut);
        let out = text(&fed(&needles(&[value]), &[one, two]));
        assert!(out.ends_with(&"*".repeat(said.len() - 18)), "cut at {cut}: {out}");
    }
}

#[test]
fn no_more_than_the_first_bytes_of_a_long_value_are_looked_for() {
    let value: String = (0..VALUE_MOST).map(|n| format!("{n:05}")).collect();
    let out = needles(&[&value]).masked(value.as_bytes()).expect("it is there");
    let stars = out.iter().filter(|byte| **byte == MASK).count();
    assert_eq!((out.len(), stars), (value.len(), VALUE_MOST));
}

#[test]
fn a_long_body_rests_between_its_pieces_and_a_short_one_does_not() {
    let needles = needles(&[VALUE]);
    for (length, rests) in [(0, 0), (PIECE, 0), (PIECE * 3 + 1, 3)] {
        let body = vec![b'.'; length];
        let (mut search, mut seen) = (pin!(needles.masked_whole(&body)), 0);
        while search.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            seen += 1;
        }
        assert_eq!(seen, rests, "{length}");
    }
}
