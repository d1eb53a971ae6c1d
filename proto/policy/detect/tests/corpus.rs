//! A labelled corpus for the detectors, made from a fixed seed: how much of what each is for it finds, and how often it
//! finds what only looks so. The tables of the documentation are what is measured here.
//!
//! Computes check digits itself, and calls nothing of what it measures but the scan.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use rr_domain::model::detector::{Detector, Detectors};

use super::super::Scan;

mod everyday;
mod numbers;
mod persons;
mod texts;

/// How many texts of each kind are made for each detector.
const EACH: usize = 1000;
/// How many everyday texts there are.
const EVERYDAY: usize = 5000;
/// How many numbers of each length.
const NUMBERS: usize = 20_000;

/// Falls alike each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// One of these, drawn: `#` is a digit, `!` one but zero, `^` and `~` a letter, `&` a digit in hexadecimal, `?` a
    /// letter in upper case or a digit, `*` a letter or a digit; `{7}` behind it is how many.
    fn draw(&mut self, of: &[&str]) -> String {
        let (pattern, mut text) = (self.one(of), String::new());
        let mut signs = pattern.chars().peekable();
        while let Some(sign) = signs.next() {
            let from: &[u8] = match sign {
                '#' => b"0123456789",
                '!' => b"123456789",
                '^' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                '~' => b"abcdefghijklmnopqrstuvwxyz",
                '&' => b"0123456789abcdef",
                '?' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
                '*' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                other => {
                    text.push(other);
                    continue;
                }
            };
            let mut count = 1;
            if signs.next_if_eq(&'{').is_some() {
                let digits: String = signs.by_ref().take_while(|sign| *sign != '}').collect();
                count = digits.parse().expect("a number in braces");
            }
            text.extend((0..count).map(|_| char::from(from[self.below(from.len())])));
        }
        text
    }
}

/// What one detector is tried with.
struct Kind {
    detector: Detector,
    /// What it is for, as it is mostly written.
    usual: fn(&mut Dice) -> String,
    /// The same, written in ways that fewer choose.
    rare: fn(&mut Dice) -> String,
    /// What is none, and looks so: with a wrong check digit, where there is one.
    alike: fn(&mut Dice) -> String,
}

fn kinds() -> Vec<Kind> {
    texts::kinds().into_iter().chain(numbers::kinds()).chain(persons::kinds()).collect()
}

/// Where things stand: sentences, fields of documents, lines of logs and tables, other scripts.
const AROUND: [&str; 26] = [
    "{}",
    "Please note {} before Friday.",
    "It was {}.",
    "Is it {}? I do not know.",
    "Not that one ({}), the other!",
    "They said: \u{201c}{}\u{201d}, twice",
    "{\"id\": 7, \"value\": \"{}\", \"open\": true}",
    "{\\\"id\\\":7,\\\"value\\\":\\\"{}\\\"}",
    "first line\\n{}\\nlast line",
    "2026-11-29T04:12:05.123Z INFO user={} status=200 took=12ms",
    "[29/Nov/2026:04:12:05 +0000] {} 200 512",
    "ERROR 17 failed for '{}': not found",
    "7,{},open,2026-11-29",
    "7;{};open;2026-11-29",
    "7\t{}\topen\t12.50",
    "\"7\",\"{}\",\"open\"",
    "<td>{}</td><td>12</td>",
    "value: {}\nother: 7\n",
    "export VALUE={}",
    "VALUE=\"{}\" ./run",
    "- {}\n- none",
    "| 7 | {} | open |",
    "\u{8bf7}\u{67e5}\u{770b} {} \u{8c22}\u{8c22}",
    "Gr\u{fc}\u{df}e an {} \u{2014} bis Mo.",
    "\u{1f4e7} {} \u{1f44b}",
    "{} 12 pieces at 9.90",
];

/// In the address of a page: what may not stand there is encoded.
const IN_ADDRESS: [&str; 3] = [
    "https://shop.example/find?q={}&page=2",
    "GET /people/{}/orders?limit=50 HTTP/1.1",
    "https://shop.example/people/{}",
];

fn place(around: &str, item: &str) -> (String, Range<usize>) {
    let start = around.find("{}").expect("a place");
    (around.replace("{}", item), start..start + item.len())
}

fn encoded(dice: &mut Dice, item: &str) -> String {
    let plus = dice.below(2) == 0;
    let mut text = String::new();
    for byte in item.bytes() {
        match byte {
            b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => text.push(byte.into()),
            b' ' if plus => text.push('+'),
            _ => write!(text, "%{byte:02X}").expect("a text takes all"),
        }
    }
    text
}

fn finds(set: Detectors, text: &str) -> Vec<Range<usize>> {
    let (mut all, mut scan) = (Vec::new(), Scan::new(set));
    while !scan.advance(text.as_bytes(), usize::MAX, &mut |_, range| all.push(range)) {}
    all
}

