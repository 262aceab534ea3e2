//! hyper's errors as ours: kind, phase, and whether anything was sent.

use std::net::Ipv4Addr;

use towergate_core::{Clock, ErrorKind, Phase, Sent};

use super::*;

fn facts(error: &Error) -> (ErrorKind, Phase, Sent) {
    let text = error.to_string();
    assert_eq!(error.provider().map(Label::as_str), Some("test"), "{text}");
    assert!(!text.contains("/v1") && !text.contains("127.0.0.1"), "where it is, is for the log: {text}");
    (error.kind(), error.phase(), error.sent())
}

/// The error of a request whose connection the script ends as it likes.
async fn error_of<F, Fut>(script: F) -> Error
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let upstream = Upstream::start(move |stream, _| script(stream)).await;
    send(&leaf(&upstream), post("{}")).await.unwrap_err()
}

#[tokio::test]
async fn nobody_listens() {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let leaf = builder(format!("http://{free}/v1")).build().unwrap();
    let error = send(&leaf, post("{}")).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::Connect, Phase::Connect, Sent::Nothing));
    assert_eq!(error.to_string(), "provider \"test\": no connection: the connection was refused");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), free.to_string());
    assert_eq!(error.proxy_status(), "connection_refused");
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    let leaf = builder("http://no-such-host.invalid/v1").build().unwrap();
    let error = send(&leaf, post("{}")).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::Connect, Phase::Connect, Sent::Nothing));
    assert_eq!(error.to_string(), "provider \"test\": no connection: the name does not resolve");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no-such-host.invalid:80");
    assert_eq!(error.proxy_status(), "dns_error");
}

#[tokio::test]
async fn a_connection_closed_or_reset_without_an_answer() {
    let error = error_of(|mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::Unknown));
    assert!(error.to_string().contains("without an answer"), "{error}");

    // Closed with the request unread: a reset.
    let error = error_of(|stream| async move {
        stream.readable().await.unwrap();
    })
    .await;
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::Unknown));
}

#[tokio::test]
async fn a_head_that_is_not_http_or_too_large_or_cut() {
    let error = error_of(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").await.unwrap();
        closed(&mut stream).await;
    })
    .await;
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::Unknown));
    assert!(error.to_string().contains("is not HTTP"), "{error}");

    let error = error_of(|mut stream| async move {
        read_request(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1_000_000));
        let _ = stream.write_all(head.as_bytes()).await;
    })
    .await;
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::Unknown));
    assert!(error.to_string().contains("too large"), "{error}");

    let error = error_of(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await.unwrap();
    })
    .await;
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::Unknown));
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for() {
    let upstream = Upstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    )
    .await;
    let mut request = get("/v1/realtime");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let error = send(&leaf(&upstream), request).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::BadAnswer, Phase::Head, Sent::Unknown));
}

#[tokio::test]
async fn a_body_that_is_cut() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\npart",
    ] {
        let upstream = Upstream::answering(answer).await;
        let (bytes, error) = body_error(send(&leaf(&upstream), post("{}")).await.unwrap()).await;
        assert_eq!(bytes, "part", "{answer}");
        assert_eq!(facts(&error), (ErrorKind::Truncated, Phase::Body, Sent::Unknown), "{answer}");
    }
}

#[tokio::test]
async fn a_body_whose_framing_is_broken() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\nZZ\r\n").await;
    let (bytes, error) = body_error(send(&leaf(&upstream), post("{}")).await.unwrap()).await;
    assert_eq!(bytes, "part");
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Body, Sent::Unknown));
}

#[tokio::test]
async fn a_reused_connection_that_closes_on_the_request() {
    let upstream = Upstream::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        // The second request is read, and then nothing.
        read_request(&mut stream).await;
    })
    .await;
    let leaf = leaf(&upstream);
    assert_eq!(text(send(&leaf, post("{}")).await.unwrap()).await, "ok");
    let error = send(&leaf, post("{}")).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::Unknown));
    assert_eq!(upstream.accepted(), 1, "what may have been processed is not sent again");
}

#[tokio::test]
async fn an_error_of_the_upload_comes_out_as_it_went_in() {
    let upstream = Upstream::start(|mut stream, _| async move { closed(&mut stream).await }).await;
    let leaf = leaf(&upstream);
    let failing = async |error: BoxError| {
        let (feed, body) = fed_body();
        let feeding = async move {
            feed.send(Ok("x".into())).await.unwrap();
            feed.send(Err(error)).await.unwrap();
            feed.closed().await;
        };
        let (answer, ()) = tokio::join!(send(&leaf, post(body)), feeding);
        answer.unwrap_err()
    };
    let limit = Error::new(ErrorKind::PayloadTooLarge, "over the limit").with_setting("max_body");
    let error = failing(limit.into()).await;
    assert_eq!((error.kind(), error.setting()), (ErrorKind::PayloadTooLarge, Some("max_body")));

    let clock = Clock::RequestBody;
    let wrapped = std::io::Error::other(Error::timeout(clock, LONG));
    assert_eq!(failing(wrapped.into()).await.kind(), ErrorKind::Timeout(clock));
    assert_eq!(failing("the client reset".into()).await.kind(), ErrorKind::ClientGone);
}

#[tokio::test]
async fn an_upload_shorter_than_it_claims() {
    let upstream = Upstream::start(|mut stream, _| async move { closed(&mut stream).await }).await;
    let (feed, body) = fed_body();
    let mut request = post(body);
    request.headers_mut().insert("content-length", "5".parse().unwrap());
    let feeding = async move { feed.send(Ok("x".into())).await.unwrap() };
    let leaf = leaf(&upstream);
    let (answer, ()) = tokio::join!(send(&leaf, request), feeding);
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::ClientGone);
}

#[tokio::test]
async fn a_path_that_leaves_the_prefix_goes_nowhere() {
    let upstream = Upstream::answering("").await;
    let error = send(&leaf(&upstream), get("/v1/%2e%2e/admin")).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::BadRequest, Phase::Intake, Sent::Nothing));
    assert_eq!(upstream.accepted(), 0);
}
