//! What each detector finds and what it leaves, and that no text makes one slow.

use proptest::prelude::*;
use rr_domain::model::detector::{Detector, Detectors};

use super::super::Scan;

fn found(set: Detectors, text: &str) -> Vec<(Detector, String)> {
    let (mut all, mut scan) = (Vec::new(), Scan::new(set));
    while !scan.advance(text.as_bytes(), usize::MAX, &mut |detector, range| {
        all.push((range.start, detector, String::from_utf8_lossy(&text.as_bytes()[range]).into_owned()));
    }) {}
    all.sort();
    all.into_iter().map(|(_, detector, text)| (detector, text)).collect()
}

fn only(detector: Detector) -> Detectors {
    Detectors::default().with(detector)
}

const TABLE: &[(Detector, &[&str], &[&str])] = &[
    (
        Detector::Email,
        &["ann@example.com", "j\u{f6}rg.o'neill+x@mail.example.co.uk", "a@b.de"],
        &["@example.com", "user@localhost", "a@b", "a@.de", "@", "a@b.c", "react@18.2.10", "root@10.0.0.12"],
    ),
    (
        Detector::Phone,
        &[
            "+49 30 1234567",
            "+4930123456",
            "+1 (415) 555-2671",
            "+44 (0)20 7946 0958",
            "+33.1.23.45.67.89",
            "0049 30 1234567",
            "(415) 555-2671",
            "415-555-2671",
            "415.555.2671",
            "1-415-555-2671",
            "030/1234567",
            "0171-1234567",
            "01 23 45 67 89",
            "020 7946 0958",
        ],
        &[
            "2024-11-27",
            "2024-11-27 10:20:30",
            "01-02-2024",
            "05.12.2024 10:20",
            "12:34:56",
            "1.2.3.4",
            "192.168.178.201",
            "4155552671",
            "115-555-2671",
            "+1",
            "1 + 2",
            "550e8400-e29b-41d4-a716-446655440000",
            "00000000",
            "3.14159265358979",
        ],
    ),
    (
        Detector::Card,
        &[
            "4111111111111111",
            "4111 1111 1111 1111",
            "5555-5555-5555-4444",
            "378282246310005",
            "3782 822463 10005",
            "6011111111111117",
            "30569309025904",
            "3530111333300000",
            "6212345678901232",
            "2223003122003222",
        ],
        &[
            "4111111111111112",
            "1111111111111117",
            "0.4111111111111111",
            "x4111111111111111",
            "4111111111111111a",
            "1732752000000",
            "41111111111111111111",
            "9999999999999995",
        ],
    ),
    (
        Detector::Iban,
        &[
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "GB29NWBK60161331926819",
            "GB29 NWBK 6016 1331 9268 19",
            "FR1420041010050500013M02606",
            "NL91ABNA0417164300",
            "nl91abna0417164300",
            "MT84MALT011000012345MTLCAST001S",
        ],
        &[
            "DE89370400440532013001",
            "DE8937040044053201300",
            "XX89370400440532013000",
            "ADE89370400440532013000",
            "DE89370400440532013000X",
            "_DE89370400440532013000",
            "7DE89370400440532013000",
            "DE8",
        ],
    ),
    (
        Detector::Key,
        &["sk_live_4fX92bQzA", "ghp_4fX92bQzA", "AKIA4FX92BQZA123"],
        &["sk_live_", "ghp", "akin"],
    ),
    (
        Detector::Jwt,
        &["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"],
        &["eyJhbGciOiJIUzI1NiJ9", "eyJ.", "eye"],
    ),
    (
        Detector::Pem,
        &["-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----"],
        &["-----", "----- BEGIN"],
    ),
    (
        Detector::Random,
        &["Zk3vQ9_x7LmT2-pW8sYb4Nc6", "4bf92f3577b34da6a3ce929d0e0e4736"],
        &["getUserAccountInformation", "550e8400-e29b-41d4-a716-446655440000"],
    ),
    (
        Detector::UsSsn,
        &["123-45-6789", "899 45 6789"],
        &[
            "000-45-6789",
            "666-45-6789",
            "900-45-6789",
            "123-00-6789",
            "123-45-0000",
            "123456789",
            "123-45 6789",
        ],
    ),
    (
        Detector::UkNino,
        &["AB123456C", "AB 12 34 56 C", "jg103759a"],
        &["DA123456C", "AO123456C", "GB123456C", "AB123456E", "AB123456CX", "XAB123456C", "AB 12 34 56"],
    ),
    (
        Detector::UkNhs,
        &["943 476 5919", "9434765919", "943-476-5919", "0101014244", "3200000007"],
        &["943 476 5918", "1111111111", "1763758877", "5992924426"],
    ),
    (
        Detector::DeTaxId,
        &["86095742719", "86 095 742 719", "47036892816"],
        &["86095742718", "01234567890", "11111111111"],
    ),
    (
        Detector::FrNir,
        &["255081416802538", "2 55 08 14 168 025 38", "2550814168025 38"],
        &["255081416802539", "955081416802538"],
    ),
    (
        Detector::EsDni,
        &["12345678Z", "12345678-z", "X1234567L", "Y1234567X"],
        &["12345678A", "X1234567A", "12345678ZZ", "A1234567L"],
    ),
    (
        Detector::ItFiscalCode,
        &["RSSMRA85T10A562S", "rssmra85t10a562s"],
        &["RSSMRA85T10A562T", "RSSMRA85T10A562", "RSSMRA85Z10A562S"],
    ),
    (Detector::NlBsn, &["111222333", "123456782", "1234.56.782"], &["111222334", "111222335"]),
    (Detector::BrCpf, &["52998224725", "529.982.247-25"], &["52998224724", "11111111111", "529.982.247.25"]),
    (
        Detector::InAadhaar,
        &["234123412346", "2341 2341 2346"],
        &["234123412345", "134123412346", "2341 23412346"],
    ),
    (Detector::PlPesel, &["44051401359"], &["44051401358", "44991401359"]),
    (Detector::ChAhv, &["756.9217.0769.85", "7569217076985"], &["756.9217.0769.84", "7579217076985"]),
    (
        Detector::CnResidentId,
        &["11010519491231002X", "440524188001010014"],
        &["110105194912310021", "11010519491331002X"],
    ),
    (Detector::CaSin, &["130 692 544", "130-692-544", "130692544"], &["130 692 545", "800000002"]),
];

