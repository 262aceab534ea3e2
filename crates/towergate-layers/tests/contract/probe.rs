//! The probe: one generic function over a layer, and a scenario for each clause.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body::{Body as _, SizeHint};
use http_body_util::BodyExt as _;
use tower::{Layer, Service};
use towergate_core::{Body, BoxError};

use super::{
    expect::{Clause, Expect},
    mock::{Answer, Marker, Mock, MockBody, Planted, Ready, Script, Step, Watch, trailers},
};

/// Longer than any clock of any layer: what has not happened by then never will. Time is paused.
const FOREVER: Duration = Duration::from_secs(100 * 3600);

// === the probe ===

/// Asserts that the layer violates no clause.
#[allow(dead_code, reason = "without any feature there is no layer to hold to it")]
pub(crate) async fn holds<L, S, B>(make: impl Fn() -> L, expect: Expect)
where
    L: Layer<Mock, Service = S>,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let violated = check(make, &expect).await;
    assert!(violated.is_empty(), "the layer violates {violated:?}");
}

/// Which clauses a layer violates. Run it under paused time.
pub(crate) async fn check<L, S, B>(make: impl Fn() -> L, expect: &Expect) -> Vec<Clause>
where
    L: Layer<Mock, Service = S>,
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let rig = |script| {
        let (mock, watch) = Mock::new(script);
        Rig { service: make().layer(mock), watch, expect }
    };
    let mut released = true;
    let mut violated = Vec::new();
    for clause in Clause::ALL {
        let kept = match clause {
            Clause::ReadyBeforeCall => ready_before_call(rig).await,
            // A layer that calls what is not ready tells nothing of its clones.
            Clause::CloneIndependence => {
                violated.contains(&Clause::ReadyBeforeCall) || clone_independence(rig).await
            }
            Clause::PollReadyError => poll_ready_error(rig).await,
            Clause::CallError => rig(Script::answers(Answer::Error)).fails().await,
            Clause::DropBeforeHead => drop_before_head(rig).await,
            Clause::DropMidBody => drop_mid_body(rig).await,
            Clause::Released => released && ended_is_released(rig).await,
            Clause::RequestUnharmed => request_unharmed(rig).await,
            Clause::HeadUnharmed => head_unharmed(rig).await,
            Clause::Frames => frames(rig).await,
            Clause::Trailers => trailers_pass(rig).await,
            Clause::ErrorFrame => error_frame(rig).await,
            Clause::EndOfStream => end_of_stream(rig).await,
            Clause::SizeHint => size_hint(rig).await,
        };
        // Whatever a scenario did to its request, the request is over.
        released &= (expect.is_released)();
        if !kept {
            violated.push(clause);
        }
    }
    if !released && !violated.contains(&Clause::Released) {
        violated.push(Clause::Released);
    }
    violated.retain(|clause| !expect.except.contains(clause));
    violated
}

/// The layer around a fresh mock service.
struct Rig<'a, S> {
    service: S,
    watch: Watch,
    expect: &'a Expect,
}

impl<S, B> Rig<'_, S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn ready(&mut self) -> Option<Result<(), BoxError>> {
        let ready = poll_fn(|cx| self.service.poll_ready(cx));
        Some(within(ready).await?.map_err(Into::into))
    }

    async fn call(&mut self) -> Option<Result<Response<Body>, BoxError>> {
        let request = self.expect.request(&self.watch);
        let answer = within(self.service.call(request)).await?;
        Some(answer.map(|response| response.map(Body::new)).map_err(Into::into))
    }

    /// Ready, then call; `None` where it hangs.
    async fn ask(&mut self) -> Option<Result<Response<Body>, BoxError>> {
        match self.ready().await? {
            Ok(()) => self.call().await,
            Err(error) => Some(Err(error)),
        }
    }

    async fn response(&mut self) -> Option<Response<Body>> {
        self.ask().await?.ok()
    }

    async fn body(&mut self) -> Option<Body> {
        self.response().await.map(Response::into_body)
    }

    /// Whether the planted error comes out as the layer says it does.
    async fn fails(mut self) -> bool {
        match self.ask().await {
            Some(Ok(response)) => self.expect.answers_errors && response.status().as_u16() >= 400,
            Some(Err(error)) => !self.expect.answers_errors && Planted::is_in(&error),
            None => false,
        }
    }
}

