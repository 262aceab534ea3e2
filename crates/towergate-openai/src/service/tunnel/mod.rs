//! [`Tunnel`]: an upgraded connection as the body of a 101.
//!
//! It owns the upstream's connection, waits for the client's, and moves the bytes of both directions
//! as it is polled: no task and no channel in between, and a bounded buffer each way, so that
//! whoever does not read stops whoever writes. What is moved stays as it is. The heads of frames are
//! looked at in passing, so that a close frame can be put in where one may stand.
//!
//! | what happens | what the two sides see | the body ends with |
//! |---|---|---|
//! | a close frame went through, and one side hung up or answered it | both connections end | `None` |
//! | the client goes away without one | the upstream's connection is dropped at once | [`ErrorKind::ClientGone`] |
//! | the upstream goes away without one | the client gets what came, then the end | [`ErrorKind::Truncated`], [`ErrorKind::Connection`] |
//! | nothing moved for the idle time | close 1001 to both | [`Clock::Idle`] |
//! | the gateway shuts down | close 1001 to both | [`ErrorKind::Draining`] |
//!
//! A close frame waits for the end of the frame that has begun. Its receiver has 5 s for its answer.
//! Dropped: both connections are.

mod frames;
mod io;
mod pipe;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};
use towergate_core::{
    Clock, Error, ErrorKind, Phase, Sent,
    label::Label,
    tunnel::{Duplex, OnClient, OnClosing},
};

pub use self::io::UpgradedIo;
use self::{
    frames::Close,
    pipe::{Fault, Pipe},
};

/// How long the end of a tunnel may take, once it has begun.
const GRACE: Duration = Duration::from_secs(5);
/// RFC 6455, section 7.4.1: "going away". SDKs connect again after it.
const GOING_AWAY: u16 = 1001;

/// The body of a 101. Gives no frames.
pub(super) struct Tunnel {
    /// Nothing once it is over.
    sides: Option<Box<Sides>>,
    provider: Label,
    idle: Duration,
    last: Instant,
    /// The idle clock, or the grace.
    alarm: Pin<Box<Sleep>>,
    closing: Option<OnClosing>,
    ending: Option<Ending>,
}

struct Sides {
    client: Side,
    upstream: Side,
    up: Pipe,
    down: Pipe,
}

enum Side {
    Coming(OnClient),
    Here(Box<dyn Duplex>),
}

/// It comes to its end.
struct Ending {
    error: Option<Error>,
    close: Option<Close>,
}

/// What ends it.
enum Cause {
    Closed,
    ClientGone(std::io::Error),
    UpstreamGone(std::io::Error),
    UpstreamEnded,
}

// === impl Tunnel ===