#[test]
fn each_detector_finds_what_it_is_for_and_leaves_what_only_looks_like_it() {
    let mut wrong = Vec::new();
    for (detector, wanted, left) in TABLE {
        for text in *wanted {
            for around in ["{}", "a {} b", "({})", "\"{}\"", "x: {}, y", "{}.", "\\n{}\\n"] {
                let around = around.replace("{}", text);
                let all = found(only(*detector), &around);
                if all != [(*detector, (*text).to_owned())] {
                    wrong.push(format!("{detector:?} in {around:?}: {all:?}"));
                }
            }
        }
        for text in *left {
            let all = found(only(*detector), text);
            if !all.is_empty() {
                wrong.push(format!("{detector:?} not in {text:?}: {all:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let in_table: Detectors = TABLE.iter().map(|(detector, ..)| *detector).collect();
    assert_eq!(in_table, Detectors::all(), "each detector has its cases");
}

#[test]
fn a_number_of_a_telephone_ends_where_another_number_begins() {
    let phones = only(Detector::Phone);
    for (text, wanted) in [
        ("+49 30 2154305 12ms", "+49 30 2154305"),
        ("+55 11 98927-4270 2002 512", "+55 11 98927-4270"),
        ("+49 30 2154305 20026", "+49 30 2154305"),
        ("030 2154305 12ms", "030 2154305"),
        ("0171-2154305 2002 512", "0171-2154305"),
    ] {
        assert_eq!(found(phones, text), [(Detector::Phone, wanted.to_owned())], "{text}");
    }
    for text in ["+493021543051234567", "+4930ab", "+0301234567", "030 2154305x"] {
        assert_eq!(found(phones, text), [], "{text}");
    }
}

#[test]
fn what_stands_at_the_end_of_a_text_is_found_wherever_a_scan_was_left_before() {
    let all = Detectors::all();
    for end in
        ["ann@example.com", "a@b.de", "4111111111111111", "x/y/4111-1111-1111-1111", "_ann@example.com"]
    {
        for before in ["Is it ", "(", "a-very-long-word/before-it,"] {
            let text = format!("{before}{end}");
            let whole = found(all, &text);
            assert!(!whole.is_empty(), "{text}");
            for bytes in 1..text.len() {
                let (mut parts, mut scan) = (Vec::new(), Scan::new(all));
                while !scan.advance(text.as_bytes(), bytes, &mut |detector, range| {
                    parts.push((range.start, detector, text[range].to_owned()));
                }) {}
                parts.sort();
                let parts: Vec<_> = parts.into_iter().map(|(_, detector, text)| (detector, text)).collect();
                assert_eq!(parts, whole, "{text:?} by {bytes}");
            }
        }
    }
}

#[test]
fn base64_goes_whole_whatever_slashes_are_in_it_and_a_path_stays() {
    for (text, wanted) in [
        (
            "key apteFXr39yaNOeE/BrYIZD+SojLJXHm7s0fgDeEdmHEo==",
            "apteFXr39yaNOeE/BrYIZD+SojLJXHm7s0fgDeEdmHEo==",
        ),
        ("6FV1tQzF6WLu/Rs/Svntp0LVJvXhkH4XQk0xRdj", "6FV1tQzF6WLu/Rs/Svntp0LVJvXhkH4XQk0xRdj"),
        ("/srv/releases/Svntp0LVJvXhkH4XQk0xRdj", "Svntp0LVJvXhkH4XQk0xRdj"),
        ("/v1/4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        assert_eq!(found(only(Detector::Random), text), [(Detector::Random, wanted.to_owned())], "{text}");
    }
}

#[test]
fn an_address_of_a_page_and_the_numbers_of_a_version_are_nobodys_number() {
    let all = Detectors::all();
    for text in [
        "https://example.com/orders/111222333/items/9434765919",
        "v1.130692544.2",
        "2024-11-27T10:20:30.123456789Z",
        "id-111222333-4",
        "[0.023064255714416504,-0.009287819862365723,0.4111111111111111]",
        "10.0.0.1:8080",
        "1,234,567.89",
        "UTC+02:00",
        "lorem ipsum dolor sit amet, consectetur adipiscing elit 42 times",
    ] {
        let found = found(all, text);
        // A long piece of an address is a number of its own to those without a check of what is around.
        assert!(found.is_empty(), "{text:?}: {found:?}");
    }
}

/// Fifty texts that a search which begins anew at each place would take hours for.
pub(super) const HOSTILE: [&str; 50] = [
    "1",
    "1 ",
    "1-",
    "1.",
    "11 ",
    "0 ",
    "01 ",
    "+",
    "+1",
    "+1 ",
    "(415) ",
    "(",
    "4111 ",
    "4111-",
    "4111111111111111",
    "4111111111111111 ",
    "4111111111111112 ",
    "411111111111111 ",
    "DE89",
    "DE89 ",
    "DE8937040044053201300 ",
    "AB12 ",
    "AB 12 34 56 ",
    "RSSMRA85T10A562",
    "RSSMRA85",
    "X1234567",
    "12345678-",
    "123-45-",
    "123-45-678 ",
    "756.9217.0769.8 ",
    "@",
    "a@",
    "a@a.",
    "a@b.de",
    "a.b.c@d.e.",
    "\u{e9}@\u{e9}.",
    "%@",
    "-----BEGIN",
    "-----BEGIN -----END",
    "eyJ.",
    "eyJ-",
    "eyJaaaaaaaa.",
    "sk_live_",
    "sk_live_aaaaaaaa/",
    "sk-",
    "Aa1",
    "Aa1-",
    "a1/",
    "\\n",
    "\\u0040",
];

#[test]
fn twice_the_text_takes_twice_the_time_whatever_it_is() {
    let all = Detectors::all();
    for part in HOSTILE {
        let time = |length: usize| {
            let text = part.repeat(length / part.len());
            // The best of some: others run on this machine too.
            let time = || {
                let (begun, mut count) = (std::time::Instant::now(), 0_u64);
                let mut scan = Scan::new(all);
                while !scan.advance(text.as_bytes(), 4096, &mut |_, _| count += 1) {}
                std::hint::black_box(count);
                begun.elapsed()
            };
            (0..5).map(|_| time()).min().expect("some")
        };
        let (once, eight) = (time(1 << 15), time(1 << 18));
        assert!(
            eight < once * 40 + std::time::Duration::from_millis(2),
            "{part:?}: {once:?}, then {eight:?}"
        );
    }
}

proptest! {
    #[test]
    fn it_makes_no_difference_where_a_scan_is_left(text in "[-0-9A-Ba-c@. +()eyJDE]{0,200}", bytes in 1_usize..50) {
        let whole = found(Detectors::all(), &text);
        let (mut all, mut scan) = (Vec::new(), Scan::new(Detectors::all()));
        while !scan.advance(text.as_bytes(), bytes, &mut |detector, range| {
            all.push((range.start, detector, text[range].to_owned()));
        }) {}
        all.sort();
        let parts: Vec<_> = all.into_iter().map(|(_, detector, text)| (detector, text)).collect();
        prop_assert_eq!(parts, whole);
    }

    #[test]
    fn whatever_the_text_is_what_a_scan_finds_lies_within_it(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut scan = Scan::new(Detectors::all());
        while !scan.advance(&text, 64, &mut |_, range| {
            assert!(range.start < range.end && range.end <= text.len(), "{range:?}");
        }) {}
    }
}
