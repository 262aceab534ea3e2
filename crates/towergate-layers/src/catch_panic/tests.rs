use std::{
    convert::Infallible,
    io,
    sync::{Mutex, atomic::AtomicBool, atomic::Ordering::Relaxed},
};

use http_body_util::BodyExt as _;
use tower::{ServiceExt as _, service_fn};
use towergate_core::Route;

use super::*;

/// What every panic here says, and nobody may hear.
const SECRET: &str = "sk-canary";

struct Plain;

impl RenderError for Plain {
    fn body(&self, status: StatusCode, error: &Error) -> Bytes {
        format!("{} {}", status.as_u16(), error.code()).into()
    }

    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn event(&self, _: Option<&'static Route>, _: &Error) -> Bytes {
        Bytes::new()
    }
}

/// Yields one frame, then panics; says when it is dropped.
struct PanickingBody {
    frames: u8,
    dropped: Arc<AtomicBool>,
}

impl HttpBody for PanickingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        assert!(self.frames > 0, "{SECRET}");
        self.frames -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a")))))
    }
}

impl Drop for PanickingBody {
    fn drop(&mut self) {
        self.dropped.store(true, Relaxed);
    }
}

/// Panics in `call`.
#[derive(Clone)]
struct PanickingService;

impl Service<Request<()>> for PanickingService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        panic!("{SECRET}")
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

async fn assert_is_our_answer<B>(response: Response<ResponseBody<B>>)
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    assert_eq!(response.status(), 500);
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(response.headers()["proxy-status"], "towergate; error=proxy_internal_error");
    assert!(!response.headers().contains_key("x-should-retry"));
    assert_eq!(response.body().size_hint().exact(), Some(18));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "500 internal_error");
}

#[tokio::test]
async fn a_panic_in_the_call_is_an_answer() {
    let log = Log::default();
    let _listening = log.listen();
    let service = CatchPanicLayer::new(Plain).layer(PanickingService);
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_is_our_answer(response).await;
    assert!(log.text().contains("the call") && !log.text().contains(SECRET), "{}", log.text());
    // And the service still answers.
    assert_is_our_answer(service.oneshot(Request::new(())).await.unwrap()).await;
}

#[tokio::test]
async fn a_panic_before_the_head_is_an_answer_and_drops_what_panicked() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }

    let log = Log::default();
    let _listening = log.listen();
    let dropped = Arc::new(AtomicBool::new(false));
    let mut service = CatchPanicLayer::new(Plain).layer(service_fn(|_: Request<()>| {
        let held = Dropped(Arc::clone(&dropped));
        std::future::poll_fn(move |_| -> Poll<Result<Response<Body>, Infallible>> {
            let _held = &held;
            panic!("{SECRET}")
        })
    }));
    let mut future = std::pin::pin!(service.ready().await.unwrap().call(Request::new(())));
    let response = future.as_mut().await.unwrap();
    assert!(dropped.load(Relaxed), "the future lives on, what panicked in it must not");
    assert_is_our_answer(response).await;
    assert!(log.text().contains("the wait for the head") && !log.text().contains(SECRET));
}

#[tokio::test]
async fn a_panic_in_the_body_ends_it_with_an_error() {
    let log = Log::default();
    let _listening = log.listen();
    let dropped = Arc::new(AtomicBool::new(false));
    let service = CatchPanicLayer::new(Plain).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(PanickingBody { frames: 1, dropped: Arc::clone(&dropped) }))
    }));
    let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::Internal);
    assert!(!format!("{error} {error:?}").contains(SECRET));
    assert!(dropped.load(Relaxed));
    assert!(body.frame().await.is_none());
    assert!(log.text().contains("the body") && !log.text().contains(SECRET));
}

#[tokio::test]
async fn a_panic_while_cleaning_up_does_not_get_out() {
    struct PanicsTwice;
    impl Drop for PanicsTwice {
        fn drop(&mut self) {
            panic!("{SECRET}, and once more");
        }
    }
    let service = CatchPanicLayer::new(Plain).layer(service_fn(|_: Request<()>| {
        let held = PanicsTwice;
        std::future::poll_fn(move |_| -> Poll<Result<Response<Body>, Infallible>> {
            let _held = &held;
            panic!("{SECRET}")
        })
    }));
    assert_is_our_answer(service.oneshot(Request::new(())).await.unwrap()).await;
}
