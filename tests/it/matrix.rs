//! The error matrix (`docs/operations.md`), each row streamed and not, on HTTP/1.1 and HTTP/2.

use std::time::Duration;

use serde_json::Value;
use towergate::openai::service::Http2;
use towergate_sim::RawUpstream;

use super::support::{Answer, Http, World, chat, chat_stream};

/// One row: what the upstream does, and what the client gets.
struct Row {
    fault: &'static str,
    status: u16,
    code: Option<&'static str>,
    should_retry: Option<&'static str>,
    /// Whether the upstream's body passes as it is.
    passes: bool,
    /// Requests that the upstream gets where two retries are allowed.
    attempts: u64,
}

const fn row(fault: &'static str, status: u16) -> Row {
    Row { fault, status, code: None, should_retry: Some("false"), passes: false, attempts: 3 }
}

impl Row {
    const fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    const fn once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    const fn unchanged(self) -> Self {
        Self { passes: true, ..self }
    }

    const fn unsaid(self) -> Self {
        Self { should_retry: None, ..self }
    }
}

const ROWS: [Row; 21] = [
    row("status=400;message=theirs", 400).once().unchanged().unsaid(),
    row("status=403;message=theirs", 403).once().unchanged().unsaid(),
    row("status=404;message=theirs", 404).once().unchanged().unsaid(),
    row("status=409;message=theirs", 409).once().unchanged().unsaid(),
    row("status=413;message=theirs", 413).once().unchanged().unsaid(),
    row("status=422;message=theirs", 422).once().unchanged().unsaid(),
    row("status=401;message=theirs", 500).once().code("upstream_auth_failed"),
    row("status=429;message=theirs", 429).unchanged(),
    row("status=429;code=insufficient_quota;message=theirs", 429).once().unchanged(),
    // The wait is longer than allowed: the client may well come again after it.
    row("status=429;retry-after=60;message=theirs", 429).once().unchanged().unsaid(),
    row("status=408;message=theirs", 408).unchanged(),
    row("status=500;message=theirs", 502).code("upstream_error"),
    row("status=502;error-body=html", 502).code("upstream_error"),
    row("status=503;message=theirs", 502).code("upstream_error"),
    row("status=503;retry-after=60;message=theirs", 503).once().code("upstream_error"),
    row("status=529;message=theirs", 502).code("upstream_error"),
    row("empty-200", 502),
    row("html-200", 502).code("upstream_bad_answer"),
    row("cut-json=half", 502),
    row("reset-before-head", 502).code("upstream_connection_failed"),
    row("close-before-head", 502).code("upstream_connection_failed"),
];

async fn check(world: &World, http: &Http, row: &Row, request: &Value) {
    let what = format!("{} (stream: {})", row.fault, request["stream"]);
    world.sim.forget();
    let before = world.sim.counts().received;
    let answer = http.chat(request).await;
    assert_eq!(answer.status, row.status, "{what}: {answer:?}");
    assert_eq!(answer.header("x-should-retry"), row.should_retry, "{what}");
    assert!(answer.whole && answer.header("x-request-id").is_some(), "{what}");
    assert_eq!(world.sim.counts().received - before, row.attempts, "{what}");
    assert_eq!(answer.header("x-towergate-attempts"), Some(row.attempts.to_string().as_str()), "{what}");
    let error = answer.error();
    if row.passes {
        assert_eq!(error["message"], "theirs", "{what}");
    } else {
        assert!(!answer.text().contains("theirs"), "{what}: upstream's text stays there");
        assert_eq!(error["type"], "gateway_error", "{what}");
        assert!(answer.header("proxy-status").unwrap().starts_with("towergate; error="), "{what}");
        assert!(error["message"].as_str().unwrap().contains("openai"), "{what}: names the provider");
    }
    if let Some(code) = row.code {
        assert_eq!(error["code"], code, "{what}");
    }
    if row.fault.contains("retry-after") {
        assert_eq!(answer.header("retry-after"), Some("60"), "{what}");
    }
}

async fn every_row(world: &World, http: &Http) {
    for row in &ROWS {
        let model = format!("fault:{}", row.fault);
        check(world, http, row, &chat(&model)).await;
        // Half a document is no fault of a stream.
        if !row.fault.starts_with("cut-json") {
            check(world, http, row, &chat_stream(&model)).await;
        }
    }
}

#[tokio::test]
async fn every_row_on_http1() {
    let world = World::builder().quick_retries(2).start().await;
    every_row(&world, &world.http1()).await;
}

#[tokio::test]
async fn every_row_on_http2() {
    let world = World::builder().quick_retries(2).start().await;
    every_row(&world, &world.http2()).await;
}

#[tokio::test]
async fn every_row_with_an_upstream_on_http2() {
    let world = World::builder()
        .quick_retries(2)
        .provider(|provider| provider.leaf(|leaf| leaf.http2(Some(Http2::default()))))
        .start()
        .await;
    every_row(&world, &world.http1()).await;
    let request = world.sim.requests().pop().unwrap();
    assert_eq!(request.version, http::Version::HTTP_2);
}

