//! How long each clock runs.

use std::time::Duration;

use towergate_core::{Clock, Error, ErrorKind, Facts, context::AttemptClocks};

/// How long the clocks run.
///
/// | clock | default |
/// |---|---|
/// | request body | 30 s |
/// | head | 30 s; the total, where nothing is known of the request, or where the head comes only with the finished answer |
/// | first event | 30 s; the total, where the model may think first |
/// | idle | 120 s |
/// | total | 600 s |
/// | tunnel idle | 600 s; a WebSocket, which none of the others bounds |
///
/// A default longer than the total is harmless: the total ends the request first. A clock that was
/// *set* longer than the total is a contradiction, which [`validate`](Self::validate) finds.
///
/// ```
/// use std::time::Duration;
/// use towergate_layers::timeout::Timeouts;
///
/// let timeouts = Timeouts::default().with_head(Duration::from_secs(10));
/// assert!(timeouts.validate().is_ok());
/// assert!(timeouts.with_total(Duration::from_secs(5)).validate().is_err());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    request_body: Option<Duration>,
    head: Option<Duration>,
    first_event: Option<Duration>,
    idle: Option<Duration>,
    total: Option<Duration>,
    tunnel_idle: Option<Duration>,
    setting: Option<&'static str>,
    /// What stands in place of the three above, for the model or while another provider stands ready.
    own: AttemptClocks,
}

impl Timeouts {
    /// The default gap in the client's upload.
    pub const REQUEST_BODY: Duration = Duration::from_secs(30);
    /// The default for head and first event, where an answer is expected at once.
    pub const PROMPT: Duration = Duration::from_secs(30);
    /// The default gap between two events.
    pub const IDLE: Duration = Duration::from_secs(120);
    /// The default bound on everything.
    pub const TOTAL: Duration = Duration::from_secs(600);
    /// The default silence of a WebSocket.
    pub const TUNNEL_IDLE: Duration = Duration::from_secs(600);

    /// One figure for head, first event and idle, as `timeout` means in openai-python and httpx.
    /// The total is at least as long.
    #[must_use]
    pub fn uniform(timeout: Duration) -> Self {
        let total = Self::TOTAL.max(timeout);
        Self::default().with_head(timeout).with_first_event(timeout).with_idle(timeout).with_total(total)
    }

    /// Names what changes head, first event and idle, where it is one setting: their errors say it in place of each
    /// clock's own.
    #[must_use]
    pub fn changed_by(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }

    /// Sets the longest gap in the client's upload.
    #[must_use]
    pub fn with_request_body(mut self, gap: Duration) -> Self {
        self.request_body = Some(gap);
        self
    }

    /// Sets how long an attempt waits for the head, whatever the request is.
    #[must_use]
    pub fn with_head(mut self, head: Duration) -> Self {
        self.head = Some(head);
        self
    }

    /// Sets how long a stream may take from its head to its first data event, whatever the request
    /// is.
    #[must_use]
    pub fn with_first_event(mut self, first_event: Duration) -> Self {
        self.first_event = Some(first_event);
        self
    }

    /// Sets the longest gap between two events of a stream, or two pieces of any other answer.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Sets the bound on the whole request, over all attempts and to the end of the body.
    #[must_use]
    pub fn with_total(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }

    /// Sets how long a WebSocket may be silent in both directions. It may be longer than the total,
    /// which ends with the head there. The leaf keeps this clock, as it alone sees the bytes.
    #[must_use]
    pub fn with_tunnel_idle(mut self, idle: Duration) -> Self {
        self.tunnel_idle = Some(idle);
        self
    }

    /// The longest gap in the client's upload.
    #[must_use]
    pub fn request_body(&self) -> Duration {
        self.request_body.unwrap_or(Self::REQUEST_BODY)
    }

    /// The longest gap between two events.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.own.idle.or(self.idle).unwrap_or(Self::IDLE)
    }

    /// The longest silence of a WebSocket.
    #[must_use]
    pub fn tunnel_idle(&self) -> Duration {
        self.tunnel_idle.unwrap_or(Self::TUNNEL_IDLE)
    }

    /// The bound on the whole request.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total.unwrap_or(Self::TOTAL)
    }

    /// How long an attempt at this request waits for the head; `None`: for as long as the total
    /// allows.
    #[must_use]
    pub fn head(&self, facts: Option<&Facts>) -> Option<Duration> {
        let set = self.own.head.or(self.head);
        set.or_else(|| facts.is_some_and(|facts| !facts.silent_head).then_some(Self::PROMPT))
    }

    /// How long a stream may take to its first event; `None`: as long as the total allows.
    #[must_use]
    pub fn first_event(&self, facts: Option<&Facts>) -> Option<Duration> {
        let set = self.own.first_event.or(self.first_event);
        set.or_else(|| facts.is_some_and(|facts| !facts.silent_first_event).then_some(Self::PROMPT))
    }

    /// How long an answer that is no stream may take from its head to its first piece: an upstream
    /// that sends the head of a generation early is as silent as one that sends it late.
    pub(super) fn first_piece(&self, facts: Option<&Facts>) -> Option<Duration> {
        let silent = self.own.head.or(self.head).is_none() && facts.is_some_and(|facts| facts.silent_head);
        (!silent).then(|| self.idle())
    }

    /// The setting that changes a clock.
    #[must_use]
    pub fn setting(&self, clock: Clock) -> &'static str {
        match clock {
            Clock::Head if self.own.head.is_some() => "models.*.head, models.*.failover_after",
            Clock::FirstEvent if self.own.first_event.is_some() => {
                "models.*.first_event, models.*.failover_after"
            }
            Clock::Idle if self.own.idle.is_some() => "models.*.idle",
            Clock::Head | Clock::FirstEvent | Clock::Idle => self.setting.unwrap_or_else(|| clock.setting()),
            _ => clock.setting(),
        }
    }

    /// With the clocks that are set in `clocks` in place of these.
    #[must_use]
    pub fn overridden(mut self, clocks: &AttemptClocks) -> Self {
        self.own = *clocks;
        self
    }

    /// Finds what cannot work.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], naming the settings: a clock of zero, or one that was set
    /// longer than the total, so that it could never go off.
    pub fn validate(&self) -> Result<(), Error> {
        if self.tunnel_idle.is_some_and(|idle| idle.is_zero()) {
            let error = Error::new(ErrorKind::Misconfigured, "timeouts.tunnel_idle is zero");
            return Err(error.with_setting("timeouts.tunnel_idle"));
        }
        // The total first: the others are set no longer than it by whoever sets it.
        let clocks = [
            (Clock::Total, self.total),
            (Clock::RequestBody, self.request_body),
            (Clock::Head, self.head),
            (Clock::FirstEvent, self.first_event),
            (Clock::Idle, self.idle),
        ];
        for (clock, set) in clocks {
            let Some(set) = set else { continue };
            if set.is_zero() {
                return Err(self.misconfigured(clock, format!("{} is zero", self.setting(clock))));
            }
            if set > self.total() {
                let (longer, total) = (self.setting(clock), Clock::Total.setting());
                let message = format!("{longer} ({set:?}) is longer than {total} ({:?})", self.total());
                return Err(self.misconfigured(clock, message));
            }
        }
        Ok(())
    }

    fn misconfigured(&self, clock: Clock, message: String) -> Error {
        Error::new(ErrorKind::Misconfigured, message).with_setting(self.setting(clock))
    }
}
