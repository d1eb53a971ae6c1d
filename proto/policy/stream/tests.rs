//! Streams taken apart: all of a stream is in its units, wherever it is cut, and each has its document.

use proptest::prelude::*;

use super::*;

/// The units of a stream that comes in such pieces, and whether it may end there.
fn units(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<Vec<u8>>, bool), Unframed> {
    let (mut units, mut all) = (Units::new(framing), Vec::new());
    let mut take = |_: Framing, unit: Unit<'_>| match unit {
        Unit::Whole(unit) => all.push(unit.to_vec()),
        Unit::TooLong => all.push(b"too long".to_vec()),
    };
    for piece in pieces {
        units.push(piece, &mut take)?;
    }
    let ended = units.finish(&mut take).is_ok();
    Ok((all, ended))
}

fn documents(framing: Framing, stream: &[u8]) -> Vec<String> {
    let (units, _) = units(framing, &[stream]).expect("it is framed");
    let document = |unit: &Vec<u8>| {
        let mut joined = Vec::new();
        framing.document(unit, &mut joined).map(|it| String::from_utf8_lossy(it).into_owned())
    };
    units.iter().filter_map(document).collect()
}

/// A message with headers of this text, and this payload.
pub(crate) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut of_headers = Vec::new();
    for (name, value) in headers {
        of_headers.push(u8::try_from(name.len()).expect("it is short"));
        of_headers.extend_from_slice(name.as_bytes());
        of_headers.push(7);
        of_headers.extend_from_slice(&u16::try_from(value.len()).expect("it is short").to_be_bytes());
        of_headers.extend_from_slice(value.as_bytes());
    }
    let length = u32::try_from(16 + of_headers.len() + payload.len()).expect("it is short");
    let mut all = length.to_be_bytes().to_vec();
    all.extend(u32::try_from(of_headers.len()).expect("it is short").to_be_bytes());
    all.extend([0; 4]);
    all.extend(of_headers);
    all.extend_from_slice(payload);
    all.extend([0; 4]);
    all
}

const EVENTS: &str = "\u{FEFF}: hello\n\ndata: {\"a\":\ndata: 1}\nevent: x\n\nid: 7\r\ndata:{\"b\":2}\r\n\r\ndata\n\n\rdata: [DONE]\r\rdata: {\"c\":3}";

#[test]
fn events_have_the_data_of_their_lines_and_comments_and_marks_have_none() {
    assert_eq!(documents(Framing::Events, EVENTS.as_bytes()), ["{\"a\":\n1}", "{\"b\":2}", "{\"c\":3}"]);
}