fn names_clock(answer: &Answer, code: &str, setting: &str) {
    assert_eq!(answer.status, 504, "{answer:?}");
    let error = answer.error();
    assert_eq!(error["code"], code);
    assert!(error["message"].as_str().unwrap().contains(setting), "{error}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_clock_that_runs_out_names_itself_and_its_setting() {
    let world = World::builder()
        .provider(|provider| {
            let clocks = towergate::layers::timeout::Timeouts::uniform(Duration::from_millis(200));
            provider.timeouts(clocks)
        })
        .start()
        .await;
    for http in [world.http1(), world.http2()] {
        for request in [chat("fault:stall-head"), chat_stream("fault:stall-head")] {
            names_clock(&http.chat(&request).await, "head_timeout", "timeouts.head");
        }
        let silent = http.chat(&chat_stream("fault:stall-after=0")).await;
        names_clock(&silent, "first_event_timeout", "timeouts.first_event");
    }
}

#[tokio::test]
async fn the_total_bounds_all_attempts() {
    let world = World::builder()
        .quick_retries(3)
        .gateway(|gateway| {
            let total = Duration::from_millis(300);
            gateway.timeouts(towergate::layers::timeout::Timeouts::default().with_total(total))
        })
        .start()
        .await;
    let answer = world.http1().chat(&chat("fault:stall-head")).await;
    names_clock(&answer, "total_timeout", "server.total_timeout");
}

#[tokio::test]
async fn nobody_listens() {
    let gone = RawUpstream::start([]).await.unwrap();
    let url = gone.base_url();
    gone.shutdown().await;
    let world = World::builder().base_url(url).start().await;
    let answer = world.http1().chat(&chat("gpt-4o")).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.error()["code"], "upstream_connect_failed");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_black_hole_is_a_connection_that_cannot_be_had() {
    // Nobody accepts, and the backlog is full: the system answers no further handshake.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        filling.push(connected.unwrap());
    }
    // As by default, head and connect clock have the same length; or the head clock is the shorter one, and then
    // it is what has to be changed.
    let length = Duration::from_millis(300);
    for (connect, setting) in [(length, "timeouts.connect"), (length * 100, "timeouts.head")] {
        let world = World::builder()
            .base_url(format!("http://{address}/v1"))
            .provider(move |provider| {
                provider
                    .timeouts(towergate::layers::timeout::Timeouts::default().with_head(length))
                    .leaf(move |leaf| leaf.connect_timeout(connect))
            })
            .start()
            .await;
        for body in [chat("gpt-4o"), chat_stream("gpt-4o")] {
            names_clock(&world.http1().chat(&body).await, "connect_timeout", setting);
        }
    }
}

#[tokio::test]
async fn our_own_refusals_are_envelopes() {
    let world = World::builder()
        .gateway(|gateway| gateway.max_body(1000).client_keys(towergate::parse_client_keys("right").unwrap()))
        .start()
        .await;
    for http in [world.http1(), world.http2()] {
        let wrong = http.chat(&chat("gpt-4o")).await;
        assert_eq!((wrong.status.as_u16(), wrong.error()["code"].as_str()), (401, Some("invalid_api_key")));
        assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
        assert!(!wrong.text().contains("the-callers-own"));

        let send = |path: &str, body: &str| {
            let request = http
                .request(http::Method::POST, path)
                .header("content-type", "application/json")
                .header("authorization", "Bearer right");
            http.read(request.body(body.to_owned().into()).unwrap())
        };
        for (body, param) in [("[]", None), ("{", None), ("{}", Some("model"))] {
            let answer = send("/v1/chat/completions", body).await;
            assert_eq!(answer.status, 400, "{body}");
            assert_eq!(answer.error()["type"], "invalid_request_error");
            assert_eq!(answer.error()["param"].as_str(), param, "{body}");
        }
        let twice = send("/v1/chat/completions", r#"{"model":"a","mod\u0065l":"b"}"#).await;
        assert_eq!((twice.status.as_u16(), twice.error()["param"].as_str()), (400, Some("model")));
        assert_eq!(send("/nowhere", "{}").await.status, 404);
        let large = send("/v1/chat/completions", &" ".repeat(2000)).await;
        assert_eq!(large.status, 413);
        assert!(large.error()["message"].as_str().unwrap().contains("server.max_body"));
    }
    assert_eq!(world.sim.counts().received, 0, "none of it went upstream");
}

#[tokio::test]
async fn too_many_at_once_are_shed_until_one_ends() {
    let world = World::builder().gateway(|gateway| gateway.max_in_flight(1)).start().await;
    let gate = towergate_sim::Gate::new();
    world.sim.script([towergate_sim::Fault::new().hold_at(3, &gate)]).unwrap();
    let http = world.http1();
    let held = http.send(http.json("/v1/chat/completions", &chat_stream("gpt-4o"))).await;

    let shed = http.chat(&chat("gpt-4o")).await;
    assert_eq!((shed.status.as_u16(), shed.error()["code"].as_str()), (503, Some("overloaded")));
    assert_eq!((shed.header("retry-after"), shed.header("x-should-retry")), (Some("1"), None));

    gate.open();
    assert!(Answer::read(held).await.whole);
    assert_eq!(http.chat(&chat("gpt-4o")).await.status, 200);
}

#[tokio::test]
async fn a_closed_gateway_refuses_what_is_new() {
    let world = World::start().await;
    world.gateway.close();
    let answer = world.http1().chat(&chat("gpt-4o")).await;
    assert_eq!((answer.status.as_u16(), answer.error()["code"].as_str()), (503, Some("draining")));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn with_the_callers_own_key_a_401_is_the_callers_to_read() {
    let world = World::builder().provider(|provider| provider.pass_through_auth()).start().await;
    let answer = world.http1().chat(&chat("gpt-4o")).await;
    assert_eq!((answer.status.as_u16(), answer.error()["code"].as_str()), (401, Some("invalid_api_key")));
}
