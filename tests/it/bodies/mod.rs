//! Bodies pass as they come, in both directions: no byte is changed, nothing is collected that need
//! not be, and who reads slowly slows down who writes.

mod flow;
mod upload;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower::ServiceExt as _;
use towergate::{Body, openai::service::Http2};
use towergate_sim::Gate;

use super::support::{Answer, Http, PROVIDER_KEY, Upstream, World, chat, chat_stream, counted};

fn client(http2: bool) -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

#[tokio::test]
async fn answers_pass_byte_for_byte_whatever_is_in_them() {
    // What no typed struct would survive: unknown and repeated keys, odd numbers, escapes, white space.
    let json = "\n { \"id\" : \"x\",\t\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\
        \"content\":\"\\u00fc\\/\"},\"finish_reason\":\"stop\"}],\"new\":1.0e+02,\"new\":1E400,\
        \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3,\"x\":null} }\r\n";
    let length = json.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let chunked: String = json.chars().map(|char| format!("1\r\n{char}\r\n")).collect();
    for answer in [
        format!("{head}content-length: {length}\r\n\r\n{json}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"),
        format!("{head}connection: close\r\n\r\n{json}"),
    ] {
        let upstream = Upstream::raw(answer).await;
        let world = World::builder().base_url(upstream.base_url()).start().await;
        for http in [world.http1(), world.http2()] {
            let answers = [
                http.chat(&chat("gpt-4o")).await,
                http.post("/v1/embeddings", &json!({"model": "m", "input": "a"})).await,
                http.get("/v1/models").await,
                http.get("/v1/unknown").await,
            ];
            for answer in answers {
                assert!(answer.whole && answer.status == 200, "{answer:?}");
                assert_eq!(answer.text(), json);
            }
        }
    }
}

