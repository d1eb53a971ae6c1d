//! Log lines on their way to stderr: queued, and written by a thread of their own.
//!
//! Whoever logs waits for nobody: not for a pipe that is full because nobody reads it, and not for a disk that hangs. The
//! queue is bounded; what finds no room, or is refused by stderr, is lost and counted, and a line says so in its place
//! once lines go through again. A stderr that is closed loses lines and does nothing else.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use std::{backtrace, fmt, panic, thread};

use serde_json::json;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::{LogFormat, Look};

/// How much may wait to be written: some thousand lines.
const BOUND: usize = 1024 * 1024;
/// What a note of a loss counts for in the bound.
const NOTE: usize = 128;
/// How long an end waits for lines to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often a stderr is tried that takes nothing just now.
const AGAIN: Duration = Duration::from_millis(20);
/// The target of lines about lines.
const TARGET: &str = "rr_runtime::observe";

/// The lines of the process, once logs were started.
static STARTED: OnceLock<Lines> = OnceLock::new();

/// Where lines are left. Clones share one queue.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Something came.
    filled: Condvar,
    /// Everything is written.
    emptied: Condvar,
    look: Look,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Item>,
    /// Of what waits and what is being written.
    bytes: usize,
    is_writing: bool,
    lost: u64,
}

enum Item {
    Line(Vec<u8>),
    /// So many lines are missing here.
    Lost(u64),
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl Lines {
    pub(super) fn new(look: Look) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            look,
        }))
    }

    /// Writes to the process's stderr from now on, and says there when a thread panics.
    pub(super) fn start(&self) -> io::Result<()> {
        // A handle of its own: the library's is locked for as long as a write takes, and that may be for ever.
        self.write_to(File::from(io::stderr().as_fd().try_clone_to_owned()?))?;
        if STARTED.set(self.clone()).is_ok() {
            let lines = self.clone();
            panic::set_hook(Box::new(move |panicked| {
                let trace = backtrace::Backtrace::capture();
                let trace = match trace.status() {
                    backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
                    _ => String::new(),
                };
                let name = thread::current().name().unwrap_or("without a name").to_owned();
                lines.push(lines.0.look.line(
                    "ERROR",
                    &format!("thread {name} {panicked}{trace}"),
                    json!({}),
                ));
                // The process may end with this thread.
                lines.flush(LAST_WORDS / 4);
            }));
        }
        Ok(())
    }

    fn write_to(&self, out: impl Write + Send + 'static) -> io::Result<()> {
        let lines = self.clone();
        thread::Builder::new().name("log".into()).spawn(move || lines.write(out)).map(|_| ())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics under this lock, and nothing waits under it.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        let mut queue = self.queue();
        if queue.bytes + line.len() > BOUND {
            queue.lose(1);
        } else {
            queue.bytes += line.len();
            queue.waiting.push_back(Item::Line(line));
        }
        drop(queue);
        self.0.filled.notify_one();
    }

    /// How many lines were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.queue().lost
    }

    /// Whether all that waits was written, or given up, before `limit` had passed.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.waiting.is_empty();
        let waited = self.0.emptied.wait_timeout_while(self.queue(), limit, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn write(self, mut out: impl Write) {
        let mut refused = 0;
        loop {
            let item = {
                let mut queue = self.queue();
                queue.is_writing = false;
                if queue.waiting.is_empty() {
                    self.0.emptied.notify_all();
                }
                let mut queue = self
                    .0
                    .filled
                    .wait_while(queue, |queue| queue.waiting.is_empty())
                    .unwrap_or_else(PoisonError::into_inner);
                queue.is_writing = true;
                queue.waiting.pop_front()
            };
            // What is not written is missing before whatever is written next.
            let (line, room, missing) = match item {
                None => continue,
                Some(Item::Lost(lines)) => {
                    refused += lines;
                    (Vec::new(), NOTE, 0)
                }
                Some(Item::Line(line)) => (line, 0, 1),
            };
            if refused > 0 && write_all(&mut out, &self.loss(refused)).is_ok() {
                refused = 0;
            }
            let outcome = write_all(&mut out, &line);
            let mut queue = self.queue();
            queue.bytes = queue.bytes.saturating_sub(room + line.len());
            if outcome.is_err() {
                refused += missing;
                queue.lost += missing;
            }
        }
    }

    fn loss(&self, lines: u64) -> Vec<u8> {
        let message = format!("{lines} lines lost: nobody read them in time");
        self.0.look.line("WARN", &message, json!({ "lines": lines }))
    }
}

