//! What goes over the wire, both ways.

use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Body as _;
use tokio::sync::{Notify, oneshot};
use towergate_core::{ErrorKind, Phase, Sent, context::Answered};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers every request on every connection with `OK`, and tells what it read.
async fn echo() -> (Upstream, mpsc::Receiver<(String, Vec<u8>)>) {
    let (tell, told) = mpsc::channel(16);
    let upstream = Upstream::start(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            loop {
                let (head, body) = read_request(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                tell.send((head, body)).await.unwrap();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (upstream, told)
}

#[tokio::test]
async fn a_request_goes_out_as_it_came_in() {
    let (upstream, mut told) = echo().await;
    let leaf = leaf(&upstream);
    let mut request = post("{ \"model\" : \"x\" }");
    *request.uri_mut() = "https://gateway.example/v1/chat/completions?b=%20&a".parse().unwrap();
    for (name, value) in [
        ("host", "gateway.example"),
        ("content-type", "application/json"),
        ("authorization", "Bearer sk"),
        ("x-forwarded-for", "10.0.0.1"),
        ("expect", "100-continue"),
    ] {
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    assert_eq!(text(send(&leaf, request).await.unwrap()).await, "ok");
    let (head, body) = told.recv().await.unwrap();
    let mut lines: Vec<_> =
        head.trim_end().lines().filter(|line| !line.starts_with("cdn-loop: towergate-")).collect();
    assert_eq!(lines.remove(0), "POST /v1/chat/completions?b=%20&a HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", upstream.address);
    assert_eq!(
        lines,
        ["authorization: Bearer sk", "content-length: 17", "content-type: application/json", &host]
    );
    assert_eq!(body, b"{ \"model\" : \"x\" }");

    // The same connection serves the next one.
    send(&leaf, get("/models")).await.unwrap();
    let (head, _) = told.recv().await.unwrap();
    assert!(head.starts_with("GET /v1/models HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn a_streamed_upload_is_not_collected_and_keeps_its_length() {
    let (upstream, mut told) = echo().await;
    let leaf = leaf(&upstream);
    for (claimed, coding, received) in [
        (None, "transfer-encoding: chunked", "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        (Some("3"), "content-length: 3", "abc"),
    ] {
        let (feed, body) = fed_body();
        let mut request = post(body);
        if let Some(length) = claimed {
            request.headers_mut().insert("content-length", HeaderValue::from_static(length));
        }
        let feeding = async move {
            for piece in ["ab", "c"] {
                feed.send(Ok(piece.into())).await.unwrap();
                // The channel holds one piece: when it is empty again, hyper has taken it.
                let _ = feed.reserve().await;
            }
        };
        let (answer, ()) = tokio::join!(send(&leaf, request), feeding);
        assert_eq!(text(answer.unwrap()).await, "ok");
        let (head, body) = told.recv().await.unwrap();
        assert!(head.contains(coding), "{head}");
        assert_eq!(String::from_utf8(body).unwrap(), received);
    }
}

#[tokio::test]
async fn an_answer_comes_back_as_it_is_but_for_its_hop_and_site() {
    let upstream = Upstream::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
         HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere/\r\nset-cookie: a=b\r\n\
         connection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nserver: test\r\n\
         alt-svc: h3\r\nx-request-id: up-1\r\ncontent-length: 4\r\n\r\nbody",
    )
    .await;
    let response = send(&leaf(&upstream), post("{}")).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    let mut names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "location", "server", "x-request-id"]);
    assert_eq!(response.extensions().get::<Answered>().unwrap().provider.as_str(), "test");
    assert_eq!(response.body().size_hint().exact(), Some(4));
    assert_eq!(text(response).await, "body");
}

#[tokio::test]
async fn an_answer_without_a_body_is_over_at_its_head() {
    let upstream = Upstream::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let response = send(&leaf(&upstream), get("/v1/x")).await.unwrap();
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn each_piece_of_an_answer_comes_when_it_is_sent() {
    let (next, go) = mpsc::channel::<()>(1);
    let go = Arc::new(tokio::sync::Mutex::new(go));
    let upstream = Upstream::start(move |mut stream, _| {
        let go = Arc::clone(&go);
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            for piece in ["1\r\na\r\n", "1\r\nb\r\n", "0\r\n\r\n"] {
                go.lock().await.recv().await.unwrap();
                stream.write_all(piece.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let mut body = send(&leaf(&upstream), post("{}")).await.unwrap().into_body();
    for piece in ["a", "b"] {
        next.send(()).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    next.send(()).await.unwrap();
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn who_goes_away_is_gone_upstream_too() {
    let (tell, mut told) = mpsc::channel(1);
    let reached = Arc::new(Notify::new());
    let reach = Arc::clone(&reached);
    let upstream = Upstream::start(move |mut stream, number| {
        let (tell, reach) = (tell.clone(), Arc::clone(&reach));
        async move {
            read_request(&mut stream).await;
            if number == 0 {
                reach.notify_one();
            } else {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx").await.unwrap();
            }
            closed(&mut stream).await;
            tell.send(number).await.unwrap();
        }
    })
    .await;
    let leaf = leaf(&upstream);

    // Before the head.
    let waiting = tokio::spawn({
        let leaf = leaf.clone();
        async move { send(&leaf, post("{}")).await.map(drop) }
    });
    reached.notified().await;
    waiting.abort();
    assert_eq!(told.recv().await, Some(0));

    // In the body.
    let mut body = send(&leaf, post("{}")).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().is_ok());
    drop(body);
    assert_eq!(told.recv().await, Some(1));
}

#[tokio::test]
async fn closing_ends_what_is_idle_and_lets_the_rest_end() {
    let (tell, mut told) = mpsc::channel(2);
    let (finish, finished) = oneshot::channel::<()>();
    let finished = Arc::new(std::sync::Mutex::new(Some(finished)));
    let upstream = Upstream::start(move |mut stream, number| {
        let (tell, finished) = (tell.clone(), Arc::clone(&finished));
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no").await.unwrap();
            if number == 0 {
                let finished = finished.lock().unwrap().take().unwrap();
                finished.await.unwrap();
            }
            stream.write_all(b"k").await.unwrap();
            closed(&mut stream).await;
            tell.send(number).await.unwrap();
        }
    })
    .await;
    let leaf = leaf(&upstream);
    let under_way = send(&leaf, post("{}")).await.unwrap();
    assert_eq!(text(send(&leaf, post("{}")).await.unwrap()).await, "ok");

    leaf.clone().close();
    assert!(leaf.is_closed());
    assert_eq!(told.recv().await, Some(1), "the idle connection goes at once");
    let error = send(&leaf, post("{}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Draining);

    finish.send(()).unwrap();
    assert_eq!(text(under_way).await, "ok");
    assert_eq!(told.recv().await, Some(0));
    assert_eq!(upstream.accepted(), 2);
}

#[tokio::test]
async fn a_connection_left_idle_is_closed_by_the_timer() {
    let (tell, mut told) = mpsc::channel(1);
    let upstream = Upstream::start(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(OK.as_bytes()).await.unwrap();
            closed(&mut stream).await;
            tell.send(()).await.unwrap();
        }
    })
    .await;
    let leaf = builder(upstream.base_url()).pool_idle_timeout(Duration::from_millis(50)).build().unwrap();
    assert_eq!(text(send(&leaf, get("/v1/x")).await.unwrap()).await, "ok");
    tokio::time::timeout(LONG, told.recv()).await.expect("the connection stays open").unwrap();
}

#[test]
fn nothing_secret_is_printed() {
    let leaf = builder("http://host/v1").proxy("http://user:canary@proxy:1").build().unwrap();
    assert!(!format!("{leaf:?}").contains("canary"));
    let builder = builder("http://user:canary@host/v1").proxy("http://user:canary@proxy:1");
    let text = format!("{builder:?} {:?}", builder.clone().build().unwrap_err());
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn settings_that_cannot_work_are_named() {
    for (builder, name) in [
        (builder("host"), "base_url"),
        (builder("http://host").connect_timeout(Duration::ZERO), "connect_timeout"),
        (builder("http://host").pool_idle_timeout(Duration::ZERO), "pool_idle_timeout"),
        (builder("http://host").proxy("socks5://h"), "proxy"),
        (builder("http://host").add_root_certificates("x"), "root_certificates"),
        (builder("http://host").client_identity("x", "y"), "client_identity"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

#[tokio::test]
async fn interim_responses_come_to_an_end() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let upstream = Upstream::start(move |mut stream, connection| async move {
        loop {
            let (head, _) = read_request(&mut stream).await;
            if head.is_empty() {
                return;
            }
            stream.write_all(hints.repeat(500).as_bytes()).await.unwrap();
            while connection == 0 && head.contains("/endless") {
                if stream.write_all(hints.as_bytes()).await.is_err() {
                    return;
                }
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let leaf = leaf(&upstream);
    for _ in 0..4 {
        assert_eq!(text(send(&leaf, get("/v1/models")).await.unwrap()).await, "ok");
    }
    assert_eq!(upstream.accepted(), 1);
    let error = send(&leaf, get("/v1/endless")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase(), error.sent()),
        (ErrorKind::BadAnswer, Phase::Head, Sent::Unknown)
    );
    assert_eq!(error.proxy_status(), "http_protocol_error");
    assert!(error.to_string().contains("over 1000 informational (1xx) responses"), "{error}");
    assert_eq!(text(send(&leaf, get("/v1/models")).await.unwrap()).await, "ok");
}