#[test]
fn lines_elements_and_messages_have_their_documents() {
    assert_eq!(documents(Framing::Lines, b"{\"a\":1}\r\n\n [2] \n3"), ["{\"a\":1}", "[2]", "3"]);
    let array = br#" [ {"a":"]},\"["} , [1,{"b":[2]}],3 ] "#;
    assert_eq!(documents(Framing::Array, array)[1..], [r#"{"a":"]},\"["}"#, r#"[1,{"b":[2]}]"#, "3"]);
    let plain = message(&[(":event-type", "metadata"), (":content-type", "application/json")], b"{\"u\":1}");
    let chunk = message(
        &[(":message-type", "event"), (":event-type", "chunk")],
        br#"{"p":"ab","bytes":"eyJ1IjoyfQ=="}"#,
    );
    let odd = message(&[(":event-type", "chunk")], br#"{"bytes":"?"}"#);
    assert_eq!(documents(Framing::Messages, &[plain, chunk, odd].concat()), [r#"{"u":1}"#, r#"{"u":2}"#]);
}

#[test]
fn a_stream_cut_at_any_two_places_has_the_same_units_and_loses_no_byte() {
    let messages = [message(&[], b"{}"), message(&[("a", "b")], b"{\"u\":1}")].concat();
    for (framing, stream) in [
        (Framing::Events, EVENTS.as_bytes()),
        (Framing::Lines, b"{\"a\":1}\r\n\n[2]\n3"),
        (Framing::Array, br#" [{"a":"]\\\"}"},[1],"\u005d",3] "#),
        (Framing::Messages, &messages),
    ] {
        let whole = units(framing, &[stream]).expect("it is framed");
        assert!(whole.1);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                let (cut, ended) = units(framing, &pieces).expect("it is framed");
                // A line feed behind the last carriage return of an event may come too late for it.
                let joined = |units: &[Vec<u8>]| units.concat();
                if framing == Framing::Events {
                    assert_eq!((joined(&cut), ended), (joined(&whole.0), true), "{first} {second}");
                } else {
                    assert_eq!((&cut, ended), (&whole.0, true), "{framing:?} {first} {second}");
                }
                let mut found = Vec::new();
                for unit in &cut {
                    found.extend(framing.document(unit, &mut Vec::new()).map(<[u8]>::to_vec));
                }
                let wanted = documents(framing, stream);
                let wanted: Vec<_> = wanted.iter().map(String::as_bytes).collect();
                assert_eq!(found, wanted, "{framing:?} {first} {second}");
            }
        }
    }
}

#[test]
fn a_unit_that_is_too_long_goes_and_the_next_is_there() {
    let long = "x".repeat(UNIT_MAX);
    for (framing, stream) in [
        (Framing::Events, format!("data: 1\n\ndata: {long}\n\ndata: 2\n\n")),
        (Framing::Lines, format!("1\n{long}\n2\n")),
        (Framing::Array, format!("[1,\"{long}\",2]")),
    ] {
        for size in [1_000, 70_000, stream.len()] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            let (units, ended) = units(framing, &pieces).expect("it is framed");
            let too_long = units.iter().filter(|unit| **unit == b"too long").count();
            let short: usize = units.iter().map(Vec::len).sum();
            assert!(ended && too_long == 1 && short < 50, "{framing:?} {size}");
        }
    }
}

#[test]
fn no_more_is_held_than_a_unit_and_nothing_of_one_that_was_too_long() {
    let mut units = Units::new(Framing::Events);
    for _ in 0..1_000 {
        units.push(&[b'x'; 1_000], &mut |_: Framing, _: Unit<'_>| ()).expect("it is framed");
        assert!(units.held() <= 2 * UNIT_MAX);
    }
    assert_eq!(units.held(), 0);
}

#[test]
fn what_is_not_framed_so_is_told() {
    for stream in [&b"{}"[..], b"[1}", b"[1] 2", b"[]]"] {
        assert_eq!(units(Framing::Array, &[stream]), Err(Unframed), "{stream:?}");
    }
    assert_eq!(units(Framing::Messages, &[&[0, 0, 0, 15, 0]]), Err(Unframed));
    assert_eq!(units(Framing::Messages, &[&[0xFF; 8]]), Err(Unframed));
    for stream in [&b"[1"[..], b"", b"[\"]"] {
        assert!(!units(Framing::Array, &[stream]).expect("so far").1, "{stream:?}");
    }
    let message = message(&[], b"{}");
    assert!(!units(Framing::Messages, &[&message[..message.len() - 1]]).expect("so far").1);
}

#[test]
fn an_event_is_written_anew_with_its_other_lines() {
    let check = |unit: &str, document: &str, wanted: &str| {
        let mut out = Vec::new();
        Framing::Events.rewrite(unit.as_bytes(), document.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    };
    check("event: x\ndata: {\"a\":1}\nid: 7\n\n", "{}", "event: x\ndata: {}\nid: 7\n\n");
    check("data:{\ndata:}\r\n\r\n", "{}", "data:{}\n\r\n");
    check("\u{FEFF}data: 1", "2", "\u{FEFF}data: 2\n");
    check("\u{FEFF}data: 1\n\n", "{\n}", "\u{FEFF}data: {\ndata: }\n\n");
    check("data: 1\n\n", "{\n}", "data: {\ndata: }\n\n");
    let mut out = Vec::new();
    Framing::Lines.rewrite(b"{\"a\":1}\r\n", b"{}", &mut out);
    Framing::Lines.rewrite(b"{\"a\":1}", b"{}", &mut out);
    assert_eq!(out, b"{}\r\n{}");
}

#[test]
fn framings_are_told_by_their_types() {
    for (kind, framing) in [
        ("text/event-stream", Some(Framing::Events)),
        ("Application/X-NDJSON", Some(Framing::Lines)),
        ("application/jsonl", Some(Framing::Lines)),
        ("application/vnd.amazon.eventstream", Some(Framing::Messages)),
        ("application/json", None),
        ("text/plain", None),
    ] {
        assert_eq!(Framing::of(kind.as_bytes()), framing, "{kind}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_nothing_is_lost_and_nothing_panics(
        stream in prop::collection::vec(prop::sample::select(b"{}[]\",:\\ \n\rdata1\0".to_vec()), 0..200),
        cut in 1..20_usize,
    ) {
        for framing in [Framing::Events, Framing::Lines, Framing::Array, Framing::Messages] {
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            let Ok((units, ended)) = units(framing, &pieces) else { continue };
            let joined = units.concat();
            prop_assert!(stream.starts_with(&joined));
            if matches!(framing, Framing::Events | Framing::Lines) {
                prop_assert!(ended && joined == stream);
            }
            for unit in units {
                framing.document(&unit, &mut Vec::new());
                framing.rewrite(&unit, b"{}", &mut Vec::new());
            }
        }
    }
}

/// Looks at what holds an `x` alone.
#[derive(Default)]
struct Picky {
    seen: Vec<Vec<u8>>,
    passed: std::cell::Cell<usize>,
}

impl Look for Picky {
    fn unit(&mut self, _: Framing, unit: Unit<'_>) {
        let Unit::Whole(unit) = unit else { panic!("none is too long") };
        self.seen.push(unit.to_vec());
    }

    fn passes_by(&self, _: Framing, units: &[u8]) -> bool {
        let passes = !units.contains(&b'x');
        self.passed.set(self.passed.get() + if passes { units.len() } else { 0 });
        passes
    }
}

#[test]
fn whole_units_that_nobody_wants_are_passed_by_at_once_and_all_others_come_wherever_the_stream_is_cut() {
    for (framing, stream) in [
        (
            Framing::Events,
            "data: 1\n\n: a\r\n\r\ndata: x\n\n\n\ndata: 2\r\rdata: 3\n\ndata: x4\n\ndata: 5\n\n: z",
        ),
        (Framing::Lines, "1\n\n2\r\nx\n3\n4\nx5\n6\n7"),
    ] {
        // The line feed behind a carriage return may come with the next unit.
        let wants = |unit: Vec<u8>| unit.contains(&b'x').then(|| unit.trim_ascii_start().to_vec());
        let wanted: Vec<_> = units(framing, &[stream.as_bytes()]).expect("it is framed").0;
        let wanted: Vec<_> = wanted.into_iter().filter_map(wants).collect();
        assert_eq!(wanted.len(), 2);
        let mut passed = 0;
        for size in 1..=stream.len() {
            let (mut all, mut look) = (Units::new(framing), Picky::default());
            for piece in stream.as_bytes().chunks(size) {
                all.push(piece, &mut look).expect("it is framed");
            }
            all.finish(&mut look).expect("it may end");
            let seen: Vec<_> = look.seen.into_iter().filter_map(wants).collect();
            assert_eq!(seen, wanted, "{framing:?} in pieces of {size}");
            passed += look.passed.get();
        }
        assert!(passed > 0, "{framing:?}: some are");
    }
    let (mut all, mut look) = (Units::new(Framing::Events), Picky::default());
    all.push("data: 1\n\n".repeat(1_000).as_bytes(), &mut look).expect("it is framed");
    assert_eq!((look.seen.len(), look.passed.get()), (0, 9_000));
}
