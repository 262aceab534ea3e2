//! Log lines on their way out: those that the work of one wake makes are written together.
//!
//! A busy proxy ends several requests each time a worker of the runtime wakes up, and a write for
//! each of their lines is a good part of what they cost. So a worker that is awake puts its lines
//! into a buffer, which is written before a worker goes to sleep, when it is full, and at the end.
//! Nothing waits for a timer, and an idle process holds nothing back. A warning, an error, and a
//! line of any other thread are written at once, with all that came before them.

use std::{
    cell::Cell,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::runtime::Builder;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// A buffer that holds so much is written: lines of a worker that never sleeps wait no longer.
const FULL: usize = 8 * 1024;

/// What all threads have said and nobody has written yet.
static BUFFER: Mutex<Buffer> = Mutex::new(Buffer(Vec::new()));

thread_local! {
    /// Whether this thread will come by [`flush`] by itself.
    static IS_AWAKE: Cell<bool> = const { Cell::new(false) };
}

/// Writes to standard error, through the buffer. See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines;

/// Takes one line.
#[derive(Debug)]
pub(crate) struct Line {
    at_once: bool,
}

/// Whole lines.
#[derive(Debug)]
struct Buffer(Vec<u8>);

/// Makes the runtime's workers write before they sleep.
pub(crate) fn flush_before_sleep(runtime: &mut Builder) -> &mut Builder {
    let sleep = || {
        IS_AWAKE.set(false);
        flush();
    };
    runtime.on_thread_unpark(|| IS_AWAKE.set(true)).on_thread_park(sleep).on_thread_stop(sleep)
}

/// Writes what is there. Also for the end of the process.
pub(crate) fn flush() {
    buffer().write_to(&mut io::stderr());
}

/// It is held while it is written, so that no line overtakes another.
fn buffer() -> MutexGuard<'static, Buffer> {
    BUFFER.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Lines ===

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { at_once: true }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Line {
        Line { at_once: *line.level() <= Level::WARN || !IS_AWAKE.get() }
    }
}

// === impl Line ===

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        buffer().push(line, self.at_once, &mut io::stderr());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl Buffer ===

impl Buffer {
    fn push(&mut self, line: &[u8], at_once: bool, out: &mut impl Write) {
        self.0.extend_from_slice(line);
        if at_once || self.0.len() >= FULL {
            self.write_to(out);
        }
    }

    /// Where nobody reads our log any more, there is nobody to tell.
    fn write_to(&mut self, out: &mut impl Write) {
        if !self.0.is_empty() {
            let _ = out.write_all(&self.0);
            self.0.clear();
            self.0.shrink_to(2 * FULL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps each write by itself.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.push(text.to_vec());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_together_and_in_order() {
        let (mut buffer, mut out) = (Buffer(Vec::new()), Writes::default());
        buffer.push(b"a\n", false, &mut out);
        buffer.push(b"b\n", false, &mut out);
        assert!(out.0.is_empty());
        buffer.push(b"c\n", true, &mut out);
        buffer.push(b"d\n", false, &mut out);
        buffer.write_to(&mut out);
        buffer.write_to(&mut out);
        assert_eq!(out.0, [b"a\nb\nc\n".to_vec(), b"d\n".to_vec()]);
    }

    #[test]
    fn a_full_buffer_is_written() {
        let (mut buffer, mut out) = (Buffer(Vec::new()), Writes::default());
        for _ in 0..FULL / 8 {
            assert!(out.0.is_empty());
            buffer.push(b"1234567\n", false, &mut out);
        }
        assert_eq!(out.0.len(), 1);
        assert!(buffer.0.is_empty());
    }

    #[test]
    fn a_worker_writes_before_it_sleeps_and_other_threads_at_once() {
        let mut builder = Builder::new_multi_thread();
        let runtime = flush_before_sleep(builder.worker_threads(1)).build().unwrap();
        // A worker that has just started has not slept yet.
        while !runtime.block_on(runtime.spawn(async { IS_AWAKE.get() })).unwrap() {}
        let kept = runtime.block_on(runtime.spawn(async {
            buffer().push(b"a line of a worker\n", false, &mut io::stderr());
            !buffer().0.is_empty()
        }));
        assert!(kept.unwrap());
        while !buffer().0.is_empty() {
            std::thread::yield_now();
        }
        let other = runtime.block_on(runtime.spawn_blocking(|| IS_AWAKE.get())).unwrap();
        assert!(!other && !IS_AWAKE.get());
    }
}
