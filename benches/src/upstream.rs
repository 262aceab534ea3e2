//! An upstream that costs little: fixed responses, prepared once.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, Interval},
};

use crate::Error;

/// Every stream ends with these: the reason of the end, the usage that was asked for, `[DONE]`.
const LAST_EVENTS: [&str; 3] = [
    "data: {\"id\":\"chatcmpl-DQcM3Xl7Zg1uYvS0pTqWn8aB2kEjH\",\"object\":\"chat.completion.chunk\",\"created\":1770000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_29330a9688\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":null,\"obfuscation\":\"q7\"}\n\n",
    "data: {\"id\":\"chatcmpl-DQcM3Xl7Zg1uYvS0pTqWn8aB2kEjH\",\"object\":\"chat.completion.chunk\",\"created\":1770000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_29330a9688\",\"choices\":[],\"usage\":{\"prompt_tokens\":214,\"completion_tokens\":100,\"total_tokens\":314},\"obfuscation\":\"\"}\n\n",
    "data: [DONE]\n\n",
];

/// An event with a token of text, as OpenAI sends it where usage was asked for.
const EVENT: &str = "data: {\"id\":\"chatcmpl-DQcM3Xl7Zg1uYvS0pTqWn8aB2kEjH\",\"object\":\"chat.completion.chunk\",\"created\":1770000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_29330a9688\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" bridge\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"vK3x\"}\n\n";

/// A completion up to its text, and from there on.
const COMPLETION: [&str; 2] = [
    r#"{"id":"chatcmpl-DQcM3Xl7Zg1uYvS0pTqWn8aB2kEjH","object":"chat.completion","created":1770000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":""#,
    r#"","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":214,"completion_tokens":100,"total_tokens":314,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_29330a9688"}"#,
];

/// The response to every request.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// How long the head of the response takes.
    pub delay: Duration,
    /// What follows.
    pub content: Content,
}

/// The kinds of responses.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// A completion of this many bytes, or of the fewest that are possible.
    Json {
        /// Bytes of the body.
        size: usize,
    },
    /// A stream of that many events with text, and three that end it.
    Events {
        /// Events with text.
        count: usize,
        /// When each of them is sent.
        pace: Pace,
    },
}

/// When an event is sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// At once, each in a write of its own.
    AtOnce,
    /// One after each such gap.
    Every(Duration),
    /// When it is [granted](Upstream::grant). Events that are granted together are written together.
    Granted,
}

/// A server on a thread of its own, for as long as the process lives.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    prepared: Mutex<Prepared>,
    grants: Semaphore,
}

#[derive(Debug, Clone)]
struct Prepared {
    behaviour: Behaviour,
    json: Bytes,
}

enum Pacer {
    AtOnce,
    Every(Interval),
    Granted(Arc<Shared>),
}

// === impl Content ===

impl Content {
    /// Events in a whole stream, those that end it included; 0 for JSON.
    #[must_use]
    pub fn events(&self) -> usize {
        match self {
            Self::Json { .. } => 0,
            Self::Events { count, .. } => count + LAST_EVENTS.len(),
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub fn start(listen: SocketAddr, behaviour: Behaviour) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let prepared = Mutex::new(Prepared::new(behaviour));
        let shared = Arc::new(Shared { prepared, grants: Semaphore::new(0) });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = Arc::clone(&shared);
        thread::Builder::new().name("upstream".into()).spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, serving).await,
                    Err(error) => eprintln!("the upstream cannot listen: {error}"),
                }
            });
        })?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it does from the next request on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *self.shared.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Prepared::new(behaviour);
    }

    /// Lets that many more events go out, where the pace is [`Pace::Granted`].
    pub fn grant(&self, events: usize) {
        self.shared.grants.add_permits(events);
    }

    /// Takes back what was granted and not sent.
    pub fn revoke(&self) {
        self.shared.grants.forget_permits(usize::MAX);
    }
}

// === impl Prepared ===

impl Prepared {
    fn new(behaviour: Behaviour) -> Self {
        let json = match behaviour.content {
            Content::Json { size } => {
                let fixed: usize = COMPLETION.iter().map(|part| part.len()).sum();
                let text = "The bridge was built of stone. ".chars().cycle();
                let text: String = text.take(size.saturating_sub(fixed)).collect();
                [COMPLETION[0], &text, COMPLETION[1]].concat().into()
            }
            Content::Events { .. } => Bytes::new(),
        };
        Self { behaviour, json }
    }
}

// === impl Pacer ===

impl Pacer {
    fn new(pace: Pace, shared: &Arc<Shared>) -> Self {
        match pace {
            Pace::AtOnce => Self::AtOnce,
            Pace::Every(gap) => Self::Every(tokio::time::interval_at(Instant::now() + gap, gap)),
            Pace::Granted => Self::Granted(Arc::clone(shared)),
        }
    }

    async fn wait(&mut self) {
        match self {
            // hyper writes what it has when the body is pending.
            Self::AtOnce => tokio::task::yield_now().await,
            Self::Every(interval) => {
                interval.tick().await;
            }
            // The semaphore is never closed.
            Self::Granted(shared) => {
                if let Ok(permit) = shared.grants.acquire().await {
                    permit.forget();
                }
            }
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // No file descriptors are left: some will be.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
            // A client that goes away is the end of most measurements.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Error>>, hyper::Error> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    let Prepared { behaviour, json } = shared.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    let (content_type, body) = match behaviour.content {
        Content::Json { .. } => ("application/json", Either::Left(Full::new(json))),
        Content::Events { count, pace } => {
            let pacer = Pacer::new(pace, &shared);
            let events = stream::unfold((0_usize, pacer), move |(sent, mut pacer)| async move {
                let event = match sent.checked_sub(count) {
                    None => EVENT,
                    Some(last) => LAST_EVENTS.get(last)?,
                };
                pacer.wait().await;
                let frame = Frame::data(Bytes::from_static(event.as_bytes()));
                Some((Ok::<_, Error>(frame), (sent + 1, pacer)))
            });
            ("text/event-stream; charset=utf-8", Either::Right(StreamBody::new(Box::pin(events))))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("x-request-id", HeaderValue::from_static("req_5f0c1b7a9d3e4e6f8a2b4c6d8e0f1a3b"));
    headers.insert("openai-processing-ms", HeaderValue::from_static("412"));
    headers.insert("openai-version", HeaderValue::from_static("2020-10-01"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_has_the_size_that_was_asked_for_and_is_json() {
        for size in [1024, 32 * 1024] {
            let json =
                Prepared::new(Behaviour { delay: Duration::ZERO, content: Content::Json { size } }).json;
            assert_eq!(json.len(), size);
            assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }

    #[test]
    fn every_event_is_json() {
        for event in [EVENT].iter().chain(&LAST_EVENTS[..2]) {
            let json = event.strip_prefix("data: ").unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{event}");
        }
    }
}
