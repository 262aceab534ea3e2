//! [`Sim`]: the service.

use std::{
    convert::Infallible,
    fmt,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Method, Request, Response, StatusCode, header::AUTHORIZATION, request::Parts};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use towergate_core::{
    Body, BoxError,
    body::{End, Guard, Observed},
};

use crate::{
    answer,
    api::{self, Answer, Ask, Refusal},
    fault::{Broken, Fault, Head},
    io::Connection,
    log::{Counts, Event, Follow, Log, Received, SharedLog},
    plan::{BrokenByFault, PlanBody},
    read::Upload,
    script::Script,
    text,
    websocket::Handshake,
};

/// How much of a JSON body is read; a longer one is refused.
const MAX_JSON: usize = 64 << 20;
/// How much of any other body is kept; all of it is counted.
const KEPT: usize = 8 << 20;
/// 2023-11-14: answers are the same on every day.
const CREATED: u64 = 1_700_000_000;

/// A simulated OpenAI: a service that answers deterministically, misbehaves on script, and
/// remembers what it saw.
///
/// Cloning shares the script and the log. See the [crate](crate) for what it answers.
#[derive(Clone)]
pub struct Sim {
    settings: Arc<Settings>,
    script: Arc<Mutex<Script>>,
    log: SharedLog,
}

#[derive(Clone)]
pub(crate) struct Settings {
    key: Option<String>,
    pub(crate) token_delay: Duration,
    pub(crate) created: u64,
}

/// The future of [`Sim`]. Dropping it is dropping the request, and is logged as that.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Response<Body>> + Send>>);

// === impl Sim ===

