//! A statement that is put together, with its values beside its text.
//!
//! The invariant: what callers said is a value, never part of the text.

use clickhouse::Client;
use clickhouse::query::Query;

use crate::store::resource::Compare;

#[derive(Debug, Clone)]
enum Value {
    Text(String),
    Texts(Vec<String>),
    Number(i64),
}

/// A statement. A `?` in its text stands for the next value.
#[derive(Debug, Clone, Default)]
pub(super) struct Question {
    text: String,
    values: Vec<Value>,
}

impl Question {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.values.push(Value::Text(value.to_owned()));
        self
    }

    pub(super) fn number(&mut self, value: i64) -> &mut Self {
        self.values.push(Value::Number(value));
        self
    }

    /// ` AND column IN …`.
    pub(super) fn and_in(&mut self, column: &str, values: &[impl AsRef<str>]) -> &mut Self {
        // The engine takes no empty list.
        if values.is_empty() {
            return self.push(" AND 0");
        }
        self.push(" AND ").push(column).push(" IN ?");
        self.values.push(Value::Texts(values.iter().map(|value| value.as_ref().to_owned()).collect()));
        self
    }

    /// What status and code have to be.
    pub(super) fn and_compared(
        &mut self,
        statuses: &[(Compare, i32)],
        codes: &[(Compare, String)],
    ) -> &mut Self {
        for (how, status) in statuses {
            self.push(" AND status ").push(how.sign()).push(" ?").number(i64::from(*status));
        }
        for (how, code) in codes {
            self.push(" AND code ").push(how.sign()).push(" ?").text(code);
        }
        self
    }

    /// With a text before it.
    pub(super) fn behind(&self, text: &str) -> Self {
        Self { text: format!("{text}{}", self.text), values: self.values.clone() }
    }

    pub(super) fn of(&self, client: &Client) -> Query {
        let mut query = client.query(&self.text);
        for value in &self.values {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Texts(texts) => query.bind(texts),
                Value::Number(number) => query.bind(number),
            };
        }
        query
    }
}