impl Queue {
    fn lose(&mut self, lines: u64) {
        self.lost += lines;
        match self.waiting.back_mut() {
            Some(Item::Lost(before)) => *before += lines,
            _ => {
                self.bytes += NOTE;
                self.waiting.push_back(Item::Lost(lines));
            }
        }
    }
}

/// One call is one line: that is how the subscriber writes.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Look {
    /// A line of our own, like those of the subscriber.
    fn line(self, level: &str, message: &str, fields: serde_json::Value) -> Vec<u8> {
        let mut time = String::new();
        // A time that cannot be written leaves a line without one.
        SystemTime.format_time(&mut Writer::new(&mut time)).ok();
        let mut line = match self.format {
            LogFormat::Human => format!("{time} {level:>5} {TARGET}: {message}"),
            LogFormat::Json => {
                let mut line =
                    json!({ "timestamp": time, "level": level, "message": message, "target": TARGET });
                if let (Some(line), serde_json::Value::Object(mut fields)) = (line.as_object_mut(), fields) {
                    line.append(&mut fields);
                }
                line.to_string()
            }
        };
        line.push('\n');
        line.into_bytes()
    }
}

fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever gave us this stderr may have made it so.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(AGAIN),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Says something on stderr that is no log line, behind all log lines, and waits for it no longer than a second: for
/// the end of a program. The line goes out although the queue is full.
pub fn say(text: &str) {
    let line = format!("{text}\n").into_bytes();
    let Some(lines) = STARTED.get() else {
        // Where nobody reads stderr, the exit code still says it.
        io::stderr().write_all(&line).ok();
        return;
    };
    let mut queue = lines.queue();
    queue.bytes += line.len();
    queue.waiting.push_back(Item::Line(line));
    drop(queue);
    lines.0.filled.notify_one();
    lines.flush(LAST_WORDS);
}

/// Waits until all log lines are written, and no longer than a second: before the process is ended without a stop.
pub fn flush_lines() {
    if let Some(lines) = STARTED.get() {
        lines.flush(LAST_WORDS);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LOOK: Look = Look { format: LogFormat::Human, color: false };
    const SOON: Duration = Duration::from_secs(30);

    /// Takes a write once it is let to.
    struct Gate(Receiver<()>, SyncSender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_who_logs_waits_for_a_reader_and_what_was_lost_is_said_in_its_place() {
        let lines = Lines::new(LOOK);
        let (open, gate) = sync_channel(100_000);
        let (sender, written) = sync_channel(100_000);
        lines.write_to(Gate(gate, sender)).expect("a thread");
        let line = format!("{}\n", "x".repeat(999)).into_bytes();
        for _ in 0..BOUND / 1000 + 500 {
            lines.push(line.clone());
        }
        assert!(!lines.flush(Duration::from_millis(1)));
        let lost = lines.lost();
        assert!((499..=501).contains(&lost), "{lost}");
        // From now on somebody reads.
        for _ in 0..50_000 {
            open.send(()).expect("it writes");
        }
        assert!(lines.flush(SOON));
        lines.push(b"after\n".to_vec());
        assert!(lines.flush(SOON));
        let written: Vec<String> =
            written.try_iter().map(|line| String::from_utf8(line).expect("text")).collect();
        let (last, before) = written.split_last().expect("lines");
        assert_eq!(last, "after\n");
        let (note, whole) = before.split_last().expect("lines");
        assert!(note.contains(&format!(" WARN {TARGET}: {lost} lines lost")), "{note}");
        assert_eq!(whole.len() as u64 + lost, (BOUND / 1000 + 500) as u64);
        assert!(whole.iter().all(|one| one.as_bytes() == line));
        assert_eq!(lines.lost(), lost, "no line is counted twice");
    }

    #[test]
    fn a_closed_stderr_loses_lines_and_nothing_else() {
        let lines = Lines::new(LOOK);
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        drop(theirs);
        lines.write_to(ours).expect("a thread");
        for _ in 0..3 {
            lines.push(b"nobody is there\n".to_vec());
        }
        assert!(lines.flush(SOON));
        assert_eq!(lines.lost(), 3);
    }

    #[test]
    fn a_line_of_ours_in_json_has_its_fields_at_the_top() {
        let look = Look { format: LogFormat::Json, color: false };
        let line: serde_json::Value = serde_json::from_slice(&Lines::new(look).loss(7)).expect("a JSON line");
        assert_eq!((&line["level"], &line["lines"]), (&json!("WARN"), &json!(7)));
        assert!(line["message"].as_str().is_some_and(|message| message.starts_with("7 lines lost")));
        assert!(line["timestamp"].as_str().is_some_and(|time| time.len() > 19));
    }
}
