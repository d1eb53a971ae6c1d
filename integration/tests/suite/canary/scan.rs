//! Looks for marked secrets in files, folders and memories, in the forms that somebody may have given them.

use std::path::Path;
use std::process::Command;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// Bytes of a secret that is no text, of which so many in a row are looked for.
const RUN: usize = 10;

/// A secret that is looked for.
pub(super) struct Marker {
    kind: String,
    forms: Vec<String>,
    /// For `grep -P`, where it is no text.
    raw: Option<String>,
}

impl Marker {
    pub(super) fn text(kind: &str, text: &str) -> Self {
        assert!(text.len() >= 16, "{kind} is too short to be found by its forms");
        Self { kind: kind.to_owned(), forms: forms(text.as_bytes()), raw: None }
    }

    pub(super) fn bytes(kind: &str, bytes: &[u8]) -> Self {
        // A line end would end the line that is looked at.
        let run = bytes.split(|byte| *byte == b'\n').find(|run| run.len() >= RUN).expect("random bytes");
        let raw = run.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        Self { kind: kind.to_owned(), forms: forms(bytes).split_off(1), raw: Some(raw) }
    }
}

/// The bytes as they are, in hex of either case, as a list of numbers, and in base64 of three alignments and both alphabets.
/// Bytes that are no text have no first form.
pub(super) fn forms(bytes: &[u8]) -> Vec<String> {
    let list = format!("{bytes:?}");
    let mut forms = vec![
        String::from_utf8_lossy(bytes).into_owned(),
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
        list[1..list.len() - 1].to_owned(),
    ];
    for coding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
        for before in 0..3 {
            let text = coding.encode(&[&[0; 2][..before], bytes].concat());
            // Letters that hang on what stands before and behind.
            let (from, rest) = ((before * 8).div_ceil(6), (before + bytes.len()) % 3);
            let to = text.len() - usize::from(rest != 0);
            forms.push(text[from..to].to_owned());
        }
    }
    forms.dedup();
    forms
}

/// Which of these are in a file, or in the files of a folder: `kind in file`.
pub(super) fn found(place: &Path, markers: &[Marker]) -> Vec<String> {
    let patterns = tempfile::NamedTempFile::new().expect("a file");
    let all: Vec<&str> = markers.iter().flat_map(|marker| marker.forms.iter().map(String::as_str)).collect();
    std::fs::write(patterns.path(), all.join("\n")).expect("is written");
    let mut hits = Vec::new();
    // By a program that was optimized: memories are large.
    let said =
        grep(&["-r", "-a", "-o", "-H", "-Z", "-F", "-f"], &patterns.path().display().to_string(), place);
    for line in said.split('\n').filter(|line| !line.is_empty()) {
        let (file, part) = line.split_once('\0').expect("a file and what is in it");
        let marker = markers.iter().find(|marker| marker.forms.iter().any(|form| form == part));
        hits.push(format!("{} in {file}", marker.expect("one of them").kind));
    }
    for marker in markers {
        let Some(raw) = &marker.raw else { continue };
        let said = grep(&["-r", "-a", "-l", "-Z", "-P", "-e"], raw, place);
        hits.extend(
            said.split('\0').filter(|file| !file.is_empty()).map(|file| format!("{} in {file}", marker.kind)),
        );
    }
    hits.sort();
    hits.dedup();
    hits
}

/// Whether a file has this text.
pub(super) fn holds(file: &Path, text: &str) -> bool {
    !grep(&["-a", "-l", "-F", "-e"], text, file).is_empty()
}

fn grep(options: &[&str], pattern: &str, place: &Path) -> String {
    let ran =
        Command::new("grep").env("LC_ALL", "C").args(options).arg(pattern).arg("--").arg(place).output();
    let ran = ran.expect("grep runs");
    assert!(ran.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}
