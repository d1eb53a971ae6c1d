//! `google.protobuf.FieldMask` with its canonical JSON form, which `pbjson-types` does not have:
//! one string, paths in lower camel case, joined by commas.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The fields that an update is about.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FieldMask {
    /// In snake case, steps joined by dots.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

impl Serialize for FieldMask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<String> = self.paths.iter().map(|path| camel(path)).collect();
        serializer.serialize_str(&paths.join(","))
    }
}

impl<'de> Deserialize<'de> for FieldMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut paths = Vec::new();
        for path in text.split(',').filter(|path| !path.is_empty()) {
            if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
                return Err(de::Error::custom(format_args!("field mask has no path {path:?}")));
            }
            paths.push(snake(path));
        }
        Ok(Self { paths })
    }
}

fn camel(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut raise = false;
    for c in path.chars() {
        match c {
            '_' => raise = true,
            _ if raise => {
                out.push(c.to_ascii_uppercase());
                raise = false;
            }
            _ => out.push(c),
        }
    }
    out
}

fn snake(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::FieldMask;

    #[test]
    fn json_is_one_string_in_camel_case_and_both_cases_are_read() {
        let mask = FieldMask { paths: vec!["display_name".into(), "labels.a".into()] };
        let json = serde_json::to_string(&mask).expect("a string serializes");
        assert_eq!(json, r#""displayName,labels.a""#);
        for text in [json.as_str(), r#""display_name,labels.a""#] {
            assert_eq!(serde_json::from_str::<FieldMask>(text).expect("both cases"), mask);
        }
    }

    #[test]
    fn a_path_that_no_field_can_have_is_refused() {
        assert!(serde_json::from_str::<FieldMask>(r#""a b""#).is_err());
    }
}