async fn within<F: Future>(future: F) -> Option<F::Output> {
    tokio::time::timeout(FOREVER, future).await.ok()
}

/// The next frame; the outer `None` where it never comes.
async fn next(body: &mut Body) -> Option<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
    within(body.frame()).await
}

async fn next_data(body: &mut Body) -> Option<Bytes> {
    next(body).await??.ok()?.into_data().ok()
}

// === the scenarios, one a clause ===

macro_rules! scenario {
    ($(async fn $name:ident($rig:ident) -> bool $body:block)*) => {$(
        async fn $name<'a, S, B>($rig: impl Fn(Script) -> Rig<'a, S>) -> bool
        where
            S: Service<Request<Body>, Response = Response<B>> + Clone,
            S::Error: Into<BoxError>,
            B: http_body::Body<Data = Bytes> + Send + 'static,
            B::Error: Into<BoxError>,
        $body
    )*};
}

fn slow_to_be_ready() -> Script {
    Script { ready: Ready::AfterOnePending, ..Script::body([Step::Data(b"ok")]) }
}

scenario! {
    async fn ready_before_call(rig) -> bool {
        let mut rig = rig(slow_to_be_ready());
        for _ in 0..2 {
            if rig.response().await.is_none() {
                return false;
            }
        }
        rig.watch.calls() >= 2 && rig.watch.unready_calls() == 0
    }

    async fn clone_independence(rig) -> bool {
        let mut first = rig(slow_to_be_ready());
        if !matches!(first.ready().await, Some(Ok(()))) {
            return false;
        }
        let (service, watch) = (first.service.clone(), first.watch.clone());
        let mut second = Rig { service, watch, expect: first.expect };
        let second_answers = second.response().await.is_some();
        let first_answers = matches!(first.call().await, Some(Ok(_)));
        second_answers && first_answers && first.watch.unready_calls() == 0
    }

    async fn poll_ready_error(rig) -> bool {
        rig(Script { ready: Ready::Fails, ..slow_to_be_ready() }).fails().await
    }

    async fn drop_before_head(rig) -> bool {
        let mut rig = rig(Script::answers(Answer::Never));
        // Once without a single poll, once when the inner service is at it.
        for polls in [0, 64] {
            if !matches!(rig.ready().await, Some(Ok(()))) {
                return false;
            }
            let request = rig.expect.request(&rig.watch);
            let mut future = pin!(rig.service.call(request));
            // A layer may need a few polls to read the request before it calls.
            for _ in 0..polls {
                if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            if polls > 0 && rig.watch.alive() == 0 {
                return false;
            }
        }
        rig.watch.alive() == 0
    }

    async fn drop_mid_body(rig) -> bool {
        let script = Script::body([Step::Data(b"a"), Step::Stall]);
        let mut unread = rig(script.clone());
        if unread.body().await.is_none() || unread.watch.alive() != 0 {
            return false;
        }
        let mut read = rig(script);
        let Some(mut body) = read.body().await else { return false };
        let frame = next_data(&mut body).await;
        drop(body);
        frame.is_some() && read.watch.alive() == 0
    }

    async fn ended_is_released(rig) -> bool {
        for last in [Step::Data(b"b"), Step::Trailers, Step::Error] {
            let mut rig = rig(Script::body([Step::Data(b"a"), last]));
            let Some(mut body) = rig.body().await else { continue };
            // As hyper reads: it stops when it is told that nothing follows, and may keep the body.
            while !body.is_end_stream() && matches!(next(&mut body).await, Some(Some(Ok(_)))) {}
            if !(rig.expect.is_released)() {
                return false;
            }
        }
        true
    }

    async fn request_unharmed(rig) -> bool {
        let mut rig = rig(Script::answers(Answer::AfterReading));
        let sent = rig.expect.request(&Watch::default());
        let answered = rig.response().await.is_some();
        let Some(received) = rig.watch.request().filter(|_| answered) else { return false };
        let expect = rig.expect;
        let (method, uri) = (&received.parts.method, &received.parts.uri);
        let headers = |name: &HeaderName| {
            let values = |map: &http::HeaderMap| map.get_all(name).iter().cloned().collect::<Vec<_>>();
            values(&received.parts.headers) == values(sent.headers())
        };
        let kept = |name: &&HeaderName| !expect.consumed.contains(name);
        let body = if expect.collects_request {
            received.frames.concat() == expect.body.concat()
        } else {
            received.frames == expect.body && received.trailers == Some(trailers())
        };
        method == sent.method()
            && uri == sent.uri()
            && sent.headers().keys().filter(kept).all(headers)
            && received.hint.exact() == sent.body().size_hint().exact()
            && body
    }

    async fn head_unharmed(rig) -> bool {
        let mut rig = rig(Script::body([Step::Data(b"ok")]));
        let Some(response) = rig.response().await else { return false };
        response.status() == http::StatusCode::ACCEPTED
            && response.headers().get("x-mock").is_some_and(|value| value == "1")
            && response.extensions().get() == Some(&Marker)
    }

    async fn frames(rig) -> bool {
        let sent: [&[u8]; 3] = [b"data: {\"a\"", b":1}\r\n\r\n\0", b"\xff\xfe"];
        let [first, second, third] = sent.map(Step::Data);
        let mut rig = rig(Script::body([first, Step::Pause, second, Step::Pause, third]));
        let Some(mut body) = rig.body().await else { return false };
        for data in sent {
            if next_data(&mut body).await.is_none_or(|received| received != data) {
                return false;
            }
        }
        matches!(next(&mut body).await, Some(None))
    }

    async fn trailers_pass(rig) -> bool {
        let mut rig = rig(Script::body([Step::Data(b"a"), Step::Trailers]));
        let Some(mut body) = rig.body().await else { return false };
        if next_data(&mut body).await.is_none() {
            return false;
        }
        match next(&mut body).await {
            Some(Some(Ok(frame))) => frame.into_trailers().ok() == Some(trailers()),
            _ => false,
        }
    }

    async fn error_frame(rig) -> bool {
        let mut rig = rig(Script::body([Step::Data(b"a"), Step::Error]));
        let Some(mut body) = rig.body().await else { return false };
        if next_data(&mut body).await.is_none() {
            return false;
        }
        // A layer may say something of its own (an error event) before the error.
        let error = loop {
            match next(&mut body).await {
                Some(Some(Ok(_))) => {}
                Some(Some(Err(error))) => break error,
                Some(None) | None => return false,
            }
        };
        let over = matches!(next(&mut body).await, Some(None | Some(Err(_))));
        Planted::is_in(&error) && over
    }

    async fn end_of_stream(rig) -> bool {
        let Some(mut empty) = rig(Script::body([])).body().await else { return false };
        if !empty.is_end_stream() || !matches!(next(&mut empty).await, Some(None)) {
            return false;
        }
        let mut rig = rig(Script::body([Step::Data(b"a"), Step::Data(b"b")]));
        let Some(mut body) = rig.body().await else { return false };
        for last in [false, true] {
            if body.is_end_stream() || next_data(&mut body).await.is_none() || body.is_end_stream() != last {
                return false;
            }
        }
        true
    }

    async fn size_hint(rig) -> bool {
        let bounds = |hint: SizeHint| (hint.lower(), hint.upper());
        let Some(empty) = rig(Script::body([])).body().await else { return false };
        let mut exact = rig(Script::body([Step::Data(b"hello"), Step::Data(b"you")]));
        let Some(mut exact) = exact.body().await else { return false };
        let at_head = bounds(exact.size_hint());
        let read = next_data(&mut exact).await.is_some();
        let vague = MockBody::new([Step::Data(b"a"), Step::Stall]).with_hint(2, 10);
        let Some(vague) = rig(Script::answers(Answer::Body(vague))).body().await else { return false };
        read && bounds(empty.size_hint()) == (0, Some(0))
            && at_head == (8, Some(8))
            && bounds(exact.size_hint()) == (3, Some(3))
            && bounds(vague.size_hint()) == (2, Some(10))
    }
}
