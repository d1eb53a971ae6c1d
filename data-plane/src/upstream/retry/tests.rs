//! What waits come of what upstreams say.

use http::HeaderValue;

use super::*;

fn policy() -> Retry {
    Retry {
        attempts: 3,
        statuses: [502, 503, 504].into(),
        budget_percent: 20,
        backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
    }
}

fn asked(text: &str) -> Option<Duration> {
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("a value"));
    // Sun, 06 Nov 1994 08:49:37 GMT
    retry_after(&headers, UNIX_EPOCH + Duration::from_secs(784_111_777))
}

#[test]
fn an_upstream_says_when_to_come_again_in_seconds_or_as_a_time() {
    assert_eq!(retry_after(&HeaderMap::new(), UNIX_EPOCH), Some(Duration::ZERO));
    for (text, seconds) in [
        ("0", 0),
        (" 120 ", 120),
        ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
        ("Mon, 06 Nov 1995 08:49:37 GMT", 365 * 24 * 3600),
        // Over a day that not every year has.
        ("Fri, 01 Mar 1996 08:49:37 GMT", (365 + 116) * 24 * 3600),
        // Over already, or not to be read: it asks for nothing.
        ("Sun, 06 Nov 1994 08:49:27 GMT", 0),
        ("soon", 0),
        ("-1", 0),
        ("", 0),
        ("Sun, 06 Nov 1994 25:00:00 GMT", 0),
        ("Sun, 06 Nov 1994 08:49:47 CET", 0),
        ("Sun, 06 Now 1994 08:49:47 GMT", 0),
        ("Sun, 06 Nov 99999999999 08:49:47 GMT", 0),
    ] {
        assert_eq!(asked(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(asked("99999999999999999999999"), None, "it is not waited for");
}

#[test]
fn waits_double_around_a_mean_up_to_the_longest() {
    let wait = |done, draw| {
        let came = Err(&SendError::ConnectTimeout);
        wait(&policy(), came, done, draw, UNIX_EPOCH).expect("it is retried").as_millis()
    };
    assert_eq!((wait(0, 0), wait(0, u32::MAX)), (50, 150));
    assert_eq!((wait(1, 0), wait(2, 0)), (100, 200));
    assert_eq!((wait(9, u32::MAX), wait(99, u32::MAX), wait(99, 0)), (2000, 2000, 1000));
}

#[test]
fn a_response_that_was_too_late_is_not_asked_for_again() {
    let wait = |error: SendError| wait(&policy(), Err(&error), 0, 0, UNIX_EPOCH);
    assert!(wait(SendError::ResponseTimeout).is_none());
    assert!(wait(SendError::TotalTimeout { is_asked: true }).is_none());
    assert!(wait(SendError::Caller(crate::upstream::CallerFault::Stalled)).is_none());
    // Nor is what would come to the same again, or what this node had no room for.
    for error in [
        SendError::Guarded,
        SendError::Busy,
        SendError::Version("2"),
        SendError::Resolve(LookupError::Crowded),
        SendError::Switched,
        SendError::Coded,
    ] {
        let text = error.to_string();
        assert!(wait(error).is_none(), "{text}");
    }
    assert!(wait(SendError::Resolve(LookupError::Silent)).is_some());
    assert!(wait(SendError::Connect(std::io::ErrorKind::ConnectionRefused.into())).is_some());
}

#[test]
fn only_what_asks_for_no_more_the_second_time_is_idempotent() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        assert!(is_idempotent(&method), "{method}");
    }
    for method in [Method::POST, Method::PATCH, Method::from_bytes(b"PURGE").expect("a method")] {
        assert!(!is_idempotent(&method), "{method}");
    }
}
