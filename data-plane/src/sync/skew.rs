//! How far this machine's clock is from the control plane's.
//!
//! Measured when the control plane sends its time. From then on, a step of the wall clock is detected with the
//! monotonic clock. Without a stream, the control plane's certificate gives a lower bound: one that is not yet or
//! no longer valid. Decides nothing.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use tokio::time::Instant;

/// How far, in milliseconds; positive when this machine is ahead.
#[derive(Debug, Default)]
pub(super) struct Skew {
    ms: i64,
    /// When that was so, by both clocks of this machine.
    at: Option<(SystemTime, Instant)>,
}

impl Skew {
    /// The control plane says its time, while both clocks of this machine say so.
    pub(super) fn measure(&mut self, (ours, mono): (SystemTime, Instant), theirs: SystemTime) {
        self.ms = ahead(ours, theirs);
        self.at = Some((ours, mono));
    }

    /// How far it is, while both clocks of this machine say so.
    pub(super) fn at(&self, (ours, mono): (SystemTime, Instant)) -> i64 {
        let Some((then, since)) = self.at else { return self.ms };
        let passed = millis(mono.saturating_duration_since(since));
        self.ms.saturating_add(ahead(ours, then).saturating_sub(passed))
    }

    /// A connection did not come about. Where that is because the control plane's certificate is of another time: how
    /// far the clocks are apart at the least, which is what is said from then on.
    pub(super) fn no_connection(&mut self, error: &(dyn Error + 'static)) -> Option<i64> {
        let ms = match certificate_error(error)? {
            CertificateError::ExpiredContext { time, not_after } => between(*time, *not_after),
            CertificateError::NotValidYetContext { time, not_before } => between(*time, *not_before),
            _ => return None,
        };
        (self.ms, self.at) = (ms, None);
        Some(ms)
    }
}

/// What is wrong with the control plane's certificate, where a connection did not come about because of that.
pub(crate) fn certificate_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(found)) = error.downcast_ref() {
            return Some(found);
        }
        // Its source is what is below the error that it holds.
        if let Some(held) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return certificate_error(held);
        }
        next = error.source();
    }
    None
}

fn between(one: UnixTime, other: UnixTime) -> i64 {
    let seconds = |time: UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    seconds(one).saturating_sub(seconds(other)).saturating_mul(1000)
}

fn ahead(one: SystemTime, other: SystemTime) -> i64 {
    match one.duration_since(other) {
        Ok(ahead) => millis(ahead),
        Err(behind) => -millis(behind.duration()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const DAY_MS: i64 = 86_400_000;

    #[test]
    fn a_clock_that_is_set_anew_while_the_stream_is_open_is_noticed() {
        let (start, mono) = (SystemTime::UNIX_EPOCH + DAY * 10_000, Instant::now());
        let mut skew = Skew::default();
        assert_eq!(skew.at((start, mono)), 0);
        skew.measure((start, mono), start - Duration::from_millis(250));
        assert_eq!(skew.at((start, mono)), 250);
        let later = mono + DAY;
        assert_eq!(skew.at((start + DAY, later)), 250, "time passes, and nothing else");
        assert_eq!(skew.at((start + DAY * 401, later)), 250 + 400 * DAY_MS);
        assert_eq!(skew.at((start - DAY * 399, later)), 250 - 400 * DAY_MS);
        skew.measure((start, later), start + DAY);
        assert_eq!(skew.at((start, later)), -DAY_MS);
    }

    #[test]
    fn a_certificate_of_another_time_says_how_far_the_clocks_are_apart_at_the_least() {
        let time =
            |days: u64| UnixTime::since_unix_epoch(DAY * 20_000 + DAY * u32::try_from(days).expect("few"));
        let failed = |error: CertificateError| {
            let within = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(error));
            io::Error::other(within)
        };
        let mut skew = Skew::default();
        let expired = CertificateError::ExpiredContext { time: time(400), not_after: time(397) };
        assert_eq!(skew.no_connection(&failed(expired)), Some(3 * DAY_MS));
        assert_eq!(skew.at((SystemTime::UNIX_EPOCH, Instant::now())), 3 * DAY_MS);
        let early = CertificateError::NotValidYetContext { time: time(0), not_before: time(400) };
        assert_eq!(skew.no_connection(&failed(early)), Some(-400 * DAY_MS));
        // What says nothing about time changes nothing.
        assert_eq!(skew.no_connection(&failed(CertificateError::UnknownIssuer)), None);
        assert_eq!(skew.no_connection(&io::Error::other("nobody is there")), None);
        assert_eq!(skew.at((SystemTime::UNIX_EPOCH, Instant::now())), -400 * DAY_MS);
    }
}
