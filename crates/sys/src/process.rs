//! This process.

use crate::Result;

/// Leaves at once: no destructors, no exit handlers, no flushing.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) takes any value and does not return.
    unsafe { libc::_exit(status.into()) }
}

/// How many threads this process has.
///
/// # Errors
/// Those of statx(2) where `/proc` is not mounted.
pub fn thread_count() -> Result<u64> {
    // The kernel counts a link per thread beside `.` and the entry in the parent folder: one call instead of a listing.
    let task = rustix::fs::stat(c"/proc/self/task")?;
    Ok(widen(task.st_nlink).saturating_sub(2))
}

/// The link count has 32 bits on some architectures.
fn widen(links: impl Into<u64>) -> u64 {
    links.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted() {
        let before = thread_count().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            started.send(()).unwrap();
            let _ = stopped.recv();
        });
        has_started.recv().unwrap();
        let during = thread_count().unwrap();
        drop(stop);
        thread.join().unwrap();
        assert!(before >= 1, "{before}");
        assert!(during >= 2, "{during}");
    }
}
