//! Log lines on their way out, by a thread of their own.
//!
//! Whoever logs puts a line into a buffer and goes on. The writer writes what is there at once, and then
//! pauses for five milliseconds: an idle process holds nothing back, and a busy one writes many lines
//! together, since a write for each would be a good part of what a request costs.
//!
//! Where standard error takes nothing more (a pipe that nobody reads any longer), requests go on: past
//! [`MAX_WAITING`] lines are lost, and a line says how many when it takes some again.

use std::{
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// So many bytes wait for the writer at most.
const MAX_WAITING: usize = 4 * 1024 * 1024;

/// A buffer that had to grow beyond is given back.
const KEPT: usize = 64 * 1024;

const PAUSE: Duration = Duration::from_millis(5);

/// At the end of the process, so long is waited for what has not been written.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// What goes to standard error.
pub(crate) static STDERR: Lines = Lines::new();

/// Takes whole lines from any thread. See the [module](self).
#[derive(Debug)]
pub(crate) struct Lines {
    state: Mutex<State>,
    came: Condvar,
    written: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    is_writing: bool,
}

/// Starts the writer.
pub(crate) fn start() -> io::Result<()> {
    thread::Builder::new().name("log-writer".into()).spawn(|| STDERR.write_to(&mut io::stderr()))?;
    Ok(())
}

/// Waits until all is written, a second at most.
pub(crate) fn flush() {
    STDERR.wait_written(FLUSH_TIMEOUT);
}

/// Whether there is a line that has not been written.
fn is_left(state: &State) -> bool {
    state.is_writing || !state.waiting.is_empty()
}

// === impl Lines ===

impl Lines {
    const fn new() -> Self {
        let state = State { waiting: Vec::new(), lost: 0, is_writing: false };
        Self { state: Mutex::new(state), came: Condvar::new(), written: Condvar::new() }
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > MAX_WAITING {
            state.lost += 1;
            return;
        }
        let is_first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if is_first {
            self.came.notify_one();
        }
    }

    /// The writer's work, for ever.
    fn write_to(&self, out: &mut impl Write) {
        let mut batch = Vec::new();
        loop {
            let lost = self.take(&mut batch);
            // Where nobody reads our log any more, there is nobody to tell.
            let _ = out.write_all(&batch);
            batch.clear();
            batch.shrink_to(KEPT);
            if lost > 0 {
                tracing::warn!(lines = lost, "log lines were lost: standard error was not read fast enough");
            }
            self.lock().is_writing = false;
            self.written.notify_all();
            thread::sleep(PAUSE);
        }
    }

    /// Waits for lines, and moves them to `batch`. Gives how many there was no room for.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let state = self.lock();
        let is_empty = |state: &mut State| state.waiting.is_empty();
        let mut state = self.came.wait_while(state, is_empty).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.waiting, batch);
        state.is_writing = true;
        std::mem::take(&mut state.lost)
    }

    fn wait_written(&self, timeout: Duration) {
        drop(self.written.wait_timeout_while(self.lock(), timeout, |state| is_left(state)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Hands on each write by itself, and waits until somebody takes it.
    struct Writes(SyncSender<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.send(text.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn started() -> (&'static Lines, Receiver<Vec<u8>>) {
        let lines: &'static Lines = Box::leak(Box::new(Lines::new()));
        let (sender, writes) = sync_channel(0);
        thread::spawn(|| lines.write_to(&mut Writes(sender)));
        (lines, writes)
    }

    fn wait_for_the_writer(lines: &Lines) {
        while !lines.lock().is_writing {
            thread::yield_now();
        }
    }

    #[test]
    fn lines_that_come_meanwhile_are_written_together_and_in_order() {
        let (lines, writes) = started();
        lines.push(b"a\n");
        wait_for_the_writer(lines);
        lines.push(b"b\n");
        lines.push(b"c\n");
        assert_eq!(writes.recv().unwrap(), b"a\n");
        assert_eq!(writes.recv().unwrap(), b"b\nc\n");
    }

    #[test]
    fn who_logs_does_not_wait_for_a_reader_and_what_waits_is_bounded() {
        let (lines, writes) = started();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        lines.push(&line);
        wait_for_the_writer(lines);
        for _ in 0..MAX_WAITING / line.len() + 7 {
            lines.push(&line);
        }
        let state = lines.lock();
        assert_eq!((state.waiting.len(), state.lost), (MAX_WAITING, 7));
        drop(state);
        assert_eq!(writes.recv().unwrap().len(), line.len());
        assert_eq!(writes.recv().unwrap().len(), MAX_WAITING);
        lines.push(b"again\n");
        assert_eq!(writes.recv().unwrap(), b"again\n");
        assert_eq!(lines.lock().lost, 0);
    }

    #[test]
    fn the_end_waits_for_the_writer_and_not_for_ever() {
        let (lines, writes) = started();
        lines.push(b"the last one\n");
        lines.wait_written(Duration::from_millis(20));
        assert!(is_left(&lines.lock()));
        let reader = thread::spawn(move || writes.recv().unwrap());
        lines.wait_written(Duration::from_secs(60));
        assert!(!is_left(&lines.lock()));
        assert_eq!(reader.join().unwrap(), b"the last one\n");
    }
}
