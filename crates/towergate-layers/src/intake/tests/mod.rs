mod access;
mod forms;

use std::{collections::VecDeque, convert::Infallible, io, pin::Pin};

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tower::{ServiceExt, service_fn};
use towergate_core::{
    ErrorKind, Facts, label::Label, memory::ClientMemory, protocol::ReadForm, route::Reads,
};

use super::*;

static CHAT: Route = row("chat", 0, Reads::Json, true);
static FILES: Route = row("files", 1, Reads::Form, false);
static OTHER: Route = Route { template: Route::UNKNOWN, ..row("other", 2, Reads::Nothing, false) };

const fn row(name: &'static str, index: usize, reads: Reads, bare: bool) -> Route {
    Route {
        name,
        index,
        template: "/",
        reads,
        requires_model: true,
        generates: true,
        holds_answer: true,
        bare,
        stateless: true,
    }
}

#[derive(Debug, Clone, Copy)]
struct Protocol;

impl Routes for Protocol {
    fn route(&self, _: &Method, path: &str) -> &'static Route {
        match path {
            "/chat" => &CHAT,
            "/files" => &FILES,
            _ => &OTHER,
        }
    }

    fn base_path(&self) -> &str {
        "/v1"
    }
}

impl ReadRequest for Protocol {
    fn facts(&self, route: &'static Route) -> Facts {
        Facts::of_route(route, Label::new("other"))
    }

    fn read(&self, route: &'static Route, body: &Bytes) -> Result<Facts, Error> {
        if !body.starts_with(b"{") {
            return Err(Error::new(ErrorKind::BadRequest, "not an object"));
        }
        Ok(Facts { model: Some("read".into()), ..self.facts(route) })
    }

    fn read_form(
        &self,
        _: &'static Route,
        headers: &HeaderMap,
        access: Option<&Arc<ClientAccess>>,
    ) -> Result<Option<Box<dyn ReadForm>>, Error> {
        let form = forms::Letters::new(access.is_some());
        let is_form = headers.get(CONTENT_TYPE).is_some_and(|value| value == "letters");
        Ok(is_form.then(|| Box::new(form) as _))
    }

    fn check_head(&self, access: &ClientAccess, _: &'static Route, uri: &Uri) -> Result<(), Error> {
        uri.query().map_or(Ok(()), |model| access.check_name(model))
    }

    fn check_body(&self, access: &ClientAccess, _: &'static Route, body: &Bytes) -> Result<(), Error> {
        let other = body.strip_prefix(b"{other:").and_then(|rest| rest.strip_suffix(b"}"));
        other.map_or(Ok(()), |other| access.check_name(&String::from_utf8_lossy(other)))
    }
}

/// What the inner service saw.
#[derive(Debug)]
struct Seen {
    facts: Option<Arc<Facts>>,
    headers: HeaderMap,
    /// Whether the body came in one piece of memory.
    collected: bool,
    body: Result<Bytes, BoxError>,
}

async fn look(request: Request<Body>) -> Result<Response<Seen>, Infallible> {
    let (parts, body) = request.into_parts();
    let collected = body.as_bytes().is_some();
    Ok(Response::new(Seen {
        facts: parts.extensions.get().cloned(),
        headers: parts.headers,
        collected,
        body: body.collect().await.map(http_body_util::Collected::to_bytes),
    }))
}

async fn send<B>(layer: IntakeLayer<Protocol>, request: Request<B>) -> Result<Seen, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    layer.layer(service_fn(look)).oneshot(request).await.map(Response::into_body)
}

fn layer() -> IntakeLayer<Protocol> {
    IntakeLayer::new(Protocol)
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

fn kind(result: Result<Seen, BoxError>) -> ErrorKind {
    Error::find(&*result.unwrap_err()).unwrap().kind()
}

/// Frames of unknown total length; panics when polled after `fuse` frames.
struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, io::Error>>,
    may_be_read: bool,
}

