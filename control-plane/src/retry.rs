//! A status that says when to come again.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Not now; in a while.
pub(crate) fn unavailable(text: &str, after: Duration) -> Status {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(after));
    Status::with_error_details(Code::Unavailable, text, details)
}
