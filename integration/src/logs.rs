//! Captures what the planes log: a WARN or ERROR that no test announced fails the test that ends next.
//!
//! Both planes of all worlds share this process, so an announcement holds for the whole run.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

static ONCE: Once = Once::new();
static BOOK: Mutex<Book> = Mutex::new(Book { announced: Vec::new(), lines: Vec::new() });

struct Book {
    announced: Vec<&'static str>,
    lines: Vec<String>,
}

fn book() -> MutexGuard<'static, Book> {
    BOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts capturing, once a process.
pub fn capture() {
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Capture);
        tracing::subscriber::set_global_default(subscriber).expect("nothing else of the suite sets one");
    });
}

/// Says that lines which contain `part` are part of a test.
pub fn announce(part: &'static str) {
    book().announced.push(part);
}

/// Fails if there is a line that nobody announced.
pub fn check() {
    let mut book = book();
    let Book { announced, lines } = &mut *book;
    let unannounced: Vec<String> =
        lines.drain(..).filter(|line| !announced.iter().any(|part| line.contains(part))).collect();
    drop(book);
    assert!(unannounced.is_empty(), "logged and not announced:\n{}", unannounced.join("\n"));
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

struct Capture;

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN || !event.metadata().target().starts_with("rr") {
            return;
        }
        // A failing test takes its tasks down with it, and has its own report.
        if std::thread::panicking() {
            return;
        }
        let mut line = Line(format!("{} {}:", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        book().lines.push(line.0);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a string takes every write");
    }
}