/// Whether nothing of a part is left.
fn is_covered(finds: &[Range<usize>], part: &Range<usize>) -> bool {
    part.clone().all(|at| finds.iter().any(|find| find.contains(&at)))
}

fn only(detector: Detector) -> Detectors {
    Detectors::default().with(detector)
}

fn name(detector: Detector) -> String {
    detector.as_str_name().trim_start_matches("DETECTOR_").to_lowercase().replace('_', "-")
}

fn percent(part: usize, of: usize) -> String {
    let text = format!("{:.1}", part as f64 * 100.0 / of as f64);
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// What is measured of a detector: how often all of a thing is found, and how often something is that is none.
fn measure(kind: &Kind, everyday: &[String]) -> String {
    let (alone, all) = (only(kind.detector), Detectors::all());
    let mut dice = Dice(kind.detector as u64);
    let (mut usual, mut with_all, mut rare, mut in_address, mut alike) = (0, 0, 0, 0, 0);
    for _ in 0..EACH {
        let (text, part) = place(dice.one(&AROUND), &(kind.usual)(&mut dice));
        usual += usize::from(is_covered(&finds(alone, &text), &part));
        with_all += usize::from(is_covered(&finds(all, &text), &part));
        let (text, part) = place(dice.one(&AROUND), &(kind.rare)(&mut dice));
        rare += usize::from(is_covered(&finds(alone, &text), &part));
        let item = (kind.usual)(&mut dice);
        let (text, part) = place(dice.one(&IN_ADDRESS), &encoded(&mut dice, &item));
        in_address += usize::from(is_covered(&finds(alone, &text), &part));
        let (text, _) = place(dice.one(&AROUND), &(kind.alike)(&mut dice));
        alike += usize::from(!finds(alone, &text).is_empty());
    }
    let daily = everyday.iter().filter(|text| !finds(alone, text).is_empty()).count();
    let of = |part| percent(part, EACH);
    format!(
        "| `{}` | {} | {} | {} | {} | {} | {} |\n",
        name(kind.detector),
        of(usual),
        of(with_all),
        of(rare),
        of(in_address),
        of(alike),
        percent(daily, EVERYDAY),
    )
}

const HEAD: &str = "| detector | found | with all 22 | in rare notations | in addresses of pages | taken for one: alike | everyday |\n|---|---|---|---|---|---|---|\n";
const HEAD_OF_CHANCE: &str = "| digits | taken for one by some detector | by which |\n|---|---|---|\n";

/// How many numbers without any other sign are somebody's by chance.
fn chance(length: usize) -> String {
    let mut dice = Dice(length as u64);
    let numbers: Vec<String> = (0..NUMBERS).map(|_| dice.draw(&[&format!("!#{{{}}}", length - 1)])).collect();
    let count = |set| numbers.iter().filter(|number| !finds(set, number).is_empty()).count();
    let some = count(Detectors::all());
    let mut by: Vec<(usize, String)> = Detectors::all()
        .iter()
        .map(|detector| (count(only(detector)), name(detector)))
        .filter(|(count, _)| *count > 0)
        .collect();
    by.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    let by: Vec<String> =
        by.iter().map(|(count, name)| format!("`{name}` {}", percent(*count, NUMBERS))).collect();
    format!("| {length} | {} | {} |\n", percent(some, NUMBERS), by.join(", "))
}

/// The rows of the table with this head in a document.
fn rows<'d>(document: &'d str, head: &str) -> &'d str {
    let (_, behind) = document.split_once(head).expect("the table is there");
    let length: usize =
        behind.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
    &behind[..length]
}

#[test]
fn the_documentation_says_what_detectors_find_and_take_for_it() {
    let mut dice = Dice(0);
    let everyday: Vec<String> = (0..EVERYDAY).map(|_| everyday::text(&mut dice)).collect();
    let kinds = kinds();
    let detectors: Vec<Detector> = kinds.iter().map(|kind| kind.detector).collect();
    assert_eq!(detectors, Detectors::all().iter().collect::<Vec<_>>(), "each once, in order");
    let found: String = kinds.iter().map(|kind| measure(kind, &everyday)).collect();
    let by_chance: String = (8..=19).map(chance).collect();
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/apply.md"));
    let document = std::fs::read_to_string(&path).expect("the documentation is there");
    let wanted =
        [(HEAD, &found), (HEAD_OF_CHANCE, &by_chance)].iter().fold(document.clone(), |text, (head, new)| {
            let old = rows(&text, head).to_owned();
            text.replacen(&format!("{head}{old}"), &format!("{head}{new}"), 1)
        });
    if std::env::var_os("RRCTL_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &wanted).expect("it is written");
    }
    assert!(
        std::fs::read_to_string(&path).expect("it is there") == wanted,
        "docs/apply.md does not say what is measured: run this test with RRCTL_WRITE_SCHEMA=1, and look at what \
         changed\n{found}\n{by_chance}"
    );
}