fn frames(parts: &[&'static str]) -> Frames {
    let frames = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
    Frames { frames, may_be_read: true }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        assert!(self.may_be_read, "the body was read");
        Poll::Ready(self.frames.pop_front())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[test]
fn the_service_is_shareable() {
    fn check<T: Clone + Send + Sync + 'static>(_: &T) {}
    check(&layer().layer(service_fn(look)));
}

#[tokio::test]
async fn a_json_body_is_collected_and_read() {
    for content_type in [
        None,
        Some("application/json"),
        Some("Application/JSON; charset=utf-8"),
        Some("application/vnd.x+json"),
    ] {
        let mut request = Request::post("/v1/chat").body(frames(&["{\"a\"", ":1", "}"])).unwrap();
        if let Some(value) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        let seen = send(layer(), request).await.unwrap();
        assert!(seen.collected, "{content_type:?}");
        assert_eq!(seen.body.unwrap(), "{\"a\":1}");
        assert_eq!(seen.facts.unwrap().model.as_deref(), Some("read"));
    }
}

#[tokio::test]
async fn one_frame_is_not_copied() {
    let sent = Bytes::from(vec![b'{'; 100]);
    let inner = service_fn(async |request: Request<Body>| {
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(bytes))
    });
    let got = layer().layer(inner).oneshot(post("/v1/chat", sent.clone())).await.unwrap().into_body();
    assert_eq!(got.as_ptr(), sent.as_ptr());
}

#[tokio::test]
async fn what_is_not_json_streams_through_untouched() {
    let requests = [
        Request::post("/v1/files").header(CONTENT_TYPE, "multipart/form-data"),
        Request::post("/v1/chat").header(CONTENT_TYPE, "multipart/form-data"),
        Request::post("/v1/chat").header(CONTENT_TYPE, "application/jsonl"),
        Request::post("/v1/chat").header(CONTENT_ENCODING, "gzip"),
        Request::get("/v1/chat"),
        Request::builder().method("OPTIONS").uri("/v1/chat"),
        Request::post("/v1/unknown//deep?key=1"),
    ];
    for request in requests {
        let seen = send(layer(), request.body(frames(&["x", "y"])).unwrap()).await.unwrap();
        assert!(!seen.collected);
        assert_eq!(seen.body.unwrap(), "xy");
        assert_eq!(seen.facts.unwrap().model, None);
    }
}

#[tokio::test]
async fn facts_and_route_reach_the_record_even_of_a_refused_request() {
    let mut request = post("/v1/chat", "[]");
    let record = RequestRecord::of(request.extensions_mut());
    request.extensions_mut().insert(ClientName(Label::new("team")));
    assert_eq!(kind(send(layer(), request).await), ErrorKind::BadRequest);
    assert_eq!(record.route(), Some(&CHAT));
    assert_eq!(record.client(), Some(&ClientName(Label::new("team"))));
    assert!(record.facts().is_none());

    let mut request = post("/v1/chat", "{}");
    let record = RequestRecord::of(request.extensions_mut());
    send(layer(), request).await.unwrap();
    assert_eq!(record.facts().unwrap().model.as_deref(), Some("read"));
}

#[tokio::test]
async fn only_the_base_path_and_bare_routes_are_served() {
    for path in ["/v1/chat", "/chat", "/v1/files", "/v1/whatever/x", "/v1"] {
        assert!(send(layer(), post(path, "{}")).await.is_ok(), "{path}");
    }
    for path in ["/files", "/", "/v10/chat", "/admin"] {
        assert_eq!(kind(send(layer(), post(path, "{}")).await), ErrorKind::NotFound, "{path}");
    }
    let options = Request::options("*").body(Body::empty()).unwrap();
    assert_eq!(kind(send(layer(), options).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_not_found_text_is_short_and_escaped_and_has_no_query() {
    let path = format!("/{}é\"?key=canary", "x".repeat(150));
    let error = send(layer(), post(&path, "{}")).await.unwrap_err().to_string();
    assert!(error.contains("\\u{e9}\\\"") && error.contains("POST") && error.is_ascii(), "{error}");
    assert!(!error.contains("canary"));
    let long = format!("/{}", "y".repeat(10_000));
    let error = send(layer(), post(&long, "{}")).await.unwrap_err().to_string();
    assert!(error.len() < 400, "{}", error.len());
}

#[tokio::test]
async fn climbing_paths_and_tunnelling_methods_are_refused() {
    for path in ["/v1/../admin", "/v1/%2e%2E/admin", "/v1/files%2f..%5cx", "/v1/."] {
        assert_eq!(kind(send(layer(), post(path, "{}")).await), ErrorKind::BadRequest, "{path}");
    }
    for method in [Method::CONNECT, Method::TRACE] {
        let request = Request::builder().method(method).uri("/v1/chat").body(Body::empty()).unwrap();
        assert_eq!(kind(send(layer(), request).await), ErrorKind::BadRequest);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read_or_as_it_grows() {
    let layer = layer().max_body(10).max_upload(10);
    for (path, setting) in [("/v1/chat", "server.max_body"), ("/v1/files", "server.max_upload")] {
        let unread = Frames { frames: VecDeque::new(), may_be_read: false };
        let request = Request::post(path).header(CONTENT_LENGTH, 11).body(unread).unwrap();
        let error = send(layer.clone(), request).await.unwrap_err();
        let error = Error::find(&*error).unwrap();
        assert_eq!((error.kind(), error.setting()), (ErrorKind::PayloadTooLarge, Some(setting)));
    }
    let grown = Request::post("/v1/chat").body(frames(&["{34567", "89012"])).unwrap();
    assert_eq!(kind(send(layer.clone(), grown).await), ErrorKind::PayloadTooLarge);
    let exact = Request::post("/v1/chat").body(frames(&["{34567", "8901"])).unwrap();
    assert!(send(layer.clone(), exact).await.is_ok());

    let grown = Request::post("/v1/files").body(frames(&["1234567", "89012"])).unwrap();
    let error = send(layer.clone(), grown).await.unwrap().body.unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::PayloadTooLarge);
    let exact = Request::post("/v1/files").body(frames(&["1234567", "890"])).unwrap();
    assert_eq!(send(layer, exact).await.unwrap().body.unwrap(), "1234567890");
}

#[tokio::test]
async fn memory_is_shared_and_comes_back_with_the_last_copy() {
    let memory = MemoryBudget::new(10);
    let layer = layer().memory(memory.clone());
    let inner = service_fn(async |request: Request<Body>| {
        Ok::<_, Infallible>(Response::new(request.into_body().try_clone().unwrap()))
    });
    let service = layer.layer(inner);
    let copy = service.clone().oneshot(post("/v1/chat", "{23456")).await.unwrap();
    assert_eq!(memory.used(), 6);

    let error = service.clone().oneshot(post("/v1/chat", "{2345")).await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Overloaded, Some("limits.memory")));
    assert!(error.retry_after().is_some());

    drop(copy);
    assert_eq!(memory.used(), 0);
    assert!(service.clone().oneshot(post("/v1/chat", "{2345")).await.is_ok());
}

/// So many frames of one byte, then silence.
struct Stuck(usize, Arc<Notify>);

impl http_body::Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Pending };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"{")))))
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.1.notify_one();
    }
}

