//! Captures what the planes of a world log: a WARN or ERROR that its test did not announce fails that test, and no other.
//!
//! A world logs on the thread of its test and on threads that its planes start from there. Lines of other threads (a
//! pool's) belong to nobody in particular: they fail the test that ends next, unless any test announced them.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

static ONCE: Once = Once::new();
static NOBODYS: Mutex<Book> = Mutex::new(Book { announced: Vec::new(), lines: Vec::new() });

struct Book {
    announced: Vec<&'static str>,
    lines: Vec<String>,
}

impl Book {
    fn unannounced(&mut self, also: &[&'static str]) -> Vec<String> {
        let announced: Vec<&str> = self.announced.iter().chain(also).copied().collect();
        self.lines.drain(..).filter(|line| !announced.iter().any(|part| line.contains(part))).collect()
    }
}

fn open(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The log of one world.
pub struct Log {
    book: Arc<Mutex<Book>>,
    _captures: DefaultGuard,
}

impl Log {
    /// Captures what is logged on this thread, and on threads that planes start from it, until it is dropped.
    pub fn capture() -> Self {
        ONCE.call_once(|| {
            tracing::subscriber::set_global_default(Capture(None))
                .expect("nothing else of the suite sets one");
        });
        let book = Arc::new(Mutex::new(Book { announced: Vec::new(), lines: Vec::new() }));
        let captures = tracing::subscriber::set_default(Capture(Some(Arc::clone(&book))));
        Self { book, _captures: captures }
    }

    /// Says that lines which contain `part` are part of the test.
    pub fn announce(&self, part: &'static str) {
        open(&self.book).announced.push(part);
        open(&NOBODYS).announced.push(part);
    }

    /// Fails if there is a line that was not announced.
    pub fn check(&self) {
        let mut unannounced = open(&self.book).unannounced(&[]);
        let announced = open(&self.book).announced.clone();
        unannounced.extend(open(&NOBODYS).unannounced(&announced));
        assert!(unannounced.is_empty(), "logged and not announced:\n{}", unannounced.join("\n"));
    }
}

/// Lines of a log file that a test did not announce.
pub fn unannounced(log: &str, announced: &[&str]) -> Vec<String> {
    log.lines()
        .filter(|line| {
            (line.contains("WARN") || line.contains("ERROR"))
                && !announced.iter().any(|part| line.contains(part))
        })
        .map(str::to_owned)
        .collect()
}

/// Writes into a test's book, or into nobody's. Takes no spans: one that began on a thread of a test may end on one of a
/// pool, with another subscriber.
struct Capture(Option<Arc<Mutex<Book>>>);

impl Subscriber for Capture {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.is_event() && *of.level() <= Level::WARN && of.target().starts_with("rr")
    }

    fn event(&self, event: &Event<'_>) {
        // A failing test takes its tasks down with it, and has its own report.
        if std::thread::panicking() {
            return;
        }
        let mut line = Line(format!("{} {}:", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        open(self.0.as_deref().unwrap_or(&NOBODYS)).lines.push(line.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string takes every write");
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::thread;

    use rr_contract::runtime::logging_alike;
    use tracing::warn;

    use super::*;

    #[test]
    fn a_line_fails_the_test_that_made_it_and_no_other() {
        let mine = Log::capture();
        thread::spawn(logging_alike(|| warn!("of a thread of mine"))).join().expect("it ends");
        let theirs = thread::spawn(|| {
            let theirs = Log::capture();
            warn!("theirs");
            catch_unwind(std::panic::AssertUnwindSafe(|| theirs.check())).is_err()
        });
        assert!(theirs.join().expect("it ends"), "their line fails them");
        let lines = open(&mine.book).unannounced(&[]);
        assert_eq!(lines, ["WARN rr_integration::logs::tests: message=of a thread of mine"]);
        mine.check();
    }
}
