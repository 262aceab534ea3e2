//! [`OpenAi`]: the leaf of the stack, a tower service that sends a request to an OpenAI API.
//!
//! Below every layer: whatever a layer decided is in the request by now, and what goes out here is
//! what upstream gets. It is generic over nothing and knows no layer; [`Builder`] configures it.
//!
//! | | |
//! |---|---|
//! | connections | hyper-util's pooled client: HTTP/1.1, or HTTP/2 as [`Http2`] shards; rustls with ring; proxies by the usual variables |
//! | reads | the request's method, path, headers and body; [`Arc<Facts>`](Facts) in its extensions |
//! | changes in the request | URI made absolute below the base URL; headers by the allow-list ([`headers::retain_request`]); `Accept-Encoding: identity` where the answer is read; no trailers but those [allowed](Builder::allow_trailer) |
//! | writes | [`Answered`] in the response's extensions, and what [`read_answer`] publishes |
//! | changes in the response | [`headers::retain_response`], and [`headers::retain_response_trailers`] of its trailers; HTTP/1.0 becomes HTTP/1.1; a response that is not a success is decoded (gzip, deflate, br, zstd), up to 16 MiB, so that everybody above can read and search it |
//!
//! On success the answer comes as it is, redirects included; its body is read as it passes, frame
//! by frame, with nothing spawned in between. The answer to `HEAD` has none, and is not read,
//! whatever its head tells of. A `101` that nobody asked for is an error.
//!
//! A request with an [`Upgrade`] in its extensions is the opening handshake of a WebSocket. It goes
//! over HTTP/1.1, whatever the other requests do, with the fields of the handshake; never with the
//! credentials that browsers put among the subprotocols (in pass-through mode these become header
//! fields). A `101` to it comes back with a body that owns both connections and moves their bytes
//! while it is polled; [`towergate_core::tunnel`] has the whole way. Any other answer is as usual.
//!
//! On error the service gives a [`towergate_core::Error`] with kind, phase and whether anything was
//! sent. An error of the request's own body (a limit, a clock of a layer above) comes out as it
//! went in. hyper itself sends a request a second time only where it got it back unsent from a
//! connection that had been used before; all else is for a retry layer to decide.
//!
//! Dropped before the head, or in the body, the upstream connection (its stream, over HTTP/2) is
//! dropped too: that is the only sign upstream gets to stop.
//!
//! ```
//! use http::Request;
//! use tower::ServiceExt as _;
//! use towergate_core::{Body, ErrorKind, Sent};
//! use towergate_openai::service::OpenAi;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A port that nobody listens on.
//! let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
//! let openai = OpenAi::builder().base_url(format!("http://{free}/v1")).name("local").build()?;
//!
//! let request = Request::get("/v1/models").body(Body::empty())?;
//! let error = openai.oneshot(request).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Connect);
//! assert_eq!(error.sent(), Sent::Nothing);
//! # Ok(())
//! # }
//! ```

mod body;
mod builder;
mod cdn_loop;
mod connector;
mod decode;
mod error;
mod interim;
mod plain_or_tls;
mod proxy;
mod request;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
pub(crate) mod uri;
mod usage;

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, UPGRADE},
};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use secrecy::SecretString;
use tower_service::Service;
use towergate_core::{
    Body, Error, ErrorKind, Facts, Phase, Sent,
    context::Answered,
    headers::{self, X_TOWERGATE_MODIFIED},
    label::Label,
    tunnel::{Duplex, Upgrade},
};

use self::{
    body::{Answer, Upload, UploadFailure},
    connector::Connector,
    error::Upstream,
    request::Outgoing,
    tunnel::Tunnel,
};
pub use self::{
    builder::{Builder, ConfigError, DEFAULT_BASE_URL, Http2},
    tunnel::UpgradedIo,
    uri::{InvalidBaseUrl, check_base_url, sends_in_clear},
};
use crate::answer::{AnswerSettings, read_answer};

type Client = legacy::Client<Connector, Upload>;

/// Sends requests to one OpenAI API. Cheap to clone; clones share the connections.
///
/// Always ready: how many requests may be under way at once is for a layer to say.
#[derive(Clone)]
pub struct OpenAi {
    shared: Arc<Shared>,
}

