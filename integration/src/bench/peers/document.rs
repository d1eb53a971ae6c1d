//! The document that filters go over: 1 MiB of JSON, nested four deep, with escapes, and three fields to take out, at
//! its beginning, in all of its records and at its end.

use std::io::Write as _;

const SIZE: usize = 1024 * 1024;
const SMALL: usize = 1024;

/// The document.
pub(super) fn text() -> String {
    of_size(SIZE)
}

/// One of 1 KiB.
pub(super) fn small() -> String {
    of_size(SMALL)
}

fn of_size(size: usize) -> String {
    let mut text = String::with_capacity(size + 1024);
    text.push_str(r#"{"first":"to be taken","records":["#);
    for n in 0.. {
        if text.len() >= size - 64 {
            break;
        }
        if n > 0 {
            text.push(',');
        }
        let record = format!(
            r#"{{"id":{n},"name":"record \"{n}\" of many\n","price":{n}.50,"tags":["a","b\u00e4","c"],"middle":{{"secret":"s-{n}","kept":[1,2,{{"deep":true}}]}},"note":"some words that stand for what such documents hold, without an escape"}}"#
        );
        text.push_str(&record);
    }
    text.push_str(r#"],"last":"to be taken"}"#);
    text
}

/// The same, compressed.
pub(super) fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_json_of_one_mebibyte() {
        let text = text();
        assert!((SIZE - 1024..SIZE + 1024).contains(&text.len()), "{}", text.len());
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(document["records"][9]["middle"]["secret"].is_string());
    }
}
