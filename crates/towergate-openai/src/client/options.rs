//! What one call may differ in from the next.

use std::{fmt, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use towergate_core::{Body, context::RequestId, headers::X_REQUEST_ID};

use super::ClientError;

/// Options of one call.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderName, HeaderValue};
/// use towergate_openai::client::CallOptions;
///
/// let options = CallOptions::new()
///     .request_id("order-4711")
///     .timeout(Duration::from_secs(20))
///     .header(HeaderName::from_static("x-team"), HeaderValue::from_static("search"));
/// # let _ = options;
/// ```
#[derive(Clone, Default)]
pub struct CallOptions {
    request_id: Option<String>,
    timeout: Option<Duration>,
    headers: HeaderMap,
}

// === impl CallOptions ===

impl CallOptions {
    /// No options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The id of the request, sent as `x-request-id`: visible ASCII, at most 128 bytes, else the
    /// call fails with [`ClientError::Request`]. Without it the gateway makes one.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// How long the call may take: until the whole answer is there, or until the head of a stream.
    /// Unlimited by default; the clocks of the service below run all the same.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a header; of those with the same name all are sent. The content type and the request id
    /// are not to be set this way.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    pub(super) fn timeout_or(&self, default: Option<Duration>) -> Option<Duration> {
        self.timeout.or(default)
    }

    /// The request of a call. There is no base URL: that is for the service to know.
    pub(super) fn request(
        &self,
        method: Method,
        path: &'static str,
        accept: &'static str,
        body: Body,
    ) -> Result<Request<Body>, ClientError> {
        let mut request = Request::new(body);
        if method == Method::POST {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(path);
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            if name != CONTENT_TYPE {
                headers.append(name, value.clone());
            }
        }
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static(accept));
        if let Some(id) = &self.request_id {
            let id = HeaderValue::from_str(id).ok().and_then(RequestId::new);
            let id = id.ok_or(ClientError::Request("its id is not visible ASCII of 1 to 128 bytes"))?;
            headers.insert(X_REQUEST_ID, id.header().clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for CallOptions {
    /// The names of the headers only: a value may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("request_id", &self.request_id)
            .field("timeout", &self.timeout)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish()
    }
}
