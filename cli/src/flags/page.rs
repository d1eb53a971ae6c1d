//! Lists: their flags, the loop over their pages, and looking again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::print::{self, Printer, Progress, Row};

/// The largest page that the API answers.
const PAGE: usize = 1000;

/// Filter and order of a list.
#[derive(Args, Default)]
pub(crate) struct Listing {
    /// Lists only what matches, as `name = pay* AND created_at > 2026-01-01T00:00:00Z`. Fields: `name`, `owner`, `uses`,
    /// `created_at`, `updated_at`; operators: `=`, `!=`, `<`, `<=`, `>`, `>=`.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TERMS")]
    pub(crate) filter: String,
    /// `name`, `created_at` or `updated_at`, or the heading of its column, followed by ` desc` for descending order; `name`
    /// when not given.
    #[arg(
        long = "sort",
        alias = "order-by",
        default_value = "",
        hide_default_value = true,
        value_name = "FIELD",
        value_parser = order
    )]
    pub(crate) order_by: String,
    /// Lists at most this many.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Lists once, and then each that is new or has changed, until Ctrl-C. Looks every second. What is not in the list any
    /// more is gone; a program reads `{"gone": {"kind", "id", "name"}}` in the place of a resource.
    #[arg(long)]
    watch: bool,
}

/// The fields that a list is ordered by.
pub(crate) const ORDERS: [&str; 3] = ["name", "created_at", "updated_at"];

/// An order as the API has it, where a field can be named by the heading of its column.
fn order(text: &str) -> Result<String, Infallible> {
    let (field, way) = text.split_once(' ').map_or((text, ""), |(field, way)| (field, way.trim()));
    let field = match field.to_ascii_lowercase().as_str() {
        "created" => "created_at".to_owned(),
        "updated" => "updated_at".to_owned(),
        lower if ORDERS.contains(&lower) => lower.to_owned(),
        _ => field.to_owned(),
    };
    Ok(if way.is_empty() { field } else { format!("{field} {}", way.to_ascii_lowercase()) })
}

/// Between two looks of a list that is watched.
const LOOK: Duration = Duration::from_secs(1);

impl Listing {
    /// Only what uses a resource, by its id.
    pub(crate) fn using(mut self, id: &str) -> Self {
        let term = format!("uses = {id}");
        self.filter = match self.filter.trim() {
            "" => term,
            other => format!("{term} AND {other}"),
        };
        self
    }

    /// All that matches a filter.
    pub(crate) fn of(filter: String) -> Self {
        Self { filter, ..Self::default() }
    }

    /// The items, over as many pages as it takes.
    pub(crate) async fn all<T>(
        &self,
        page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String)>,
    ) -> Result<Vec<T>> {
        first(self.limit.map_or(usize::MAX, |limit| limit as usize), page).await
    }

    /// The same of all, for a list that is sorted here, and its length.
    pub(crate) fn unlimited(&self) -> (Self, usize) {
        let all = Self { filter: self.filter.clone(), order_by: self.order_by.clone(), ..Self::default() };
        (all, self.limit.map_or(usize::MAX, |limit| limit as usize))
    }

    /// Prints a list of resources of this kind, and what changes in it if that was asked for.
    pub(crate) async fn print<T: Row + Serialize>(
        &self,
        print: Printer,
        kind: &str,
        mut list: impl AsyncFnMut() -> Result<Vec<T>>,
    ) -> Result<()> {
        let mut found = list().await?;
        if !self.watch {
            return print.list(&found);
        }
        let mut stream = print.stream(&found)?;
        let mut shown: BTreeMap<String, Seen> = BTreeMap::new();
        while print::is_read() {
            let now: Vec<(String, Seen)> = found.iter().map(identity).collect::<Result<_>>()?;
            for ((id, seen), item) in now.iter().zip(&found) {
                if shown.get(id) != Some(seen) {
                    stream.line(item)?;
                }
            }
            let now: BTreeMap<String, Seen> = now.into_iter().collect();
            for (id, seen) in shown.iter().filter(|(id, _)| !now.contains_key(*id)) {
                stream.gone(kind, id, &seen.name)?;
            }
            shown = now;
            tokio::time::sleep(LOOK).await;
            found = list().await?;
        }
        Ok(())
    }
}