impl Sim {
    /// A simulated OpenAI that asks for no key and answers at once.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings { key: None, token_delay: Duration::ZERO, created: CREATED };
        Self {
            settings: Arc::new(settings),
            script: Arc::default(),
            log: Arc::new(watch::Sender::new(Log::default())),
        }
    }

    /// Asks for this key, as bearer token or in `api-key`; any other gets a 401. By default none is
    /// asked for.
    #[must_use]
    pub fn require_key(mut self, key: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.settings).key = Some(key.into());
        self
    }

    /// Waits this long between two events of a stream; 0 by default.
    #[must_use]
    pub fn token_delay(mut self, delay: Duration) -> Self {
        Arc::make_mut(&mut self.settings).token_delay = delay;
        self
    }

    /// What answers say they were made at, in seconds since 1970; a fixed day in 2023 by default.
    #[must_use]
    pub fn created(mut self, seconds: u64) -> Self {
        Arc::make_mut(&mut self.settings).created = seconds;
        self
    }

    /// Queues faults for the next requests, in order: one each, or as many as its `times` says.
    ///
    /// ```
    /// let sim = towergate_sim::Sim::new();
    /// sim.script(["status=503; times=2", "ok", "429; retry-after=1"])?;
    /// assert_eq!(sim.scripted(), 4);
    /// # Ok::<(), towergate_sim::BadFault>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A text that is no fault; nothing is queued then.
    pub fn script<F: TryInto<Fault>>(&self, faults: impl IntoIterator<Item = F>) -> Result<(), F::Error> {
        self.script_where(|_| true, faults)
    }

    /// As [`script`](Self::script), for requests of which the closure says so. The first fault in
    /// the queue that fits a request is taken.
    ///
    /// # Errors
    ///
    /// As `script`.
    pub fn script_where<F: TryInto<Fault>>(
        &self,
        matches: impl Fn(&Parts) -> bool + Send + Sync + 'static,
        faults: impl IntoIterator<Item = F>,
    ) -> Result<(), F::Error> {
        let faults: Vec<Fault> = faults.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        self.lock().queue(Arc::new(matches), faults);
        Ok(())
    }

    /// How many requests the queue still has faults for.
    #[must_use]
    pub fn scripted(&self) -> u64 {
        self.lock().queued()
    }

    /// Forgets the queue, and how often faults were used.
    pub fn clear_script(&self) {
        *self.lock() = Script::default();
    }

    /// The requests that are remembered, the oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.log.borrow().requests().iter().cloned().collect()
    }

    /// The events that are remembered, the oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.log.borrow().events().iter().copied().collect()
    }

    /// How often each thing happened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.log.borrow().counts()
    }

    /// Forgets requests and events; the counts go on.
    pub fn forget(&self) {
        self.log.send_modify(Log::clear);
    }

    /// Waits until so many requests were received in all, and gives those that are remembered.
    pub async fn wait_for(&self, received: u64) -> Vec<Received> {
        self.wait_until(|log| log.counts().received >= received).await;
        self.requests()
    }

    /// Waits until the log is as the closure wants it. A test that may fail puts a timeout around.
    pub async fn wait_until(&self, wanted: impl FnMut(&Log) -> bool) {
        // The sender lives in `self`: the wait can't fail.
        let _ = self.log.subscribe().wait_for(wanted).await;
    }

    pub(crate) fn log(&self) -> &SharedLog {
        &self.log
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        // A closure of a test that panics in here leaves the queue as it was.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond<B>(
        self,
        mut parts: Parts,
        body: B,
        number: u64,
        mut guard: Guard<Follow>,
    ) -> Response<Body>
    where
        B: http_body::Body,
        B::Error: Into<BoxError>,
    {
        let connection = parts.extensions.remove::<Connection>();
        let admitted = self.settings.authenticate(&parts.headers);
        let scripted = admitted.and_then(|()| self.lock().scripted(&parts));
        let (scripted, refusal) = match scripted {
            Ok(scripted) => (scripted, None),
            Err(refusal) => (None, Some(refusal)),
        };

        let is_json = api::is_json(&parts);
        let keep = if is_json { MAX_JSON } else { KEPT };
        // Stays until the head is out: an upload that is not read is not thrown away either.
        let mut body = pin!(body);
        let read_only = scripted.as_ref().and_then(|fault| fault.read_only);
        let upload = match Upload::read(body.as_mut(), keep, read_only).await {
            Ok(upload) => upload,
            Err(_) => {
                self.log.send_modify(|log| log.add(Event::UploadFailed(number)));
                let refusal = Refusal::bad_request("The upload broke off.");
                return self.finish(refusal.into(), Fault::new(), &parts, number, connection, guard);
            }
        };
        self.log.send_modify(|log| log.receive(received(number, &parts, &upload, connection.as_ref())));

        let json = if is_json { read_json(&upload) } else { Ok(Value::Null) };
        let (fault, question) = match (scripted, refusal, json) {
            (_, Some(refusal), _) => (None, Err(refusal)),
            (scripted, None, Err(refusal)) => (scripted, Err(refusal)),
            (Some(fault), None, Ok(json)) => (Some(fault), Ok(json)),
            (None, None, Ok(json)) => match self.fault_of_model(&parts, &upload, &json) {
                Ok(fault) => (fault, Ok(json)),
                Err(refusal) => (None, Err(refusal)),
            },
        };
        let fault = fault.unwrap_or_default();

        if let Some(broken) = before_head(&fault).await {
            return break_off(broken, connection, &mut guard);
        }
        if let (None, Ok(_), Some(connection)) = (fault.status, &question, &connection)
            && let Some(handshake) = Handshake::read(&mut parts)
        {
            return handshake.answer(fault, connection, Arc::clone(&self.log), number, guard);
        }
        let answer = match (fault.status, question) {
            (Some(status), _) if !status.is_success() => answer::of_status(&fault, status),
            (status, question) => {
                let seed = text::hash(&upload.body);
                let answer = question.and_then(|json| {
                    let settings = &*self.settings;
                    api::answer(&Ask { settings, fault: &fault, parts: &parts, upload: &upload, json, seed })
                });
                match (answer, status) {
                    (Ok(answer), Some(status)) => Answer { status, ..answer },
                    (Ok(answer), None) => answer,
                    (Err(refusal), _) => refusal.into(),
                }
            }
        };
        self.finish(answer, fault, &parts, number, connection, guard)
    }

    fn fault_of_model(&self, parts: &Parts, upload: &Upload, json: &Value) -> Result<Option<Fault>, Refusal> {
        let model = api::model(parts, upload, json);
        match model.and_then(|model| model.strip_prefix(Fault::MODEL_PREFIX)) {
            Some(text) => self.lock().named(text),
            None => Ok(None),
        }
    }

    fn finish(
        &self,
        answer: Answer,
        fault: Fault,
        parts: &Parts,
        number: u64,
        connection: Option<Connection>,
        mut guard: Guard<Follow>,
    ) -> Response<Body> {
        if let Some(follow) = guard.observer_mut() {
            follow.answered(connection.clone().filter(|_| fault.close_idle));
        }
        let method: &Method = &parts.method;
        answer::respond(answer, fault, &self.settings, method, number, connection)
            .map(|body| Body::new(Observed::new(body, guard)))
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl<B> tower_service::Service<Request<B>> for Sim
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let (number, guard) = Follow::arrived(&self.log);
        let (parts, body) = request.into_parts();
        ResponseFuture(Box::pin(self.clone().respond(parts, body, number, guard)))
    }
}

