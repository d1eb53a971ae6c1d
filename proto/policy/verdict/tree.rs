//! A document with its duplicates, as tests build, write and read it.

#[derive(Debug, Clone)]
pub(super) enum Tree {
    Object(Vec<(String, Tree)>),
    Array(Vec<Tree>),
    Text(String),
    /// As it is written: numbers, `true`, `false` and `null`.
    Plain(String),
}

impl Tree {
    /// Reads what is known to be JSON.
    pub(super) fn read(text: &str) -> Self {
        let mut rest = text;
        let tree = Self::value(&mut rest);
        assert!(rest.trim().is_empty(), "{text}");
        tree
    }

    fn value(rest: &mut &str) -> Self {
        *rest = rest.trim_start();
        match rest.as_bytes()[0] {
            b'{' => {
                let mut members = Vec::new();
                while goes_on(rest, '}') {
                    let key = text(rest);
                    *rest = rest.trim_start().strip_prefix(':').expect("a colon");
                    members.push((key, Self::value(rest)));
                }
                Self::Object(members)
            }
            b'[' => {
                let mut elements = Vec::new();
                while goes_on(rest, ']') {
                    elements.push(Self::value(rest));
                }
                Self::Array(elements)
            }
            b'"' => Self::Text(text(rest)),
            _ => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
                let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
                *rest = behind;
                Self::Plain(word.to_owned())
            }
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Object(members) => {
                out.push('{');
                for (i, (name, tree)) in members.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    // Every other key escaped, which changes nothing.
                    if i % 2 == 1 {
                        out.push('"');
                        name.encode_utf16().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
                        out.push('"');
                    } else {
                        out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    }
                    out.push_str(": ");
                    tree.write(out);
                }
                out.push('}');
            }
            Self::Array(elements) => {
                out.push('[');
                for (i, tree) in elements.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    tree.write(out);
                }
                out.push(']');
            }
            Self::Text(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            Self::Plain(text) => out.push_str(text),
        }
    }
}

/// Whether another value comes before the closing bracket; the opening one and commas are gone over.
fn goes_on(rest: &mut &str, close: char) -> bool {
    *rest = rest.trim_start();
    // An opening bracket here is the container's own, or there would be a comma before it.
    let behind = rest.strip_prefix(['{', '[', ',']).unwrap_or(rest).trim_start();
    let ends = behind.strip_prefix(close);
    *rest = ends.unwrap_or(behind);
    ends.is_none()
}

/// Reads a text; half a surrogate pair is U+FFFD.
fn text(rest: &mut &str) -> String {
    let mut units = Vec::new();
    let mut chars = rest[1..].char_indices();
    loop {
        let (_, c) = chars.next().expect("it ends");
        let c = match c {
            '"' => break,
            '\\' => match chars.next().expect("it ends").1 {
                'u' => {
                    let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                    units.push(u16::from_str_radix(&digits, 16).expect("four digits"));
                    continue;
                }
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                other => other,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    *rest = &rest[1 + chars.offset()..];
    String::from_utf16_lossy(&units)
}