impl Tunnel {
    /// Both sides may still be on their way.
    pub(super) fn new(
        client: OnClient,
        upstream: OnClient,
        closing: OnClosing,
        provider: Label,
        idle: Duration,
    ) -> Self {
        let last = Instant::now();
        let sides = Sides {
            client: Side::Coming(client),
            upstream: Side::Coming(upstream),
            up: Pipe::new(true),
            down: Pipe::new(false),
        };
        Self {
            sides: Some(Box::new(sides)),
            provider,
            idle,
            last,
            alarm: Box::pin(sleep_until(later(last, idle))),
            closing: Some(closing),
            ending: None,
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        if let Some(closing) = &mut self.closing
            && closing.as_mut().poll(cx).is_ready()
        {
            self.closing = None;
            let error = Error::new(ErrorKind::Draining, "the WebSocket was closed: the gateway shuts down");
            self.end_with(error, Some("the gateway is shutting down"));
        }
        loop {
            let Some(sides) = self.sides.as_deref_mut() else { return Poll::Ready(None) };
            let mut moved = false;
            let cause = match sides.poll_open(cx) {
                Poll::Ready(Ok(())) if self.ending.is_some() => None,
                Poll::Ready(Ok(())) => sides.poll_copy(cx, &mut moved),
                Poll::Ready(Err(cause)) => Some(cause),
                Poll::Pending => None,
            };
            if moved {
                self.last = Instant::now();
            }
            if let Some(cause) = cause
                && let Some(error) = self.on_cause(cause)
            {
                return Poll::Ready(Some(error));
            }
            if let (Some(ending), Some(sides)) = (&mut self.ending, self.sides.as_deref_mut())
                && sides.poll_finish(cx, ending.close).is_ready()
            {
                return Poll::Ready(ending.error.take());
            }
            ready!(self.alarm.as_mut().poll(cx));
            if let Some(ending) = &mut self.ending {
                return Poll::Ready(ending.error.take());
            }
            let due = later(self.last, self.idle);
            if due > Instant::now() {
                self.alarm.as_mut().reset(due);
                continue;
            }
            let message = format!("nothing came over the WebSocket for {:?}", self.idle);
            let error =
                Error::new(ErrorKind::Timeout(Clock::Idle), message).with_setting("timeouts.tunnel_idle");
            self.end_with(error, Some("nothing came for too long"));
        }
    }

    /// Gives an error where nothing is left to be done about it.
    fn on_cause(&mut self, cause: Cause) -> Option<Error> {
        let closed =
            self.sides.as_deref().is_some_and(|sides| sides.up.is_closed() || sides.down.is_closed());
        match cause {
            _ if self.ending.is_some() => {}
            Cause::ClientGone(error) if !closed => {
                let message = "the client's connection ended without a close frame";
                return Some(self.error(ErrorKind::ClientGone, message).with_source(error));
            }
            Cause::UpstreamGone(error) if !closed => {
                let message = "the upstream's WebSocket connection broke";
                let error = self.error(ErrorKind::Connection, message).with_source(error);
                self.end_with(error, None);
            }
            Cause::UpstreamEnded if !closed => {
                let message = "the upstream ended the WebSocket without a close frame";
                let error = self.error(ErrorKind::Truncated, message);
                self.end_with(error, None);
            }
            _ => self.begin_end(Ending { error: None, close: None }),
        }
        None
    }

    fn end_with(&mut self, error: Error, close: Option<&'static str>) {
        let close = close.map(|reason| Close { code: GOING_AWAY, reason });
        self.begin_end(Ending { error: Some(error.with_phase(Phase::Body).with_sent(Sent::Unknown)), close });
    }

    /// The first end counts.
    fn begin_end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.alarm.as_mut().reset(Instant::now() + GRACE);
        }
    }

    fn error(&self, kind: ErrorKind, message: &'static str) -> Error {
        Error::new(kind, message)
            .with_phase(Phase::Body)
            .with_sent(Sent::Unknown)
            .with_provider(self.provider.clone())
    }
}

impl http_body::Body for Tunnel {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let error = ready!(self.poll_end(cx));
        // Both connections are let go before anybody hears of it.
        self.sides = None;
        Poll::Ready(error.map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.sides.is_none()
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Far enough for a clock that is never to go off.
fn later(now: Instant, after: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    now.checked_add(after.min(FAR)).unwrap_or(now)
}

// === impl Sides ===

impl Sides {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        let upstream = self.upstream.poll_here(cx).map_err(Cause::UpstreamGone)?;
        let client = self.client.poll_here(cx).map_err(Cause::ClientGone)?;
        if upstream.is_ready() && client.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Moves what can be moved; gives what ended it.
    fn poll_copy(&mut self, cx: &mut Context<'_>, moved: &mut bool) -> Option<Cause> {
        let (Side::Here(client), Side::Here(upstream)) = (&mut self.client, &mut self.upstream) else {
            return None;
        };
        let (client, upstream) = (&mut **client, &mut **upstream);
        match self.down.poll_copy(cx, upstream, client, moved) {
            Poll::Ready(Ok(())) => return Some(Cause::UpstreamEnded),
            Poll::Ready(Err(Fault::Source(error))) => return Some(Cause::UpstreamGone(error)),
            Poll::Ready(Err(Fault::Target(error))) => return Some(Cause::ClientGone(error)),
            Poll::Pending => {}
        }
        match self.up.poll_copy(cx, client, upstream, moved) {
            Poll::Ready(Ok(())) => {
                return Some(Cause::ClientGone(std::io::ErrorKind::UnexpectedEof.into()));
            }
            Poll::Ready(Err(Fault::Source(error))) => return Some(Cause::ClientGone(error)),
            Poll::Ready(Err(Fault::Target(error))) => return Some(Cause::UpstreamGone(error)),
            Poll::Pending => {}
        }
        (self.up.is_closed() && self.down.is_closed()).then_some(Cause::Closed)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>, close: Option<Close>) -> Poll<()> {
        let (Side::Here(client), Side::Here(upstream)) = (&mut self.client, &mut self.upstream) else {
            return Poll::Pending;
        };
        let (client, upstream) = (&mut **client, &mut **upstream);
        let down = self.down.poll_finish(cx, upstream, client, close);
        let up = self.up.poll_finish(cx, client, upstream, close);
        if down.is_ready() && up.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }
}

// === impl Side ===

impl Side {
    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if let Self::Coming(coming) = self {
            *self = Self::Here(ready!(coming.as_mut().poll(cx))?);
        }
        Poll::Ready(Ok(()))
    }
}