// === impl ResponseFuture ===

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

// === impl Settings ===

impl Settings {
    fn authenticate(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(wanted) = &self.key else { return Ok(()) };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let key = bearer.or_else(|| headers.get("api-key").and_then(|value| value.to_str().ok()));
        if key == Some(wanted) {
            return Ok(());
        }
        let message = match key {
            None => "You didn't provide an API key.".to_owned(),
            // OpenAI repeats parts of the key: something that a gateway must not pass on.
            Some(key) => {
                let begin: String = key.chars().take(3).collect();
                let mut end: Vec<char> = key.chars().rev().take(4).collect();
                end.reverse();
                format!("Incorrect API key provided: {begin}****{}.", String::from_iter(end))
            }
        };
        Err(Refusal {
            status: StatusCode::UNAUTHORIZED,
            message,
            kind: "invalid_request_error",
            code: Some("invalid_api_key"),
            param: None,
        })
    }
}

/// Waits as long as the fault says; gives how the connection breaks in place of a head.
async fn before_head(fault: &Fault) -> Option<Broken> {
    if let Some(gate) = &fault.hold_head {
        gate.wait().await;
    }
    if !fault.delay_head.is_zero() {
        tokio::time::sleep(fault.delay_head).await;
    }
    match fault.head {
        Head::Sent => None,
        Head::Stall => std::future::pending().await,
        Head::Broken(broken) => Some(broken),
    }
}

/// In place of an answer: the server sees the extension and breaks the connection.
fn break_off(broken: Broken, connection: Option<Connection>, guard: &mut Guard<Follow>) -> Response<Body> {
    guard.finish(End::Error(&BrokenByFault.into()));
    if let (Broken::Reset, Some(connection)) = (broken, connection) {
        connection.reset();
    }
    let mut response = Response::new(Body::new(PlanBody::broken()));
    response.extensions_mut().insert(broken);
    response
}

fn read_json(upload: &Upload) -> Result<Value, Refusal> {
    if !upload.complete {
        return Ok(Value::Null);
    }
    if !upload.is_whole() {
        let refusal = Refusal::bad_request("The request body is too large.");
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, ..refusal });
    }
    match serde_json::from_slice(&upload.body) {
        Ok(json @ Value::Object(_)) => Ok(json),
        Ok(_) => Err(Refusal::bad_request("The JSON body of your request must be an object.")),
        Err(_) => Err(Refusal::bad_request("We could not parse the JSON body of your request.")),
    }
}

fn received(number: u64, parts: &Parts, upload: &Upload, connection: Option<&Connection>) -> Received {
    Received {
        number,
        connection: connection.map(Connection::id),
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        version: parts.version,
        headers: parts.headers.clone(),
        body: upload.body.clone(),
        body_len: upload.length,
        body_complete: upload.complete,
        at: Instant::now(),
    }
}