#[tokio::test]
async fn memory_is_taken_as_bytes_arrive_and_not_by_the_clients_word() {
    for (arrived, declared) in [(1, 1 << 20), (3, 1 << 20), (100, 1 << 20), (100, 101)] {
        let memory = MemoryBudget::new(1 << 20);
        let body = Stuck(arrived, Arc::default());
        let request = Request::post("/v1/chat").header(CONTENT_LENGTH, declared).body(body).unwrap();
        let service = layer().memory(memory.clone()).layer(service_fn(look));
        let mut call = tokio_test::task::spawn(service.oneshot(request));
        assert!(call.poll().is_pending());
        let used = memory.used();
        assert!((arrived..=2 * arrived).contains(&used) && used <= declared, "{arrived}: {used}");
    }
}

#[tokio::test]
async fn a_body_that_just_fits_is_taken_whatever_the_pieces_are() {
    let text: &'static str = format!("{{{}", "x".repeat(999)).leak();
    for size in [1, 7, 333, 500, 999, 1000] {
        let pieces: Vec<&'static str> =
            text.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        let memory = MemoryBudget::new(1000);
        let request = Request::post("/v1/chat").body(frames(&pieces)).unwrap();
        let seen = send(layer().memory(memory.clone()), request).await.unwrap();
        assert_eq!((seen.body.unwrap(), memory.used()), (Bytes::from(text), 1000));
        assert_eq!(memory.used(), 0);
        let request = Request::post("/v1/chat").body(frames(&[&pieces[..], &["x"]].concat())).unwrap();
        let error = send(layer().memory(memory.clone()), request).await.unwrap_err();
        let error = Error::find(&*error).unwrap();
        // It would fit at no other time either.
        assert_eq!((error.kind(), error.setting()), (ErrorKind::PayloadTooLarge, Some("limits.memory")));
        assert_eq!(memory.used(), 0);
    }
}

