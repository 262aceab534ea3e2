//! A key that is restricted to models, and requests that a server could read in another way than the gateway.

use std::net::SocketAddr;

use http::Method;
use http_body_util::Full;
use towergate::{
    Candidate,
    core::{access::ClientAccess, label::Label},
    layers::client_auth::{ClientKey, ClientKeys},
};

use crate::support::{Answer, Several, chat, raw};

const CHAT: &str = "/v1/chat/completions";
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// Provider `a` serves `small`, `b` serves `large`. The key `tg-small` reaches `small` alone, `tg-all-paths` so at every
/// endpoint, and `tg-free` reaches everything.
async fn guarded() -> Several {
    let key = |text: &str| ClientKey::new(&text.to_owned().into()).unwrap();
    let small = ClientAccess::all().allowed_models(["small"]);
    let keys = ClientKeys::new([
        (Label::new("free"), key("tg-free")),
        (Label::new("small"), key("tg-small").access(small.clone())),
        (Label::new("all-paths"), key("tg-all-paths").access(small.allowed_endpoints(["/v1"]))),
    ]);
    let keys = keys.unwrap();
    Several::of(2)
        .routing(|routing| {
            routing
                .candidate("a", Candidate::new().model("small"))
                .candidate("b", Candidate::new().priority(2).model("large"))
        })
        .gateway(|gateway| gateway.client_keys(keys))
        .start()
        .await
}

impl Several {
    fn address(&self) -> SocketAddr {
        self.http.url().trim_start_matches("http://").parse().unwrap()
    }

    async fn ask(&self, key: &str, method: Method, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = self.http.request(method, path).header("authorization", format!("Bearer {key}"));
        self.read_typed(request, content_type, body).await
    }

    async fn read_typed(&self, request: http::request::Builder, content_type: &str, body: &[u8]) -> Answer {
        let request = request.header("content-type", content_type);
        self.http.read(request.body(Full::from(body.to_vec())).unwrap()).await
    }

    async fn post_as(&self, key: &str, path: &str, body: &str) -> Answer {
        self.ask(key, Method::POST, path, "application/json", body.as_bytes()).await
    }
}

