//! Validations that are in use: equal ones are compiled once and shared.
//!
//! Validates nothing: `pipeline` does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rr_contract::model::invalid::Invalid;
use rr_contract::model::validation::Validation;
use rr_contract::policy::validate::Validator;

/// Compiled validations, by what they say.
#[derive(Default)]
pub(crate) struct Validations {
    known: Mutex<HashMap<Validation, Weak<Validator>>>,
}

impl Validations {
    /// The one that says this.
    pub(crate) fn get(&self, wanted: &Validation) -> Result<Arc<Validator>, Invalid> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(wanted).and_then(Weak::upgrade) {
            return Ok(found);
        }
        known.retain(|_, validator| validator.strong_count() > 0);
        let validator = Arc::new(Validator::compile(wanted)?);
        known.insert(wanted.clone(), Arc::downgrade(&validator));
        Ok(validator)
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::model::validation::Subject;

    use super::*;

    fn of(text: &str) -> Validation {
        Validation { subject: Subject::JsonSchema(text.into()), methods: Arc::default() }
    }

    #[test]
    fn equal_ones_are_shared_while_somebody_has_them() {
        let validations = Validations::default();
        let one = validations.get(&of(r#"{"type":"object"}"#)).expect("a schema");
        let same = validations.get(&of(r#"{"type":"object"}"#)).expect("a schema");
        assert!(Arc::ptr_eq(&one, &same));
        let methods = Arc::from([Box::from("POST")]);
        let other = validations.get(&Validation { methods, ..of(r#"{"type":"object"}"#) }).expect("a schema");
        assert!(!Arc::ptr_eq(&one, &other));
        drop((one, same, other));
        validations.get(&of("true")).expect("a schema");
        assert_eq!(validations.known.lock().expect("whole").len(), 1, "nobody has the others");
        assert!(validations.get(&of("{")).is_err());
    }
}
