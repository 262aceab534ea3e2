//! What a request leaves in the log, as far as the order of the layers decides it.
//!
//! A binary of its own: tracing remembers for the whole process whether anybody wants a line, and
//! tests beside this one do not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Request, Response};
use tower::{ServiceExt as _, service_fn};
use towergate::{Body, Gateway, ServiceProvider, core::BoxError};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::MakeWriter,
    layer::{Context, Layer, SubscriberExt as _},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was written since it was last asked for.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Panics where Respond logs that it refuses to be closed.
struct Bomb;

impl<S: Subscriber> Layer<S> for Bomb {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Says(bool);
        impl tracing::field::Visit for Says {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 |= format!("{value:?}").contains("a bomb");
            }
        }
        let mut says = Says(false);
        event.record(&mut says);
        assert!(!(says.0 && event.metadata().target().contains("respond")), "on purpose");
    }
}

/// A gateway over a service in this process, without retries that wait.
fn over<F>(leaf: F) -> Gateway
where
    F: Fn(Request<Body>) -> Result<Response<Body>, BoxError> + Clone + Send + Sync + 'static,
{
    let leaf = service_fn(move |request| std::future::ready(leaf(request)));
    Gateway::builder().provider(ServiceProvider::new("test", leaf)).build().unwrap()
}

async fn ask(gateway: Gateway, path: &str) -> u16 {
    let request = Request::get(path).header("x-request-id", "the-callers-id").body(Body::empty()).unwrap();
    gateway.oneshot(request).await.unwrap().status().as_u16()
}

fn line<'a>(log: &'a str, of: &str) -> &'a str {
    log.lines().find(|line| line.contains(of)).unwrap_or_else(|| panic!("no line {of:?} in\n{log}"))
}

/// One thread, so that the lines are this test's. Time stands still but for the waits of retries.
#[test]
fn lines_are_those_of_the_order_of_the_layers() {
    let log = Log::default();
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(log.clone());
    let subscriber = tracing_subscriber::registry().with(LevelFilter::DEBUG).with(Bomb).with(lines);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(order(&log)));
}

async fn order(log: &Log) {
    // RequestId outside of Trace: the span has the id from the start.
    // Trace outside of Respond: it has the status that the client got, also where we refuse.
    assert_eq!(ask(over(|_| unreachable!()), "/nowhere").await, 404);
    let text = log.take();
    let ended = line(&text, "request ended by the client");
    assert!(ended.contains("request_id=\"the-callers-id\""), "{ended}");
    assert!(ended.contains("status=404") && ended.contains("outcome=\"client_error\""), "{ended}");

    // Trace outside of CatchPanic: the line of a panic is not that of a client which went away.
    assert_eq!(ask(over(|_| panic!("on purpose")), "/v1/models").await, 500);
    let text = log.take();
    let ended = line(&text, "gave up on the request");
    assert!(ended.contains("status=500") && ended.contains("outcome=\"internal\""), "{ended}");

    // CatchPanic outside of Respond: it answers where Respond itself panics.
    let failing =
        over(|_| Err(towergate::core::Error::new(towergate::core::ErrorKind::BadAnswer, "a bomb").into()));
    assert_eq!(ask(failing, "/v1/models").await, 500);
    log.take();

    // Retry outside of Trace (attempt): a span for each attempt, with its number.
    let busy = over(|_| Ok(Response::builder().status(503).body(Body::empty())?));
    ask(busy, "/v1/models").await;
    let text = log.take();
    for attempt in 1..=4 {
        assert!(
            text.lines()
                .any(|line| line.contains("attempt ended") && line.contains(&format!("attempt={attempt} "))),
            "{attempt} in\n{text}"
        );
    }
}
