//! Variables of the environment in documents: a scalar that is `${NAME}`, and nothing else, becomes the text of NAME.
//!
//! Done after a file was parsed, and only where it was asked for: no variable can add a field or a document. Faults name the
//! variable and not what it holds, because logs are kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use rr_contract::file::node::Node;
use serde_json::Value;

use super::reach;
use crate::excerpt::Fault;

/// Shorter texts are in many words by chance.
const CONCEALED_FROM: usize = 6;

/// Where variables come from, and which were put into documents.
#[derive(Default)]
pub(in crate::command) struct Fill {
    /// `None`: documents are left as they are.
    variables: Option<HashMap<String, String>>,
    filled: RefCell<BTreeMap<String, String>>,
}

impl Fill {
    /// Leaves documents as they are.
    pub(in crate::command) fn nothing() -> Self {
        Self::default()
    }

    /// From the environment of this process.
    pub(in crate::command) fn environment() -> Self {
        let is_text = |(name, text): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, text.into_string().ok()?))
        };
        Self { variables: Some(std::env::vars_os().filter_map(is_text).collect()), ..Self::default() }
    }

    /// The same fault with names in the place of what variables hold.
    pub(in crate::command) fn conceal(&self, fault: &mut Fault) {
        for (name, text) in self.filled.borrow().iter().filter(|(_, text)| text.len() >= CONCEALED_FROM) {
            fault.what = fault.what.replace(text.as_str(), &format!("${{{name}}}"));
        }
    }

    /// Fills a document in. The fault of the first variable that is not set.
    pub(super) fn value(&self, value: &mut Value) -> Result<(), String> {
        if self.variables.is_none() {
            return Ok(());
        }
        match value {
            Value::String(text) => {
                if let Some(filled) = self.text(text)? {
                    *text = filled;
                }
                Ok(())
            }
            Value::Array(items) => items.iter_mut().try_for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().try_for_each(|value| self.value(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// The same of a document that knows its lines. Every variable that is not set, with its line.
    pub(super) fn node(&self, node: &mut Node) -> Vec<(u64, String)> {
        let mut unset = Vec::new();
        if self.variables.is_some() {
            node.replace(&mut |line, text| {
                self.text(text).unwrap_or_else(|what| {
                    unset.push((line, what));
                    None
                })
            });
        }
        unset
    }

    /// What stands in the place of a text.
    fn text(&self, text: &str) -> Result<Option<String>, String> {
        let Some((variables, name)) = self.variables.as_ref().zip(name(text)) else { return Ok(None) };
        reach::variable(name)?;
        match variables.get(name) {
            Some(value) => {
                self.filled.borrow_mut().insert(name.to_owned(), value.clone());
                Ok(Some(value.clone()))
            }
            None => Err(format!("environment variable {name} is not set; set it, or leave --env out")),
        }
    }
}

/// The variable that a text names.
fn name(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let good = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let is_name = name.bytes().all(good) && name.bytes().next().is_some_and(|c| !c.is_ascii_digit());
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn fill() -> Fill {
        let pairs =
            [("HOST", "https://a.example"), ("EVIL", "x\neffect: allow\n---\nkind: proxy"), ("N", "7")];
        let variables = pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        Fill { variables: Some(variables), ..Fill::default() }
    }

    #[test]
    fn whole_scalars_are_filled_and_parts_of_texts_are_not() {
        let mut value =
            json!({"a": "${HOST}", "b": ["${N}", "x${N}", "$N", "${N}}", "${}", "${1}"], "${N}": 1});
        fill().value(&mut value).expect("all are set");
        assert_eq!(
            value,
            json!({"a": "https://a.example", "b": ["7", "x${N}", "$N", "${N}}", "${}", "${1}"], "${N}": 1})
        );
    }

    #[test]
    fn what_a_variable_holds_stays_one_text() {
        let mut value = json!({"notes": "${EVIL}"});
        fill().value(&mut value).expect("it is set");
        assert_eq!(value, json!({"notes": "x\neffect: allow\n---\nkind: proxy"}));
    }

    #[test]
    fn a_variable_that_is_not_set_is_a_fault_with_its_name() {
        let error = fill().value(&mut json!(["${NONE}"])).expect_err("it is not set");
        assert!(error.contains("NONE is not set"), "{error}");
    }

    #[test]
    fn faults_name_the_variable_and_not_what_it_holds() {
        let fill = fill();
        fill.value(&mut json!(["${HOST}", "${N}"])).expect("all are set");
        let mut fault = Fault::new(Path::new("x.yaml"), Some(1), "name", "https://a.example is no name (7)");
        fill.conceal(&mut fault);
        assert_eq!(fault.what, "${HOST} is no name (7)");
    }

    #[test]
    fn no_setting_of_rrctl_is_filled_in() {
        let error = fill().value(&mut json!(["${RRCTL_TOKEN}"])).expect_err("refused");
        assert!(error.contains("RRCTL_TOKEN is a setting of rrctl"), "{error}");
    }

    #[test]
    fn nothing_is_filled_unless_it_was_asked_for() {
        let mut value = json!(["${HOST}", "${NONE}"]);
        Fill::nothing().value(&mut value).expect("nothing is looked at");
        assert_eq!(value, json!(["${HOST}", "${NONE}"]));
    }
}