fn status_and_code(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.error()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn no_other_model_is_reached_by_json() {
    let several = guarded().await;
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    let both = |more: &str| format!(r#"{{"model":"small",{messages},{more}}}"#);
    for (path, body, expected) in [
        // A server in Go takes one for the other.
        (CHAT, both(r#""Model":"large""#), (400, "ambiguous_key")),
        (CHAT, both(r#""MODEL":"large""#), (400, "ambiguous_key")),
        (CHAT, both(r#""mod\u0065L":"large""#), (400, "ambiguous_key")),
        (CHAT, both(r#""mod\u0065l":"large""#), (400, "duplicate_key")),
        ("/v1/responses", r#"{"Model":"large","input":"x"}"#.to_owned(), (400, "ambiguous_key")),
        (CHAT, both(r#""models":["small","large"]"#), (403, "model_not_allowed")),
        (CHAT, both("\"Model\u{17f}\":[\"large\"]"), (403, "model_not_allowed")),
        (CHAT, both(r#""fallbacks":["large"]"#), (403, "model_not_allowed")),
        (CHAT, both(r#""fallbacks":[{"small":["large"]}]"#), (403, "model_not_allowed")),
        (CHAT, both(r#""extra_body":{"model":"large"}"#), (403, "model_not_allowed")),
        (CHAT, both(r#""tools":[{"type":"image_generation","model":"large"}]"#), (403, "model_not_allowed")),
        (CHAT, both(r#""moderation":{"model":"large"}"#), (403, "model_not_allowed")),
        (CHAT, both(r#""preset":"x""#), (403, "endpoint_not_allowed")),
    ] {
        let refused = several.post_as("tg-small", path, &body).await;
        assert_eq!(status_and_code(&refused), (expected.0, expected.1.to_owned()), "{body}");
    }
    let mut bytes = both(r#""x":"?""#).into_bytes();
    bytes.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
    let refused = several.ask("tg-small", Method::POST, CHAT, "application/json", &bytes).await;
    assert_eq!(status_and_code(&refused), (400, "invalid_json".to_owned()));
    assert_eq!(several.received(), [0, 0]);

    for more in [r#""models":["small"]"#, r#""metadata":{"model":"large"}"#, r#""tools":[]"#] {
        assert_eq!(several.post_as("tg-small", CHAT, &both(more)).await.status, 200, "{more}");
    }
    // Nobody's models are checked where all are reached, and the bytes arrive.
    let lenient = both(r#""models":["large"],"Stream":false,"x":"é""#);
    assert_eq!(several.post_as("tg-free", CHAT, &lenient).await.status, 200);
    assert_eq!(several.sims[0].requests().last().unwrap().body, lenient);
}

#[tokio::test]
async fn no_other_model_is_reached_by_a_body_that_is_not_searched() {
    let several = guarded().await;
    let large = chat("large").to_string();
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nsmall\r\n--b--\r\n";
    for (path, content_type, body) in [
        (CHAT, "multipart/form-data; boundary=b", form),
        (CHAT, "text/plain", &large),
        (CHAT, "application/x-www-form-urlencoded", &large),
        (CHAT, "application/json; charset=utf-16le", &large),
        (CHAT, "application/json, text/plain", &large),
        ("/v1/evals", "multipart/form-data; boundary=b", form),
        ("/v1/threads/t/runs", "text/plain", &large),
        ("/v1/videos", "application/x-www-form-urlencoded", "model=large"),
        (TRANSCRIPTIONS, "application/x-www-form-urlencoded", "model=large"),
        (TRANSCRIPTIONS, "multipart/mixed; boundary=b", form),
        (TRANSCRIPTIONS, "application/json", &large),
    ] {
        let refused = several.ask("tg-all-paths", Method::POST, path, content_type, body.as_bytes()).await;
        assert_eq!(status_and_code(&refused), (403, "model_not_allowed".to_owned()), "{path} {content_type}");
    }
    for coding in ["gzip", "zstd", "x", "identity, br"] {
        for path in [CHAT, "/v1/evals", TRANSCRIPTIONS] {
            let request = several.http.request(Method::POST, path).header("content-encoding", coding);
            let request = request.header("authorization", "Bearer tg-all-paths");
            let refused = several.read_typed(request, "application/json", large.as_bytes()).await;
            assert_eq!(status_and_code(&refused), (403, "model_not_allowed".to_owned()), "{path} {coding}");
        }
    }
    assert_eq!(several.received(), [0, 0]);
}

#[tokio::test]
async fn no_other_model_is_reached_by_another_path_or_method() {
    let several = guarded().await;
    let request = |key: &str, target: &str, model: &str| {
        let body = chat(model).to_string();
        let (method, path) = target.split_once(' ').unwrap();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let read_as_chat = [
        "POST /v1/chat%2Fcompletions",
        "POST /v1/chat%252fcompletions",
        "POST /v1/%63hat/completions",
        "POST /v1//chat/completions",
        "POST /v1/chat//completions",
        "POST /v1/chat/completions/",
        "POST /v1/chat/completions//",
        "POST /v1/Chat/Completions",
        "POST /v1/chat/completions;v=1",
        "POST /v1/chat/completions%00",
        "POST /v1/chat/completions%20",
        "POST /v1/chat/completions%3Fx",
        "PUT /v1/chat/completions",
        "PATCH /v1/chat/completions",
    ];
    for target in read_as_chat {
        let refused = raw(several.address(), request("tg-small", target, "large").as_bytes()).await;
        assert!(
            refused.starts_with("HTTP/1.1 403") && refused.contains("model_not_allowed"),
            "{target}: {refused}"
        );
    }
    for target in [
        "POST /v1/chat;v=1/completions",
        "POST /v1/chat/completions.",
        "POST /v1/chat/completions/x/y",
        "POST /v1/chat",
        "POST /v1/messages",
        "POST /v1/engines/large/completions",
        "POST /v1",
        "BREW /v1/chat/completions",
        "OPTIONS /v1/chat/completions",
        "HEAD /v1/models",
        "POST //v1/chat/completions",
        "POST /V1/chat/completions",
        "POST /v1%2Fchat/completions",
        "POST /v1/./chat/completions",
        "POST /v1/x/../chat/completions",
        "POST /v1/x/%2e%2e/chat/completions",
        "POST /chat/completions/",
        "POST //chat/completions",
    ] {
        for key in ["tg-small", "tg-all-paths"] {
            let refused = raw(several.address(), request(key, target, "small").as_bytes()).await;
            assert!(refused.starts_with("HTTP/1.1 40"), "{target}: {refused}");
        }
    }
    let refused =
        raw(several.address(), request("tg-all-paths", "POST /v1/messages", "small").as_bytes()).await;
    assert!(
        refused.contains("endpoint_not_allowed") && refused.contains("no endpoint that is known"),
        "{refused}"
    );
    assert_eq!(several.received(), [0, 0]);

    // Who reaches everything is routed by the model, and its path goes on as it came.
    for target in read_as_chat {
        raw(several.address(), request("tg-free", target, "large").as_bytes()).await;
        let received = several.sims[1].requests();
        let received = received.last().unwrap_or_else(|| panic!("{target} went elsewhere"));
        assert_eq!(format!("{} {}", received.method, received.uri), target);
    }
    assert_eq!(several.received()[0], 0);
}

#[tokio::test]
async fn what_is_stored_takes_an_endpoint_of_its_own() {
    let several = guarded().await;
    for more in [
        r#""previous_response_id":"resp_1""#,
        r#""conversation":"conv_1""#,
        r#""conversation":{"id":"conv_1"}"#,
        r#""prompt":{"id":"pmpt_1"}"#,
        r#""input":[{"type":"item_reference","id":"msg_1"}]"#,
        r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]"#,
        r#""tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]"#,
    ] {
        let body = format!(r#"{{"model":"small",{more}}}"#);
        let before = several.received();
        let refused = several.post_as("tg-small", "/v1/responses", &body).await;
        assert_eq!(status_and_code(&refused), (403, "endpoint_not_allowed".to_owned()), "{body}");
        assert!(refused.error()["message"].as_str().unwrap().contains("client_keys.allowed_endpoints"));
        assert_eq!(several.received(), before);
        several.post_as("tg-all-paths", "/v1/responses", &body).await;
        assert_ne!(several.received(), before, "{body}");
    }
    for (method, path) in
        [(Method::GET, "/v1/responses/resp_1"), (Method::DELETE, "/v1/conversations/conv_1")]
    {
        let refused = several.ask("tg-small", method, path, "application/json", b"").await;
        assert_eq!(status_and_code(&refused), (403, "endpoint_not_allowed".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_session_runs_the_models_of_the_key() {
    let several = guarded().await;
    let secrets = "/v1/realtime/client_secrets";
    for session in [
        r#"{"session":{"type":"realtime","model":"large"}}"#,
        r#"{"session":{"model":"small","audio":{"input":{"transcription":{"model":"large"}}}}}"#,
        r#"{"session":{"type":"realtime"}}"#,
        "{}",
    ] {
        let refused = several.post_as("tg-all-paths", secrets, session).await;
        assert_eq!(status_and_code(&refused), (403, "model_not_allowed".to_owned()), "{session}");
    }
    for (method, path) in [
        (Method::GET, "/v1/realtime?model=large"),
        (Method::GET, "/v1/realtime?MODEL=large"),
        (Method::POST, "/v1/realtime/calls"),
        (Method::POST, "/v1/realtime/calls?model=small"),
        (Method::POST, "/v1/chat/completions?model=large"),
    ] {
        let body = chat("small").to_string();
        let refused = several.ask("tg-all-paths", method, path, "application/json", body.as_bytes()).await;
        assert_eq!(status_and_code(&refused), (403, "model_not_allowed".to_owned()), "{path}");
    }
    assert_eq!(several.received(), [0, 0]);
    several.post_as("tg-all-paths", secrets, r#"{"session":{"model":"small"}}"#).await;
    assert_ne!(several.received(), [0, 0]);
}

// --- forms

/// A part, with its delimiter.
fn part(disposition: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

async fn upload(several: &Several, key: &str, content_type: &str, form: &str) -> Answer {
    several.ask(key, Method::POST, TRANSCRIPTIONS, content_type, form.as_bytes()).await
}

#[tokio::test]
async fn a_form_that_can_be_read_in_two_ways_reaches_nobody() {
    let several = guarded().await;
    let plain = "multipart/form-data; boundary=b";
    let small = part("name=\"model\"", "small");
    let file = part("name=\"file\"; filename=\"a.wav\"", &"x".repeat(200_000));
    let end = "--b--\r\n";
    let evil = |disposition: &str| format!("{small}{file}{}{end}", part(disposition, "large"));
    for form in [
        evil("name*=utf-8''model"),
        evil("name=\"x\"; name=\"model\""),
        evil("name*0=\"mod\"; name*1=\"el\""),
        evil("name=\"mo\\del\""),
        evil("name=\"Model\""),
        evil("name=\"models\""),
        evil("name=\"x\"; filename=\"\\\"; name=model; \\\"\""),
        evil("name=\"x\"\r\n; name=\"model\""),
        evil("name=\"x\"\r\nContent-Disposition: form-data; name=\"model\""),
        format!("{small}{file}\n{}{end}", part("name=\"model\"", "large")),
        format!("{small}{}", evil("name=\"x\"").replace("--b\r\nContent", "--b \r\nContent")),
        format!("{small}{file}{end}{}{end}", part("name=\"model\"", "large")),
        format!("{}\r\n{small}{file}{end}", part("name=\"model\"", "large").replace("--b", "-- b")),
        format!("{small}{file}"),
        format!("{small}{file}--b"),
        format!("{small}{file}{end}\r\n"),
    ] {
        let refused = upload(&several, "tg-small", plain, &form).await;
        assert_eq!(
            status_and_code(&refused),
            (400, "ambiguous_form".to_owned()),
            "{}",
            form.replace('x', "")
        );
        assert!(refused.error()["message"].as_str().unwrap().contains("client_keys.allowed_models"));
    }
    let refused = upload(&several, "tg-small", plain, &evil("name=model")).await;
    assert_eq!(status_and_code(&refused), (400, "duplicate_key".to_owned()));
    for content_type in [
        "multipart/form-data; boundary=b; boundary=c",
        "multipart/form-data; boundary=b; boundary*=utf-8''c",
        "multipart/form-data; boundary=\"\\b\"",
        "multipart/form-data; boundary=b; charset=utf-7",
    ] {
        let refused = upload(&several, "tg-small", content_type, &format!("{small}{file}{end}")).await;
        assert_eq!(status_and_code(&refused), (400, "ambiguous_form".to_owned()), "{content_type}");
    }
    // In chunks, without a length.
    let chunked = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer tg-small\r\ncontent-type: {plain}\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{small}{file}\r\n0\r\n\r\n",
        small.len() + file.len()
    );
    let refused = raw(several.address(), chunked.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("ambiguous_form"), "{refused}");
    assert_eq!(several.received(), [0, 0], "none came to its end");

    assert_eq!(upload(&several, "tg-small", plain, &format!("{small}{file}{end}")).await.status, 200);
    // Who reaches all models may send what it likes.
    for form in [evil("name*=utf-8''model"), format!("preamble\r\n{small}{file}")] {
        upload(&several, "tg-free", plain, &form).await;
        assert!(several.sims[0].requests().last().unwrap().body == form);
    }
}

#[tokio::test]
async fn a_form_in_pieces_of_one_byte_is_read_as_one() {
    let several = guarded().await;
    let form = format!(
        "{}{}--b--\r\n",
        part("name=\"file\"; filename=\"a.wav\"", "\n--\n--ax\r\n-"),
        part("name=\"model\"", "small")
    );
    let mut request = format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer tg-free\r\n\
         content-type: multipart/form-data; boundary=b\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    .into_bytes();
    for byte in form.bytes() {
        request.extend_from_slice(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = raw(several.address(), &request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(several.sims[0].requests()[0].body == form);
}
