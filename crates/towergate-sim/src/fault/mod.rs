//! [`Fault`]: one way in which the simulated OpenAI misbehaves, and the small language it is
//! written in.

mod parse;

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

pub use self::parse::BadFault;
use crate::Gate;

/// How one request is answered wrongly; [`Fault::new`] is an answer without fault.
///
/// Made from text in the language of the [crate's documentation](crate#the-fault-language), by
/// `parse` or `try_from`. What text can't say, the gates, is added by methods.
///
/// ```
/// use towergate_sim::{Fault, Gate};
///
/// let overloaded: Fault = "status=503; retry-after=2".parse()?;
/// let held = Fault::new().hold_at(3, &Gate::new());
/// assert!("status=banana".parse::<Fault>().is_err());
/// # Ok::<(), towergate_sim::BadFault>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fault {
    /// How many bytes of the request are read before the answer; all where `None`.
    pub(crate) read_only: Option<u64>,
    pub(crate) hold_head: Option<Gate>,
    pub(crate) delay_head: Duration,
    pub(crate) head: Head,

    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) error_body: ErrorBody,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,

    pub(crate) replaced: Option<Replaced>,
    pub(crate) wrong_content_type: bool,
    pub(crate) gzip: bool,

    pub(crate) hold_at: Option<(u64, Gate)>,
    pub(crate) delay_at: Option<(u64, Duration)>,
    pub(crate) end: Option<(u64, Ending)>,
    /// Whether an answer of known length hides it.
    pub(crate) chunked: bool,

    pub(crate) no_done: bool,
    pub(crate) no_finish: bool,
    pub(crate) bad_json_at: Option<u64>,
    pub(crate) error_at: Option<ErrorAt>,
    /// Comments before the first event; `u64::MAX` never ends.
    pub(crate) comments: u64,
    pub(crate) huge_event: Option<u64>,
    pub(crate) bytes: Option<u64>,
    pub(crate) tokens: Option<usize>,

    pub(crate) split: Option<usize>,
    pub(crate) slow_chunks: Duration,
    pub(crate) line_end: &'static str,
    pub(crate) bom: bool,

    pub(crate) close_idle: bool,
    pub(crate) times: Option<u32>,
}

/// What happens in place of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    Sent,
    Stall,
    Broken(Broken),
}

/// How a connection ends without a head. On the response in place of one, as an extension: in
/// process there is no connection to break, and the body fails at once instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The TCP connection is reset.
    Reset,
    /// The connection is closed in good order, without a byte. On HTTP/2 only the stream is reset,
    /// with `INTERNAL_ERROR`.
    Close,
    /// On HTTP/2 the stream is refused (`REFUSED_STREAM`: nothing was processed); on HTTP/1.1 as
    /// [`Close`](Self::Close).
    Refuse,
}

/// The shape of an error answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorBody {
    Envelope,
    /// `{"error": …}` in an array, as Gemini answers.
    Array,
    /// The fields without an `error` around them, as Mistral answers.
    Flat,
    /// An envelope whose code is a number, as vLLM and `OpenRouter` answer.
    IntCode,
    /// An envelope whose `error` is a string.
    Text,
    Html,
    Empty,
}

/// What a 200 has in place of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replaced {
    Empty,
    Html,
}

/// How a body ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Stall,
    Reset,
    Cut,
    Truncate,
}

#[derive(Debug, Clone)]
pub(crate) struct ErrorAt {
    pub(crate) index: u64,
    pub(crate) code: String,
    /// As the Responses API's terminal `response.failed`, not as an error event.
    pub(crate) failed: bool,
}

impl Fault {
    /// A model of this name, with a fault behind it, is answered with that fault: what gateways
    /// forward unchanged.
    pub const MODEL_PREFIX: &'static str = "fault:";

    /// No fault at all.
    #[must_use]
    pub fn new() -> Self {
        Self {
            read_only: None,
            hold_head: None,
            delay_head: Duration::ZERO,
            head: Head::Sent,
            status: None,
            code: None,
            kind: None,
            message: None,
            error_body: ErrorBody::Envelope,
            headers: Vec::new(),
            replaced: None,
            wrong_content_type: false,
            gzip: false,
            hold_at: None,
            delay_at: None,
            end: None,
            chunked: false,
            no_done: false,
            no_finish: false,
            bad_json_at: None,
            error_at: None,
            comments: 0,
            huge_event: None,
            bytes: None,
            tokens: None,
            split: None,
            slow_chunks: Duration::ZERO,
            line_end: "\n",
            bom: false,
            close_idle: false,
            times: None,
        }
    }

    /// Holds the head until the gate is open.
    #[must_use]
    pub fn hold_head(mut self, gate: &Gate) -> Self {
        self.hold_head = Some(gate.clone());
        self
    }

    /// Holds the body after `pieces` of it (events of a stream, halves of a JSON answer) until the
    /// gate is open.
    #[must_use]
    pub fn hold_at(mut self, pieces: u64, gate: &Gate) -> Self {
        self.hold_at = Some((pieces, gate.clone()));
        self
    }

    /// The first `count` requests get this fault. By default a scripted fault is for one request,
    /// and one named by model or header for all.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }
}

impl Default for Fault {
    fn default() -> Self {
        Self::new()
    }
}