#[tokio::test]
async fn a_client_that_holds_its_share_is_told_so_and_the_others_are_served() {
    let memory = MemoryBudget::new(100).per_client(10);
    let service = layer().memory(memory.clone()).layer(service_fn(look));
    let of = |client: &ClientMemory, path: &str, text: &'static str| {
        let mut request = Request::post(path).body(frames(&[text])).unwrap();
        RequestRecord::of(request.extensions_mut()).set_client_memory(client.clone());
        if path == "/v1/files" {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("letters"));
        }
        service.clone().oneshot(request)
    };
    let [alice, bob] = [ClientMemory::default(), ClientMemory::default()];
    let mut unfinished = Request::post("/v1/chat").body(Stuck(6, Arc::default())).unwrap();
    RequestRecord::of(unfinished.extensions_mut()).set_client_memory(alice.clone());
    let mut unfinished = tokio_test::task::spawn(service.clone().oneshot(unfinished));
    assert!(unfinished.poll().is_pending());

    for (path, text) in [("/v1/chat", "{23456"), ("/v1/files", "a1")] {
        let error = of(&alice, path, text).await.unwrap_err();
        let error = Error::find(&*error).unwrap();
        assert_eq!(
            (error.kind(), error.setting()),
            (ErrorKind::TooManyRequests, Some("limits.memory_per_client")),
            "{path}"
        );
        assert!(error.retry_after().is_some());
    }
    assert_eq!(of(&bob, "/v1/chat", "{23456789}").await.unwrap().into_body().body.unwrap(), "{23456789}");
    // What fits into no share comes at no better time.
    let error = of(&bob, "/v1/chat", "{2345678901").await.unwrap_err();
    let error = Error::find(&*error).unwrap();
    assert_eq!(
        (error.kind(), error.setting()),
        (ErrorKind::PayloadTooLarge, Some("limits.memory_per_client"))
    );
    drop(unfinished);
    assert_eq!((alice.used(), bob.used(), memory.used()), (0, 0, 0));
    assert!(of(&alice, "/v1/chat", "{23456").await.is_ok());
}

#[tokio::test]
async fn a_request_dropped_while_it_uploads_gives_everything_back() {
    let memory = MemoryBudget::new(10);
    let gone = Arc::new(Notify::new());
    let request = Request::post("/v1/chat").body(Stuck(1, Arc::clone(&gone))).unwrap();
    let service = layer().memory(memory.clone()).layer(service_fn(look));
    let mut call = tokio_test::task::spawn(service.oneshot(request));
    assert!(call.poll().is_pending());
    assert_eq!(memory.used(), 1);
    drop(call);
    gone.notified().await;
    assert_eq!(memory.used(), 0);
}

#[tokio::test]
async fn our_own_error_in_the_upload_is_kept_and_others_are_named() {
    let fail = |error: io::Error| {
        let mut body = frames(&["{"]);
        body.frames.push_back(Err(error));
        Request::post("/v1/chat").body(body).unwrap()
    };
    let clock = towergate_core::Clock::RequestBody;
    let ours = Error::timeout(clock, std::time::Duration::from_secs(1));
    assert_eq!(kind(send(layer(), fail(io::Error::other(ours))).await), ErrorKind::Timeout(clock));
    let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
    assert_eq!(kind(send(layer(), fail(gone)).await), ErrorKind::ClientGone);
    let broken = io::Error::from(io::ErrorKind::InvalidInput);
    assert_eq!(kind(send(layer(), fail(broken)).await), ErrorKind::BadRequest);
}

