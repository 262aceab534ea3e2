//! What the probe looks at, and what it must know of a layer.

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use towergate_core::Body;

use super::mock::{MockBody, Step, Watch};

/// What every layer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clause {
    /// The inner service is called only when it said that it is ready, and on the same instance.
    ReadyBeforeCall,
    /// What one instance reserved is not its clone's.
    CloneIndependence,
    /// An error of the inner `poll_ready` comes out: it is no endless wait.
    PollReadyError,
    /// An error of the inner call comes out, with its cause.
    CallError,
    /// Dropping the future drops the inner future, and the request, at once.
    DropBeforeHead,
    /// Dropping the body drops the inner body at once.
    DropMidBody,
    /// What the layer counts or holds for a request is given back however the request ends.
    Released,
    /// The request arrives as it was sent.
    RequestUnharmed,
    /// Status, headers and extensions of the answer arrive as they were sent.
    HeadUnharmed,
    /// The frames of data arrive as they were sent.
    Frames,
    /// Trailers pass.
    Trailers,
    /// An error of the body comes out behind the data before it, and ends the body.
    ErrorFrame,
    /// `is_end_stream` is told: at once for an empty body, and behind the last frame.
    EndOfStream,
    /// `size_hint` is told.
    SizeHint,
}

/// What the probe must know of a layer, beyond its making.
pub(crate) struct Expect {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Vec<&'static [u8]>,
    pub(crate) consumed: Vec<HeaderName>,
    pub(crate) collects_request: bool,
    pub(crate) answers_errors: bool,
    pub(crate) is_released: Box<dyn Fn() -> bool>,
    pub(crate) except: Vec<Clause>,
}

// === impl Clause ===

impl Clause {
    pub(crate) const ALL: [Self; 14] = [
        Self::ReadyBeforeCall,
        Self::CloneIndependence,
        Self::PollReadyError,
        Self::CallError,
        Self::DropBeforeHead,
        Self::DropMidBody,
        Self::Released,
        Self::RequestUnharmed,
        Self::HeadUnharmed,
        Self::Frames,
        Self::Trailers,
        Self::ErrorFrame,
        Self::EndOfStream,
        Self::SizeHint,
    ];
}

// === impl Expect ===

impl Default for Expect {
    /// A layer that passes a streamed upload through, and errors as errors.
    fn default() -> Self {
        Self {
            method: Method::POST,
            uri: Uri::from_static("/v1/files?purpose=batch"),
            headers: vec![(HeaderName::from_static("x-probe"), HeaderValue::from_static("1"))],
            body: vec![b"pi", b"ng"],
            consumed: Vec::new(),
            collects_request: false,
            answers_errors: false,
            is_released: Box::new(|| true),
            except: Vec::new(),
        }
    }
}

#[allow(dead_code, reason = "which of them are used depends on the features under test")]
impl Expect {
    /// The request has this field too.
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((HeaderName::from_static(name), HeaderValue::from_static(value)));
        self
    }

    /// The layer takes this field out of the request, or changes it.
    pub(crate) fn consumes(mut self, name: &'static str) -> Self {
        self.consumed.push(HeaderName::from_static(name));
        self
    }

    /// The request goes there.
    pub(crate) fn post(mut self, uri: &'static str) -> Self {
        self.uri = Uri::from_static(uri);
        self
    }

    /// The request has this JSON body.
    pub(crate) fn json(mut self, body: &'static str) -> Self {
        self.body = vec![body.as_bytes()];
        self.header("content-type", "application/json")
    }

    /// The layer reads the whole request before it calls: the frames may be joined, and trailers
    /// are lost.
    pub(crate) fn collects_request(mut self) -> Self {
        self.collects_request = true;
        self
    }

    /// The layer makes an answer (4xx or 5xx) of an error.
    pub(crate) fn answers_errors(mut self) -> Self {
        self.answers_errors = true;
        self
    }

    /// Whether the layer holds nothing for any request.
    pub(crate) fn released(mut self, released: impl Fn() -> bool + 'static) -> Self {
        self.is_released = Box::new(released);
        self
    }

    /// The layer is not held to this clause; the reason is for the reader.
    pub(crate) fn except(mut self, clause: Clause, _reason: &'static str) -> Self {
        self.except.push(clause);
        self
    }

    pub(crate) fn request(&self, watch: &Watch) -> Request<Body> {
        let mut steps: Vec<_> = self.body.iter().map(|data| Step::Data(data)).collect();
        if !self.collects_request {
            steps.push(Step::Trailers);
        }
        let mut request = Request::new(Body::new(MockBody::new(steps).watched(watch)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().extend(self.headers.iter().cloned());
        request
    }
}
