//! One direction of a tunnel.

use std::{
    io,
    task::{Context, Poll, ready},
};

use towergate_core::tunnel::Duplex;

use super::frames::{Close, Frames};

/// What one direction holds at most: it reads on only when all of it was taken.
const BUFFER: usize = 16 * 1024;

/// Copies from one connection to the other, and brings that to an end.
pub(super) struct Pipe {
    buffer: Box<[u8]>,
    /// What of the buffer is still to be written.
    from: usize,
    upto: usize,
    unflushed: bool,
    /// The source is over.
    ended: bool,
    frames: Frames,
    /// Whether the target wants masked frames.
    masks: bool,
    finish: Finish,
}

/// Which connection failed.
#[derive(Debug)]
pub(super) enum Fault {
    Source(io::Error),
    Target(io::Error),
}

/// How far a direction has come on the way to its end.
enum Finish {
    /// Write what is left of the frame that has begun.
    Frame,
    /// Write the last words.
    Words { bytes: Vec<u8>, written: usize },
    /// Say that nothing more comes.
    Shut,
    /// Read until the other side has said the same: unread bytes would make the system reset the
    /// connection, and the last words would be lost.
    Drain,
}

// === impl Pipe ===

impl Pipe {
    pub(super) fn new(masks: bool) -> Self {
        Self {
            buffer: vec![0; BUFFER].into(),
            from: 0,
            upto: 0,
            unflushed: false,
            ended: false,
            frames: Frames::default(),
            masks,
            finish: Finish::Frame,
        }
    }

    /// Whether a close frame went through.
    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// Copies until the source ends. `moved` is set where any byte was.
    pub(super) fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Duplex,
        target: &mut dyn Duplex,
        moved: &mut bool,
    ) -> Poll<Result<(), Fault>> {
        loop {
            while self.from < self.upto {
                let written = ready!(self.poll_write(cx, target, self.upto)).map_err(Fault::Target)?;
                *moved |= written > 0;
            }
            let read = if self.ended { Poll::Ready(Ok(0)) } else { source.poll_read(cx, &mut self.buffer) };
            match read {
                Poll::Ready(Ok(read)) if read > 0 => {
                    (self.from, self.upto) = (0, read);
                    *moved = true;
                    continue;
                }
                Poll::Ready(Ok(_)) => self.ended = true,
                Poll::Ready(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Err(Fault::Source(error)));
                }
                Poll::Pending => {}
            }
            if self.unflushed {
                ready!(target.poll_flush(cx)).map_err(Fault::Target)?;
                self.unflushed = false;
            }
            return if self.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
    }

    /// Brings this direction to its end: with a close frame where one is given, and none went
    /// through before. Whatever fails on the way ends it too.
    pub(super) fn poll_finish(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Duplex,
        target: &mut dyn Duplex,
        close: Option<Close>,
    ) -> Poll<()> {
        loop {
            let result = match &mut self.finish {
                Finish::Frame => ready!(self.poll_last_frame(cx, source, target, close)),
                Finish::Words { bytes, written } => match bytes.get(*written..) {
                    Some(rest @ [_, ..]) => {
                        ready!(target.poll_write(cx, rest)).map(|taken| *written += taken)
                    }
                    _ => {
                        self.finish = Finish::Shut;
                        Ok(())
                    }
                },
                Finish::Shut => {
                    let flushed = ready!(target.poll_flush(cx));
                    let shut = flushed.and_then(|()| match target.poll_close(cx) {
                        Poll::Ready(shut) => shut.map(|()| true),
                        Poll::Pending => Ok(false),
                    });
                    match shut {
                        Ok(false) => return Poll::Pending,
                        Ok(true) => {
                            self.drain();
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
                Finish::Drain if self.ended || self.frames.is_closed() => return Poll::Ready(()),
                Finish::Drain => {
                    let read = ready!(source.poll_read(cx, &mut self.buffer)).unwrap_or(0);
                    self.ended = read == 0;
                    self.frames.pass(self.buffer.get(..read).unwrap_or_default());
                    Ok(())
                }
            };
            if result.is_err() {
                self.drain();
            }
        }
    }

    /// Nothing more is written. What was held is only looked at, as all that comes will be.
    fn drain(&mut self) {
        self.frames.pass(self.buffer.get(self.from..self.upto).unwrap_or_default());
        (self.from, self.upto) = (0, 0);
        self.finish = Finish::Drain;
    }

    /// Writes on to the end of the frame, or of what there is, and then knows the last words.
    fn poll_last_frame(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Duplex,
        target: &mut dyn Duplex,
        close: Option<Close>,
    ) -> Poll<io::Result<()>> {
        loop {
            let held = self.buffer.get(self.from..self.upto).unwrap_or_default();
            let left = if close.is_some() { self.frames.left_of_frame(held) } else { held.len() };
            if left > 0 {
                ready!(self.poll_write(cx, target, self.from + left))?;
                continue;
            }
            if close.is_none() || self.ended || self.frames.is_between() {
                let frame = close.filter(|_| self.frames.is_between() && !self.frames.is_closed());
                let bytes = frame.map(|close| close.frame(self.masks)).unwrap_or_default();
                self.finish = Finish::Words { bytes, written: 0 };
                return Poll::Ready(Ok(()));
            }
            let read = ready!(source.poll_read(cx, &mut self.buffer)).unwrap_or(0);
            (self.from, self.upto) = (0, read);
            self.ended = read == 0;
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        target: &mut dyn Duplex,
        upto: usize,
    ) -> Poll<io::Result<usize>> {
        let data = self.buffer.get(self.from..upto).unwrap_or_default();
        let written = match ready!(target.poll_write(cx, data))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => written,
        };
        self.frames.pass(data.get(..written).unwrap_or_default());
        self.from += written;
        self.unflushed = true;
        Poll::Ready(Ok(written))
    }
}
