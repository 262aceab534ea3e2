//! HTTP/2 towards the upstream.

use std::num::NonZeroUsize;

use h2::{Reason, RecvStream, server::SendResponse};
use http::Version;
use towergate_core::{ErrorKind, Phase, Sent};

use super::{
    tls_edge::{self, Authority, url},
    *,
};

pub(super) type Exchange = (Request<RecvStream>, SendResponse<Bytes>);

/// Speaks HTTP/2 on a connection and runs the script for each stream.
pub(super) async fn serve<F, Fut>(io: impl Io, script: F)
where
    F: Fn(Exchange) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut connection = h2::server::handshake(io).await.unwrap();
    let mut streams = tokio::task::JoinSet::new();
    while let Some(Ok(exchange)) = connection.accept().await {
        streams.spawn(script(exchange));
    }
}

async fn upstream<F, Fut>(script: F) -> Upstream
where
    F: Fn(Exchange) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Upstream::start(move |stream, _| {
        let script = script.clone();
        async move { serve(stream, script).await }
    })
    .await
}

fn respond(respond: &mut SendResponse<Bytes>, body: &'static str) {
    let mut stream = respond.send_response(Response::new(()), body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(body.into(), true).unwrap();
    }
}

pub(super) async fn answer_ok((_, mut response): Exchange) {
    respond(&mut response, "ok");
}

fn shards(count: usize) -> Http2 {
    Http2 { shards: NonZeroUsize::new(count).unwrap() }
}

fn leaf(upstream: &Upstream, count: usize) -> OpenAi {
    builder(upstream.base_url()).http2(shards(count)).build().unwrap()
}

fn facts(error: &Error) -> (ErrorKind, Phase, Sent) {
    (error.kind(), error.phase(), error.sent())
}

#[tokio::test]
async fn prior_knowledge_on_plain_http_and_one_connection_a_shard() {
    let upstream = upstream(async |(request, mut response): Exchange| {
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.uri().path(), "/v1/models");
        assert!(!request.headers().contains_key("host"));
        respond(&mut response, "ok");
    })
    .await;
    let leaf = leaf(&upstream, 3);
    for _ in 0..12 {
        let mut request = get("/v1/models");
        request.headers_mut().insert("connection", "keep-alive".parse().unwrap());
        assert_eq!(text(send(&leaf, request).await.unwrap()).await, "ok");
    }
    assert_eq!(upstream.accepted(), 3);
}

#[tokio::test]
async fn tls_decides_and_an_upstream_without_http2_is_spoken_to_all_the_same() {
    let authority = Authority::new();
    let new = tls_edge::upstream(authority.acceptor("localhost", &[b"h2"], false), |io| {
        serve(io, async |(_, mut response): Exchange| respond(&mut response, "ok"))
    })
    .await;
    let old = tls_edge::upstream(authority.acceptor("localhost", &[], false), tls_edge::answer_ok).await;
    for (upstream, version) in [(&new, Version::HTTP_2), (&old, Version::HTTP_11)] {
        let leaf = builder(url(upstream, "localhost"))
            .add_root_certificates(authority.pem())
            .http2(shards(1))
            .build()
            .unwrap();
        let response = send(&leaf, post("{}")).await.unwrap();
        assert_eq!(response.version(), version);
        assert_eq!(text(response).await, "ok");
    }
}

#[tokio::test]
async fn what_the_upstream_hands_back_was_not_processed() {
    let refusing =
        upstream(async |(_, mut response): Exchange| response.send_reset(Reason::REFUSED_STREAM)).await;
    let error = send(&leaf(&refusing, 1), post("{}")).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::NotProcessed));

    let resetting =
        upstream(async |(_, mut response): Exchange| response.send_reset(Reason::INTERNAL_ERROR)).await;
    let error = send(&leaf(&resetting, 1), post("{}")).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, Sent::Unknown));
}

/// A frame as it goes over the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads frames until the headers of a request have come.
async fn until_headers(stream: &mut TcpStream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}

#[tokio::test]
async fn a_goaway_below_our_stream_frees_it_and_one_above_does_not() {
    for (last, sent) in [(0_u32, Sent::NotProcessed), (1, Sent::Unknown)] {
        let upstream = Upstream::start(move |mut stream, _| async move {
            until_headers(&mut stream).await;
            let goaway = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
            stream.write_all(&frame(7, 0, 0, &goaway)).await.unwrap();
            stream.shutdown().await.unwrap();
            closed(&mut stream).await;
        })
        .await;
        let error = send(&leaf(&upstream, 1), get("/v1/models")).await.unwrap_err();
        assert_eq!(facts(&error), (ErrorKind::Connection, Phase::Head, sent), "last stream {last}");
    }
}

#[tokio::test]
async fn an_upstream_that_speaks_http1_only() {
    let upstream = Upstream::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        closed(&mut stream).await;
    })
    .await;
    let error = send(&leaf(&upstream, 1), post("{}")).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Connect), "{error:?}");
}

#[tokio::test]
async fn a_reset_in_the_body_is_a_cut_answer() {
    for reason in [Reason::INTERNAL_ERROR, Reason::CANCEL, Reason::NO_ERROR] {
        let upstream = upstream(move |(_, mut response): Exchange| async move {
            let mut stream = response.send_response(Response::new(()), false).unwrap();
            stream.send_data("part".into(), false).unwrap();
            // The reset would overtake data that is still queued.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(reason);
        })
        .await;
        let (bytes, error) = body_error(send(&leaf(&upstream, 1), post("{}")).await.unwrap()).await;
        assert_eq!(bytes, "part");
        assert_eq!(facts(&error), (ErrorKind::Truncated, Phase::Body, Sent::Unknown), "{reason}");
    }
}