/// An item that was printed.
#[derive(PartialEq, Eq)]
struct Seen {
    name: String,
    /// All that it says.
    text: String,
}

/// What tells an item from others, and the item.
fn identity<T: Serialize>(item: &T) -> Result<(String, Seen)> {
    let value = serde_json::to_value(item)?;
    let field = |field| value.get(field).and_then(|it| it.as_str()).unwrap_or_default().to_owned();
    let (name, text) = (field("name"), value.to_string());
    let id = [field("id"), name.clone()].into_iter().find(|id| !id.is_empty());
    Ok((id.unwrap_or_else(|| text.clone()), Seen { name, text }))
}

/// Length of a list that grows without end.
#[derive(Args)]
pub(crate) struct Newest {
    /// Lists at most this many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Every item of every page. `page` takes a size and a token, and answers the items and the next token.
pub(crate) async fn all<T>(page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String)>) -> Result<Vec<T>> {
    first(usize::MAX, page).await
}

impl Newest {
    /// The first items, over as many pages as it takes.
    pub(crate) async fn of<T>(
        &self,
        page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String)>,
    ) -> Result<Vec<T>> {
        first(self.limit as usize, page).await
    }
}

async fn first<T>(
    limit: usize,
    mut page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String)>,
) -> Result<Vec<T>> {
    let mut items = Vec::new();
    let mut token = String::new();
    let progress = Progress::of("listing", 0);
    loop {
        let size = (limit - items.len()).min(PAGE);
        let (found, next) = page(size as i32, token.clone()).await?;
        progress.more(found.len() as u64);
        items.extend(found);
        if next.is_empty() || items.len() >= limit {
            items.truncate(limit);
            return Ok(items);
        }
        if next == token {
            bail!(
                "the control plane answered the same page twice; the control plane or a proxy before it is at fault"
            );
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_known_by_its_id_and_remembered_by_its_name() {
        let told = |value| identity(&value).expect("JSON");
        let (id, seen) = told(serde_json::json!({"id": "tg_1", "name": "echo", "note": "a"}));
        assert_eq!((id.as_str(), seen.name.as_str()), ("tg_1", "echo"));
        let (_, changed) = told(serde_json::json!({"id": "tg_1", "name": "echo", "note": "b"}));
        assert!(seen != changed);
        assert_eq!(told(serde_json::json!({"id": "", "name": "pr1"})).0, "pr1");
    }

    /// A list of 0 to 2499.
    async fn numbers(size: i32, token: String) -> Result<(Vec<usize>, String)> {
        let start: usize = if token.is_empty() { 0 } else { token.parse()? };
        let end = (start + size as usize).min(2500);
        let next = if end < 2500 { end.to_string() } else { String::new() };
        Ok(((start..end).collect(), next))
    }

    #[test]
    fn a_list_can_be_sorted_by_the_heading_of_a_column() {
        for (typed, sent) in [
            ("", ""),
            ("name", "name"),
            ("updated", "updated_at"),
            ("UPDATED desc", "updated_at desc"),
            ("created", "created_at"),
            ("created_at DESC", "created_at desc"),
            // What is no field stays as it was typed, so that the refusal names it.
            ("Size", "Size"),
        ] {
            assert_eq!(order(typed), Ok(sent.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_list_is_all_of_its_pages() {
        assert_eq!(all(numbers).await.expect("a list"), (0..2500).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_limit_ends_a_list_within_a_page_or_after_some() {
        for limit in [1, 20, 1000, 1001, 2500, 9000] {
            let found = Newest { limit }.of(numbers).await.expect("a list");
            assert_eq!(found, (0..(limit as usize).min(2500)).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_page_that_comes_again_ends_the_loop() {
        assert!(all(async |_, _| Ok((vec![1], "same".to_owned()))).await.is_err());
    }
}
