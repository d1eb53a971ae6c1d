//! Lists: their flags, the loop over their pages, and looking again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use crate::print::{self, Printer, Progress, Row, note};

/// The largest page that the API answers.
const PAGE: usize = 1000;

/// Filter and order of a list.
#[derive(Args, Default)]
pub(crate) struct Listing {
    /// Lists only what matches, as `name = pay* AND created_at > 2026-01-01T00:00:00Z`. Fields: `name`, `owner`, `uses`,
    /// `created_at`, `updated_at`; operators: `=`, `!=`, `<`, `<=`, `>`, `>=`.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TERMS")]
    pub(crate) filter: String,
    /// `name`, `created_at` or `updated_at`, followed by ` desc` for descending order; `name` when not given.
    #[arg(
        long = "sort",
        alias = "order-by",
        default_value = "",
        hide_default_value = true,
        value_name = "FIELD"
    )]
    pub(crate) order_by: String,
    /// Lists at most this many.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Lists once, and then each that is new or has changed, until Ctrl-C. Looks every second.
    #[arg(long)]
    watch: bool,
}

/// Between two looks of a list that is watched.
const LOOK: Duration = Duration::from_secs(1);

impl Listing {
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

    /// Prints a list, and what changes in it if that was asked for.
    pub(crate) async fn print<T: Row + Serialize>(
        &self,
        print: Printer,
        mut list: impl AsyncFnMut() -> Result<Vec<T>>,
    ) -> Result<()> {
        let mut found = list().await?;
        if !self.watch {
            return print.list(&found);
        }
        let mut stream = print.stream::<T>()?;
        let mut shown: BTreeMap<String, String> = BTreeMap::new();
        while print::is_read() {
            let now: Vec<(String, String)> = found.iter().map(identity).collect::<Result<_>>()?;
            for ((id, text), item) in now.iter().zip(&found) {
                if shown.get(id) != Some(text) {
                    stream.line(item)?;
                }
            }
            let now: BTreeMap<String, String> = now.into_iter().collect();
            for id in shown.keys().filter(|id| !now.contains_key(*id)) {
                note(&format!("{id} is gone"));
            }
            shown = now;
            tokio::time::sleep(LOOK).await;
            found = list().await?;
        }
        Ok(())
    }
}

/// What tells an item from others, and all that it says.
fn identity<T: Serialize>(item: &T) -> Result<(String, String)> {
    let value = serde_json::to_value(item)?;
    let text = value.to_string();
    let id = value.get("id").or_else(|| value.get("name")).and_then(|id| id.as_str());
    Ok((id.map_or_else(|| text.clone(), str::to_owned), text))
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

    /// A list of 0 to 2499.
    async fn numbers(size: i32, token: String) -> Result<(Vec<usize>, String)> {
        let start: usize = if token.is_empty() { 0 } else { token.parse()? };
        let end = (start + size as usize).min(2500);
        let next = if end < 2500 { end.to_string() } else { String::new() };
        Ok(((start..end).collect(), next))
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