#[tokio::test]
async fn binary_answers_pass_byte_for_byte() {
    let world = World::start().await;
    let direct = Http::new(format!("http://{}", world.upstream.addr()), false);
    let key = format!("Bearer {PROVIDER_KEY}");
    for (method, path, body) in [
        (Method::GET, "/v1/files/file-1/content", String::new()),
        (
            Method::POST,
            "/v1/audio/speech",
            json!({"model": "tts-1", "input": "Hello!", "voice": "alloy"}).to_string(),
        ),
        (
            Method::POST,
            "/v1/audio/speech",
            json!({"model": "fault:split=100", "input": "Hello!", "voice": "alloy"}).to_string(),
        ),
        (Method::POST, "/v1/images/generations", json!({"model": "gpt-image-1", "prompt": "a"}).to_string()),
    ] {
        let request = |http: Http| {
            let request = http.request(method.clone(), path).header("authorization", &key);
            let request =
                request.header("content-type", "application/json").body(body.clone().into()).unwrap();
            async move { http.read(request).await }
        };
        let expected = request(direct.clone()).await;
        assert!(expected.status == 200 && expected.body.len() > 100, "{path}");
        for http in [world.http1(), world.http2()] {
            let answer = request(http).await;
            assert!(answer.whole && answer.body == expected.body, "{path}: not byte for byte");
            for name in ["content-type", "content-length"] {
                assert_eq!(answer.header(name), expected.header(name), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_compressed_answer_passes_unread() {
    // gzip of nothing that the reader could make sense of, and all bytes there are.
    let packed: Vec<u8> = [0x1f, 0x8b, 8, 0].into_iter().chain((0..=255).cycle().take(5000)).collect();
    for content_type in ["application/json", "text/event-stream"] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            packed.len()
        );
        let upstream = Upstream::raw([head.as_bytes(), &packed].concat()).await;
        let world = World::builder().base_url(upstream.base_url()).start().await;
        for http in [world.http1(), world.http2()] {
            for request in [chat("gpt-4o"), chat_stream("gpt-4o")] {
                let answer = http.chat(&request).await;
                assert!(answer.whole && answer.body == packed, "{content_type}: not byte for byte");
                assert_eq!(answer.header("content-encoding"), Some("gzip"));
            }
        }
    }
}

#[tokio::test]
async fn statuses_without_a_body_have_none() {
    for (answer, status, length) in [
        ("204 No Content\r\nx-a: 1", 204, None),
        ("304 Not Modified\r\netag: \"x\"", 304, None),
        ("205 Reset Content\r\ncontent-length: 0", 205, Some("0")),
        ("201 Created\r\ncontent-length: 0", 201, Some("0")),
        ("202 Accepted\r\ncontent-length: 0", 202, Some("0")),
    ] {
        let upstream = Upstream::raw(format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        let world = World::builder().base_url(upstream.base_url()).start().await;
        for http in [world.http1(), world.http2()] {
            for method in [Method::GET, Method::DELETE, Method::PATCH] {
                for path in ["/v1/files/file-1", "/v1/unknown"] {
                    let answer =
                        http.read(http.request(method.clone(), path).body(Default::default()).unwrap()).await;
                    assert!(answer.whole && answer.body.is_empty(), "{method} {path} {status}");
                    assert_eq!(
                        (answer.status.as_u16(), answer.header("content-length")),
                        (status, length),
                        "{method} {path}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn the_answer_to_head_keeps_the_length_it_tells_of() {
    for head in [
        "content-length: 1234\r\n",
        "",
        "content-type: text/event-stream\r\n",
        "content-encoding: gzip\r\ncontent-length: 9\r\n",
    ] {
        let upstream = Upstream::raw(format!("HTTP/1.1 200 OK\r\netag: \"x\"\r\n{head}\r\n")).await;
        let world = World::builder().base_url(upstream.base_url()).start().await;
        let length = head.rsplit_once("content-length: ").map(|(_, length)| length.trim());
        for http in [world.http1(), world.http2()] {
            for path in ["/v1/models", "/v1/files/file-1/content", "/v1/unknown", "/v1/chat/completions"] {
                let request = http.request(Method::HEAD, path).body(Default::default()).unwrap();
                let answer = http.read(request).await;
                assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, Some("\"x\"")), "{path}");
                assert!(answer.whole && answer.body.is_empty());
                assert_eq!(answer.header("content-length"), length, "{path} {head}");
            }
        }
        assert!(upstream.requests().iter().all(|request| request.starts_with(b"HEAD ")));
    }
}

/// What the head tells of is not there to be read, and so it is not cut short either.
#[test]
fn an_answer_to_head_is_a_complete_one() {
    let counted = counted(async {
        for content_type in ["text/event-stream", "application/json"] {
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: 9\r\n\r\n");
            let upstream = Upstream::raw(head).await;
            let world = World::builder().base_url(upstream.base_url()).start().await;
            for path in ["/v1/models", "/v1/unknown"] {
                let request = Request::head(path).body(Body::empty()).unwrap();
                let answer = world.gateway.clone().oneshot(request).await.unwrap();
                assert!(http_body::Body::is_end_stream(answer.body()), "{content_type}");
            }
        }
    });
    assert_eq!(counted.get("towergate_requests_total{completed}"), Some(&4), "{counted:?}");
    assert_eq!(counted.get("towergate_attempts_total{completed}"), Some(&4), "{counted:?}");
}

#[tokio::test]
async fn a_part_of_a_file_is_that_part() {
    let file: Bytes = (0..=255).cycle().take(10_000).collect::<Vec<u8>>().into();
    let whole = file.clone();
    let upstream = Upstream::start(move |request: Request<Incoming>| {
        let file = file.clone();
        let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
        std::future::ready(match range.as_deref() {
            Some("bytes=100-199") => Response::builder()
                .status(StatusCode::PARTIAL_CONTENT)
                .header("content-type", "application/octet-stream")
                .header("content-range", "bytes 100-199/10000")
                .body(file.slice(100..200).into())
                .unwrap(),
            Some(_) => Response::builder()
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header("content-range", "bytes */10000")
                .body(Body::empty())
                .unwrap(),
            None => Response::builder().header("accept-ranges", "bytes").body(file.into()).unwrap(),
        })
    })
    .await;
    let world = World::builder().base_url(upstream.base_url()).start().await;
    for http in [world.http1(), world.http2()] {
        for path in ["/v1/files/file-1/content", "/v1/videos/v-1/content", "/v1/unknown"] {
            let ask = |range: &'static str| {
                let request = http.request(Method::GET, path).header("range", range);
                http.read(request.body(Default::default()).unwrap())
            };
            let part = ask("bytes=100-199").await;
            assert_eq!((part.status.as_u16(), &part.body), (206, &whole.slice(100..200)));
            assert_eq!(part.header("content-range"), Some("bytes 100-199/10000"));
            assert_eq!(part.header("content-length"), Some("100"));
            let none = ask("bytes=99999-").await;
            assert_eq!((none.status.as_u16(), none.header("content-range")), (416, Some("bytes */10000")));
            let all = http.get(path).await;
            assert_eq!((&all.body, all.header("accept-ranges")), (&whole, Some("bytes")));
        }
    }
}