#[tokio::test]
async fn a_content_length_that_cannot_be_right_is_removed() {
    let length = |value: u64| Request::post("/v1/chat").header(CONTENT_LENGTH, value);
    let seen = send(layer(), length(2).body(Body::from("{}")).unwrap()).await.unwrap();
    assert_eq!(seen.headers.get(CONTENT_LENGTH).unwrap(), "2");
    let seen = send(layer(), length(9).body(Body::from("{}")).unwrap()).await.unwrap();
    assert!(seen.headers.get(CONTENT_LENGTH).is_none());
    let both = Request::post("/v1/files").header(CONTENT_LENGTH, 1).header(TRANSFER_ENCODING, "chunked");
    let seen = send(layer(), both.body(frames(&["abc"])).unwrap()).await.unwrap();
    assert!(seen.headers.get(CONTENT_LENGTH).is_none());
}

#[tokio::test]
async fn a_body_that_no_route_expects_goes_no_further() {
    for (method, path, kept) in [
        ("GET", "/v1/other", false),
        ("HEAD", "/v1/other", false),
        ("DELETE", "/v1/other", false),
        ("OPTIONS", "/v1/other", true),
        ("PUT", "/v1/other", true),
        // A route that reads its bodies says so.
        ("DELETE", "/v1/files", true),
    ] {
        for body in [Body::from("body"), Body::new(frames(&["bo", "dy"]))] {
            let mut request = post(path, body);
            *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
            request.headers_mut().insert(CONTENT_LENGTH, "4".parse().unwrap());
            let seen = send(layer(), request).await.unwrap();
            assert_eq!(seen.body.unwrap(), if kept { "body" } else { "" }, "{method} {path}");
            assert_eq!(seen.headers.contains_key(CONTENT_LENGTH), kept, "{method} {path}");
        }
    }
}

/// The SDKs send `Content-Type` with every request.
#[tokio::test]
async fn a_request_without_a_body_keeps_its_fields() {
    let mut request = post("/v1/other", Body::empty());
    *request.method_mut() = Method::GET;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    let seen = send(layer(), request).await.unwrap();
    assert_eq!(seen.headers[CONTENT_TYPE], "application/json");
    assert_eq!(seen.headers[CONTENT_LENGTH], "0");
}

#[tokio::test]
async fn trailers_of_an_upload_pass_and_lengths_are_kept() {
    let mut body = frames(&["abc"]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let mut sent = trailers.clone();
    for credential in ["authorization", "x-api-key", "cookie"] {
        sent.insert(credential, HeaderValue::from_static("tg-alice"));
    }
    body.frames.push_back(Ok(Frame::trailers(sent)));
    let request = Request::post("/v1/files").body(body).unwrap();
    let inner = service_fn(async |request: Request<Body>| {
        Ok::<_, Infallible>(Response::new(request.into_body().collect().await.unwrap()))
    });
    let seen = layer().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(seen.body().trailers(), Some(&trailers));

    let inner = service_fn(async |request: Request<Body>| {
        let hint = http_body::Body::size_hint(request.body()).exact();
        Ok::<_, Infallible>(Response::new((hint, http_body::Body::is_end_stream(request.body()))))
    });
    let sized = http_body_util::Full::new(Bytes::from_static(b"abc"));
    let request = Request::post("/v1/files").body(sized).unwrap();
    assert_eq!(*layer().layer(inner).oneshot(request).await.unwrap().body(), (Some(3), false));
    let request = Request::get("/v1/files").body(http_body_util::Empty::new()).unwrap();
    assert_eq!(*layer().layer(inner).oneshot(request).await.unwrap().body(), (Some(0), true));
}

#[tokio::test]
async fn the_instance_that_was_ready_is_called_and_answers_pass() {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, StatusCode>();
    let mut service = layer().layer(service);
    handle.allow(1);
    ServiceExt::<Request<Body>>::ready(&mut service).await.unwrap();
    let answer = service.call(post("/v1/chat", "{}"));
    let serve = async {
        let (_, reply) = handle.next_request().await.unwrap();
        reply.send_response(StatusCode::IM_A_TEAPOT);
    };
    let (answer, ()) = tokio::join!(answer, serve);
    assert_eq!(answer.unwrap(), StatusCode::IM_A_TEAPOT);
}
