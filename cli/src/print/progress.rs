//! Progress of what takes longer than a second, on a terminal at standard error; silent elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What ends sooner is not worth a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar, or a sign of life where the end is not known. It goes when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Of `total` steps; 0 where their number is not known.
    pub(crate) fn of(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target((total > 0).then_some(total), ProgressDrawTarget::hidden());
        let template = if total > 0 {
            "{msg} {wide_bar} {human_pos}/{human_len} {eta} left"
        } else {
            "{spinner} {msg} {human_pos} {elapsed}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { bar, started: Instant::now() }
    }

    /// Some steps more are done.
    pub(crate) fn more(&self, steps: u64) {
        self.bar.inc(steps);
        if self.bar.is_hidden() && self.started.elapsed() >= PATIENCE {
            // Hidden again where standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