struct Shared {
    /// Nothing once the leaf is closed.
    pools: ArcSwapOption<Pools>,
    outgoing: Outgoing,
    upstream: Arc<Upstream>,
    answers: AnswerSettings,
    /// Whether usage is asked for where the client did not.
    asks_usage: bool,
    tunnel_idle: Duration,
    /// The credentials for a proxy.
    secrets: Vec<SecretString>,
}

/// One client, or as many as there are HTTP/2 shards, and one for upgrades.
struct Pools {
    shards: Box<[Client]>,
    next: AtomicUsize,
    /// HTTP/1.1 only. Keeps no connections: a tunnel takes its own with it.
    upgrades: Client,
}

/// The future of [`OpenAi`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    state: State,
}

enum State {
    Refused(Error),
    Sending(Sending),
    Done,
}

struct Sending {
    response: legacy::ResponseFuture,
    shared: Arc<Shared>,
    facts: Option<Arc<Facts>>,
    /// The answer has no body, whatever its head says of one.
    is_head: bool,
    /// Usage was asked for, and the client did not.
    asked_usage: bool,
    upload: Option<Arc<UploadFailure>>,
    upgrade: Option<Upgrade>,
}

// === impl OpenAi ===

impl OpenAi {
    /// A builder with the defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// The provider's name.
    #[must_use]
    pub fn name(&self) -> &Label {
        &self.shared.upstream.provider
    }

    /// What the leaf itself sends on the way, and no response may repeat: the credentials for a proxy. A layer that
    /// withholds secrets has to be told of them.
    #[must_use]
    pub fn secrets(&self) -> &[SecretString] {
        &self.shared.secrets
    }

    /// Whether what it sends can be read on the way; see [`sends_in_clear`].
    #[must_use]
    pub fn sends_in_clear(&self) -> bool {
        self.shared.outgoing.base.sends_in_clear()
    }

    /// Refuses new requests from now on ([`ErrorKind::Draining`]), on every clone, and closes unused
    /// connections. What is under way goes on to its end.
    pub fn close(&self) {
        self.shared.pools.store(None);
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.pools.load().is_none()
    }

    fn send(&self, mut request: Request<Body>) -> Result<Sending, Error> {
        let facts = request.extensions_mut().remove::<Arc<Facts>>();
        let upgrade = request.extensions_mut().remove::<Upgrade>();
        let asked_usage = self.shared.asks_usage && usage::ask(facts.as_deref(), &mut request);
        let request = match upgrade {
            Some(_) => self.shared.outgoing.prepare_upgrade(request)?,
            None => self.shared.outgoing.prepare(request, facts.as_deref())?,
        };
        let pools = self.shared.pools.load();
        let Some(client) = pools.as_deref().and_then(|pools| pools.pick(upgrade.is_some())) else {
            return Err(Error::new(ErrorKind::Draining, "the provider's connections are being closed"));
        };
        let (parts, body) = request.into_parts();
        let is_head = parts.method == Method::HEAD;
        let (body, upload) = Upload::new(body, self.shared.outgoing.trailers.as_ref());
        let response = client.request(Request::from_parts(parts, body));
        Ok(Sending {
            response,
            shared: Arc::clone(&self.shared),
            facts,
            is_head,
            asked_usage,
            upload,
            upgrade,
        })
    }
}

