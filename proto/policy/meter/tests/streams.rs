//! Numbers of streams: what they come to, cut anywhere, and what does not count.

use crate::stream::{Look, Unit, Units};

use super::*;

fn reading_of(places: &[&str], fold: Fold) -> Reading {
    let paths = places.iter().map(|path| path.parse().expect("a path")).collect();
    Reading { place: Place::Body(paths), fold }
}

/// A meter at a stream, as a node has it there.
struct Reader<'a> {
    meter: &'a CompiledMeter,
    tally: &'a mut Tally,
    joined: &'a mut Vec<u8>,
}

impl Look for Reader<'_> {
    fn unit(&mut self, framing: Framing, unit: Unit<'_>) {
        self.meter.read_unit(framing, unit, self.tally, self.joined);
    }

    fn passes_by(&self, framing: Framing, units: &[u8]) -> bool {
        self.meter.passes_by(framing, units)
    }
}

/// What a meter comes to over a stream in such pieces.
fn over(readings: &[Reading], framing: Framing, pieces: &[&[u8]]) -> Result<String, ReadingError> {
    let meter = meter(values(readings.to_vec()), RequestMatch::default());
    let (mut tally, mut units, mut joined) = (meter.tally(), Units::new(framing), Vec::new());
    for piece in pieces {
        let framed = units.push(piece, &mut Reader { meter: &meter, tally: &mut tally, joined: &mut joined });
        framed.expect("it is framed");
    }
    let framed = units.finish(&mut Reader { meter: &meter, tally: &mut tally, joined: &mut joined });
    framed.expect("it is whole");
    meter.total(&tally).map(|amount| amount.to_string())
}

const ANTHROPIC: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":25,"output_tokens":1}}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\"output_tokens\": 9 \u00e9"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;

#[test]
fn numbers_at_two_places_are_added_wherever_the_stream_is_cut() {
    let readings = [
        reading_of(&["message.usage.input_tokens", "usage.input_tokens"], Fold::Last),
        reading_of(&["usage.output_tokens"], Fold::Last),
    ];
    let stream = ANTHROPIC.as_bytes();
    for cut in 0..=stream.len() {
        let read = over(&readings, Framing::Events, &[&stream[..cut], &stream[cut..]]);
        assert_eq!(read.as_deref(), Ok("40"), "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(over(&readings, Framing::Events, &bytes).as_deref(), Ok("40"));
    // The same meter reads an answer that does not stream.
    let meter = meter(values(readings.to_vec()), RequestMatch::default());
    let document = br#"{"id":"msg_1","usage":{"input_tokens":25,"output_tokens":15}}"#;
    assert_eq!(reading(&meter, &HeaderMap::new(), document), Ok(Amount::whole(40)));
}

#[test]
fn parts_are_folded_as_the_meter_says() {
    let lines = "{\"n\":5}\nnot json\n{\"n\":null}\n{\"n\":7}\n{}\n{\"n\":6}\n";
    for (fold, wanted) in [(Fold::Last, "6"), (Fold::Max, "7"), (Fold::Sum, "18")] {
        let read = over(&[reading_of(&["n"], fold)], Framing::Lines, &[lines.as_bytes()]);
        assert_eq!(read.as_deref(), Ok(wanted), "{fold:?}");
    }
}

#[test]
fn of_several_places_the_first_with_a_number_counts_and_escaped_keys_are_found() {
    let readings = [reading_of(&["a.n", "b.n"], Fold::Sum)];
    let lines = "{\"a\":{\"n\":1},\"b\":{\"n\":10}}\n{\"b\":{\"n\":2}}\n{\"a\":{\"\\u006e\":4}}\n";
    assert_eq!(over(&readings, Framing::Lines, &[lines.as_bytes()]).as_deref(), Ok("7"));
}

#[test]
fn what_is_no_number_once_is_none_for_good_and_none_at_all_is_missing() {
    let readings = [reading_of(&["n"], Fold::Last)];
    let read = |lines: &str| over(&readings, Framing::Lines, &[lines.as_bytes()]);
    assert_eq!(read("{\"n\":\"x\"}\n{\"n\":7}\n"), Err(ReadingError::NotANumber));
    assert_eq!(read("{\"m\":7}\n\n"), Err(ReadingError::Missing));
    assert_eq!(read(""), Err(ReadingError::Missing));
}

#[test]
fn a_part_that_is_too_long_hides_a_number_until_the_next_replaces_it() {
    let long = format!("{{\"n\":100,\"x\":\"{}\"}}\n", "x".repeat(300_000));
    for (fold, tail, wanted) in [
        (Fold::Last, "", Err(ReadingError::Unseen)),
        (Fold::Last, "{\"n\":3}\n", Ok("3".to_owned())),
        (Fold::Max, "{\"n\":3}\n", Ok("3".to_owned())),
        (Fold::Sum, "{\"n\":3}\n", Err(ReadingError::Unseen)),
    ] {
        let stream = format!("{{\"n\":1}}\n{long}{tail}");
        assert_eq!(
            over(&[reading_of(&["n"], fold)], Framing::Lines, &[stream.as_bytes()]),
            wanted,
            "{fold:?}"
        );
    }
}