#[tokio::test]
async fn what_an_upstream_says_as_it_ends_a_connection_is_for_no_log() {
    const SAID: &[u8] = b"wrong key sk-canary";
    let upstream = Upstream::start(|mut stream, _| async move {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let go_away = [0, 0, 8 + SAID.len() as u8, 7, 0, 0, 0, 0, 0];
        let (last_stream, calm) = ([0; 4], [0, 0, 0, 11]);
        stream.write_all(&[&settings[..], &go_away, &last_stream, &calm, SAID].concat()).await.unwrap();
        closed(&mut stream).await;
    })
    .await;
    let error = send(&leaf(&upstream, 1), post("{}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    let mut told = format!("{error} {error:?}");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        told.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    assert!(told.contains("ended the HTTP/2 connection") && !told.contains("canary"), "{told}");
}

#[tokio::test]
async fn an_error_of_the_upload_is_not_lost() {
    let upstream = upstream(async |(request, _response): Exchange| {
        let mut body = request.into_body();
        while let Some(Ok(_)) = body.data().await {}
    })
    .await;
    let (feed, body) = fed_body();
    let feeding = async move {
        feed.send(Ok("x".into())).await.unwrap();
        let error = Error::new(ErrorKind::PayloadTooLarge, "over the limit");
        feed.send(Err(error.into())).await.unwrap();
        feed.closed().await;
    };
    let leaf = leaf(&upstream, 1);
    let (answer, ()) = tokio::join!(send(&leaf, post(body)), feeding);
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::PayloadTooLarge);
}

#[tokio::test]
async fn readers_that_stop_do_not_hold_up_another() {
    let upstream = upstream(async |(request, mut response): Exchange| {
        if request.uri().path().ends_with("small") {
            return respond(&mut response, "ok");
        }
        let mut stream = response.send_response(Response::new(()), false).unwrap();
        // More than one stream's window; it stays stuck for as long as nobody reads.
        stream.send_data(Bytes::from(vec![b'x'; 1 << 20]), true).unwrap();
        std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
    })
    .await;
    let leaf = leaf(&upstream, 1);
    // Together they fill more than hyper's own window of 5 MiB for a connection.
    let mut unread = Vec::new();
    for _ in 0..32 {
        let response = send(&leaf, get("/v1/large")).await.unwrap();
        unread.push(response);
    }
    assert_eq!(text(send(&leaf, get("/v1/small")).await.unwrap()).await, "ok");
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn who_goes_away_resets_its_stream_only() {
    let (tell, mut told) = mpsc::channel(1);
    let upstream = upstream(move |(request, mut response): Exchange| {
        let tell = tell.clone();
        async move {
            if request.uri().path().ends_with("small") {
                return respond(&mut response, "ok");
            }
            let mut stream = response.send_response(Response::new(()), false).unwrap();
            let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
            tell.send(reason).await.unwrap();
        }
    })
    .await;
    let leaf = leaf(&upstream, 1);
    drop(send(&leaf, get("/v1/endless")).await.unwrap());
    assert_eq!(told.recv().await, Some(Reason::CANCEL));
    assert_eq!(text(send(&leaf, get("/v1/small")).await.unwrap()).await, "ok");
    assert_eq!(upstream.accepted(), 1);
}

#[tokio::test]
async fn closing_lets_a_stream_end() {
    let (finish, finished) = tokio::sync::watch::channel(false);
    let upstream = upstream(move |(_, mut response): Exchange| {
        let mut finished = finished.clone();
        async move {
            let mut stream = response.send_response(Response::new(()), false).unwrap();
            finished.wait_for(|finished| *finished).await.unwrap();
            stream.send_data("ok".into(), true).unwrap();
        }
    })
    .await;
    let leaf = leaf(&upstream, 1);
    let under_way = send(&leaf, post("{}")).await.unwrap();
    leaf.close();
    assert_eq!(send(&leaf, post("{}")).await.unwrap_err().kind(), ErrorKind::Draining);
    finish.send(true).unwrap();
    assert_eq!(text(under_way).await, "ok");
}

#[tokio::test]
async fn interim_responses_come_to_an_end() {
    let upstream = upstream(async |(request, mut response): Exchange| {
        let hints = || Response::builder().status(103).header("link", "</x>").body(()).unwrap();
        for _ in 0..500 {
            response.send_informational(hints()).unwrap();
        }
        while request.uri().path().ends_with("/endless") {
            if response.send_informational(hints()).is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        respond(&mut response, "ok");
    })
    .await;
    let leaf = leaf(&upstream, 1);
    for _ in 0..4 {
        assert_eq!(text(send(&leaf, get("/v1/models")).await.unwrap()).await, "ok");
    }
    assert_eq!(upstream.accepted(), 1);
    let error = send(&leaf, get("/v1/endless")).await.unwrap_err();
    assert_eq!(facts(&error), (ErrorKind::BadAnswer, Phase::Head, Sent::Unknown));
    assert!(error.to_string().contains("over 1000 informational (1xx) responses"), "{error}");
    assert_eq!(text(send(&leaf, get("/v1/models")).await.unwrap()).await, "ok");
}
