//! Pages of lists: how many items, and after which.
//!
//! A page token is opaque to callers and carries no right: it is read like any other input.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ServiceError;

const DEFAULT: u64 = 100;
const MOST: i32 = 1000;
/// How large the items of a page become together: clients take four megabytes, where nobody says more.
const BYTES: usize = 3_000_000;

/// The page that a list call asks for.
#[derive(Debug, Clone)]
pub(crate) struct PageRequest {
    size: u64,
    cursor: Vec<String>,
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Empty when this is the last.
    pub(crate) next: String,
}

impl PageRequest {
    pub(crate) fn parse(size: i32, token: &str) -> Result<Self, ServiceError> {
        let size = match size {
            0 => DEFAULT,
            1..=MOST => size.unsigned_abs().into(),
            _ => {
                return Err(ServiceError::field(
                    "page_size",
                    format!("must be 1 to {MOST}, or 0 for {DEFAULT}"),
                ));
            }
        };
        let refused = || {
            ServiceError::field("page_token", "is not valid: pass the `next_page_token` of the previous page")
        };
        let cursor = if token.is_empty() {
            Vec::new()
        } else {
            let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
            let parts: Vec<String> = serde_json::from_slice(&bytes).map_err(|_| refused())?;
            if parts.iter().any(|part| part.contains('\0')) {
                return Err(refused());
            }
            parts
        };
        Ok(Self { size, cursor })
    }

    /// One more than the page, which tells whether there is another.
    pub(super) fn limit(&self) -> u64 {
        self.size + 1
    }

    /// The parts that the page before ended with; empty at the start.
    pub(super) fn cursor<const N: usize>(&self) -> Result<Option<[&str; N]>, ServiceError> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        let parts: Vec<&str> = self.cursor.iter().map(String::as_str).collect();
        parts.try_into().map(Some).map_err(|_| {
            ServiceError::field("page_token", "is from another list call: start again without a page token")
        })
    }

    /// Cuts up to [`limit`](Self::limit) items to a page; `key` is the position after which the next one starts.
    pub(super) fn cut<T>(&self, items: Vec<T>, key: impl Fn(&T) -> Vec<String>) -> Page<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        Self::cut_behind(size, items, key)
    }

    /// The same where items may be large: a page ends early where it would have more than `BYTES`. One item is always there.
    pub(super) fn cut_by_bytes<T>(
        &self,
        items: Vec<T>,
        bytes: impl Fn(&T) -> usize,
        key: impl Fn(&T) -> Vec<String>,
    ) -> Page<T> {
        let mut sum = 0;
        let fits = |item: &T| {
            sum += bytes(item);
            sum <= BYTES
        };
        let fitting = items.iter().map(fits).take_while(|fits| *fits).count().max(1);
        let size = usize::try_from(self.size).unwrap_or(usize::MAX).min(fitting);
        Self::cut_behind(size, items, key)
    }

    fn cut_behind<T>(size: usize, mut items: Vec<T>, key: impl Fn(&T) -> Vec<String>) -> Page<T> {
        if items.len() <= size {
            return Page { items, next: String::new() };
        }
        items.truncate(size);
        let next = items.last().map_or(String::new(), |last| {
            let json = serde_json::to_vec(&key(last)).expect("strings serialize");
            URL_SAFE_NO_PAD.encode(json)
        });
        Page { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_without_gap_or_overlap() {
        let all: Vec<String> = (0..7).map(|n| format!("n{n}")).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let request = PageRequest::parse(3, &token).expect("good");
            let behind = request.cursor::<1>().expect("by name").map_or("", |[name]| name);
            let rows: Vec<String> =
                all.iter().filter(|name| name.as_str() > behind).take(4).cloned().collect();
            let page = request.cut(rows, |name| vec![name.clone()]);
            seen.extend(page.items);
            token = page.next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_page_of_large_items_ends_early_and_goes_on_behind() {
        let request = PageRequest::parse(100, "").expect("good");
        let key = |bytes: &usize| vec![bytes.to_string()];
        let cut = |items: Vec<usize>| request.cut_by_bytes(items, |bytes| *bytes, key);
        let page = cut(vec![BYTES / 2, BYTES / 2 - 1, 2, 1]);
        assert_eq!((page.items.len(), page.next.is_empty()), (2, false));
        assert_eq!(cut(vec![BYTES + 1, 1]).items, [BYTES + 1], "one is there, however large");
        let all = cut(vec![1; 7]);
        assert_eq!((all.items.len(), all.next.is_empty()), (7, true));
        assert_eq!(cut(vec![1; 101]).items.len(), 100);
    }

    #[test]
    fn sizes_and_tokens_out_of_range_are_refused() {
        for (size, token) in [(-1, ""), (1001, ""), (0, "?"), (0, "AAAA")] {
            assert!(PageRequest::parse(size, token).is_err(), "{size} {token}");
        }
        assert!(PageRequest::parse(1000, "").is_ok());
    }
}