impl Service<Request<Body>> for OpenAi {
    type Response = Response<Body>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        let state = match self.send(request) {
            Ok(sending) => State::Sending(sending),
            Err(error) => State::Refused(error.with_provider(self.name().clone())),
        };
        ResponseFuture { state }
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi")
            .field("name", self.name())
            .field("base_url", &format_args!("{}", self.shared.outgoing.base))
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn new(
        pools: Pools,
        outgoing: Outgoing,
        upstream: Upstream,
        answers: AnswerSettings,
        asks_usage: bool,
        tunnel_idle: Duration,
        secrets: Vec<SecretString>,
    ) -> Self {
        let pools = ArcSwapOption::from_pointee(pools);
        Self { pools, outgoing, upstream: Arc::new(upstream), answers, asks_usage, tunnel_idle, secrets }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        facts: Option<&Facts>,
        is_head: bool,
        asked_usage: bool,
        upload: Option<Arc<UploadFailure>>,
        upgrade: Option<Upgrade>,
    ) -> Result<Response<Body>, Error> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switched(response, upgrade);
        }
        let (mut parts, body) = response.into_parts();
        // Of an HTTP/1.0 in it a server would make one of its own (RFC 9110, section 2.5, says not to): without chunks, so
        // that a cut answer looked whole, and with the connection closed behind it.
        parts.version = parts.version.max(Version::HTTP_11);
        headers::retain_response(&mut parts.headers);
        // hyper's own: nothing of this connection is of use above.
        parts.extensions = http::Extensions::new();
        parts.extensions.insert(Answered { provider: self.upstream.provider.clone() });
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(Answer::new(body, parts.version, Arc::clone(&self.upstream), upload))
        };
        if asked_usage {
            parts.headers.insert(X_TOWERGATE_MODIFIED, HeaderValue::from_static("stream_options"));
        }
        let body = if is_head {
            body
        } else {
            let body = decode::decode_error(&mut parts, body);
            read_answer(facts, &self.answers, asked_usage, &mut parts, body)
        };
        Ok(Response::from_parts(parts, body))
    }

    /// A 101: with a tunnel as its body, where one was asked for.
    fn switched(
        &self,
        mut response: Response<Incoming>,
        upgrade: Option<Upgrade>,
    ) -> Result<Response<Body>, Error> {
        let websocket = headers::lists(response.headers(), &UPGRADE, "websocket");
        let Some((client, closing)) = upgrade.filter(|_| websocket).and_then(|upgrade| upgrade.take()) else {
            let message = "the upstream switched protocols, which nobody asked for";
            return Err(Error::new(ErrorKind::BadAnswer, message)
                .with_phase(Phase::Head)
                .with_sent(Sent::Unknown)
                .with_provider(self.upstream.provider.clone()));
        };
        let upstream = UpgradedIo::when_switched(hyper::upgrade::on(&mut response));
        let upstream = Box::pin(async { Ok(Box::new(upstream.await?) as Box<dyn Duplex>) });
        let (mut parts, _) = response.into_parts();
        headers::retain_response(&mut parts.headers);
        // RFC 9110, section 8.6: a 101 has none.
        parts.headers.remove(CONTENT_LENGTH);
        // Of this hop, and the same on the next one.
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let provider = self.upstream.provider.clone();
        parts.extensions = http::Extensions::new();
        parts.extensions.insert(Answered { provider: provider.clone() });
        let tunnel = Tunnel::new(client, upstream, closing, provider, self.tunnel_idle);
        Ok(Response::from_parts(parts, Body::new(tunnel)))
    }
}

// === impl Pools ===

impl Pools {
    fn new(shards: Box<[Client]>, upgrades: Client) -> Self {
        Self { shards, next: AtomicUsize::new(0), upgrades }
    }

    fn pick(&self, upgrade: bool) -> Option<&Client> {
        if upgrade {
            return Some(&self.upgrades);
        }
        match &*self.shards {
            [only] => Some(only),
            shards => shards.get(self.next.fetch_add(1, Relaxed) % shards.len().max(1)),
        }
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.state {
            State::Sending(sending) => Some(ready!(Pin::new(&mut sending.response).poll(cx))),
            _ => None,
        };
        Poll::Ready(match (std::mem::replace(&mut self.state, State::Done), result) {
            (State::Sending(sending), Some(Ok(response))) => {
                let Sending { shared, facts, is_head, asked_usage, upload, upgrade, .. } = sending;
                shared.answer(response, facts.as_deref(), is_head, asked_usage, upload, upgrade)
            }
            (State::Sending(sending), Some(Err(error))) => {
                let upload = sending.upload.and_then(|upload| upload.take());
                Err(upload.unwrap_or_else(|| error::of_request(error, &sending.shared.upstream)))
            }
            (State::Refused(error), _) => Err(error),
            _ => Err(Error::new(ErrorKind::Internal, "a response future was polled after its end")),
        })
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
