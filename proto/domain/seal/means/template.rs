//! Texts with holes: `{secret}`, `{body:sha256}`. Which holes there may be, whoever parses a text says.
//!
//! Fills nothing by itself. What is no hole stands for itself, braces of JSON included; a hole that is unknown is a fault, since
//! it is a misspelled one.

use zeroize::Zeroizing;

use crate::model::invalid::Invalid;

/// The longest text.
pub(super) const TEMPLATE_MAX: usize = 16 * 1024;

/// A text with holes of a kind. Cannot be printed: it may hold a secret.
pub struct Template<H>(Vec<Part<H>>);

enum Part<H> {
    Text(Zeroizing<String>),
    Hole(H),
}

impl<H> Template<H> {
    /// Parses a text. `hole` knows the holes by what stands between the braces; `known` names them to people.
    pub(super) fn parse(
        field: &str,
        text: &str,
        known: &str,
        hole: impl Fn(&str) -> Option<H>,
    ) -> Result<Self, Invalid> {
        if text.len() > TEMPLATE_MAX {
            return Err(Invalid::field(field, format!("is longer than {TEMPLATE_MAX} bytes")));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), Zeroizing::new(String::new()), text);
        while let Some(at) = rest.find('{') {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            let name = rest[1..].split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
            let Some(name) = name else {
                plain.push('{');
                rest = &rest[1..];
                continue;
            };
            let found = hole(name).ok_or_else(|| {
                Invalid::field(
                    field,
                    format!("holds {{{name}}}, which stands for nothing: there are {known}"),
                )
            })?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Hole(found));
            rest = &rest[name.len() + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// Its holes.
    pub fn holes(&self) -> impl Iterator<Item = &H> {
        self.0.iter().filter_map(|part| match part {
            Part::Hole(hole) => Some(hole),
            Part::Text(_) => None,
        })
    }

    /// Its text, with what `fill` puts for its holes.
    pub fn fill(&self, mut fill: impl FnMut(&H, &mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(256));
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Hole(hole) => fill(hole, &mut out),
            }
        }
        out
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_name(text: &str) -> bool {
    let is_first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    is_first && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template<()>, Invalid> {
        Template::parse("text", text, "{x}", |name| (name == "x").then_some(()))
    }

    #[test]
    fn holes_are_filled_and_all_else_stands_for_itself() {
        for (text, filled) in [
            ("", ""),
            ("a{x}b{x}", "a!b!"),
            (r#"{"k":"{x}"}"#, r#"{"k":"!"}"#),
            ("{", "{"),
            ("{{x}}", "{!}"),
            ("{ x}{X}{}", "{ x}{X}{}"),
        ] {
            let template = parse(text).expect("a template");
            let out = template.fill(|(), out| out.push(b'!'));
            assert_eq!(&out[..], filled.as_bytes(), "{text}");
        }
    }

    #[test]
    fn a_misspelled_hole_and_a_text_without_end_are_refused() {
        let error = parse("a{sekret}").err().expect("unknown").to_string();
        assert_eq!(error, "text: holds {sekret}, which stands for nothing: there are {x}");
        assert!(parse(&"a".repeat(TEMPLATE_MAX + 1)).is_err());
    }
}
