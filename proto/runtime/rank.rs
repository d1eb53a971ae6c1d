//! How a thread stands behind the others of its process when there is more to do than processors for it.
//!
//! Starts no thread. Where the system knows no rank of a single thread, nothing happens.

/// Has the threads of this process that said nothing go first, from now on and for as long as this thread lives.
pub fn stand_behind() {
    // There, the rank is the thread's own; elsewhere it is the whole process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(BEHIND) {
        // It is never refused to stand further behind. If it is, the thread does its work all the same.
        tracing::debug!(%error, "thread keeps its rank");
    }
}

/// A tenth of the share of a thread that said nothing.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 10;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn one_thread_stands_behind_and_no_other() {
        let before = getpriority_process(None).expect("a rank");
        let behind = thread::spawn(|| {
            stand_behind();
            getpriority_process(None).expect("a rank")
        });
        assert_eq!(behind.join().expect("it does not panic"), (before + BEHIND).min(19));
        assert_eq!(getpriority_process(None).expect("a rank"), before);
    }
}
