//! Models under other names: in JSON, in forms, and what is bound to one provider.

use http::Method;
use http_body_util::Full;
use towergate::Candidate;

use crate::support::{Answer, Several};

/// Both serve `fast`, the first under another name; the second alone serves `own`.
async fn aliased() -> Several {
    Several::of(2)
        .provider(|provider| provider.max_retries(0))
        .routing(|routing| {
            routing
                .candidate("a", Candidate::new().alias("fast", "whisper-large-v3"))
                .candidate("b", Candidate::new().priority(2).model("fast").model("own"))
        })
        .start()
        .await
}

#[tokio::test]
async fn no_byte_but_the_name_changes() {
    let several = aliased().await;
    let body = "\t{ \"messages\" : [{\"role\":\"user\",\"content\":\"\\u00e9 \\\"model\\\":\\\"fast\\\"\"}],\n \
                \"mod\\u0065l\" :\r\n\"f\\u0061st\" , \"x\": 1.50e+3, \"x\":null, \"metadata\":{\"model\":\"fast\"} }\n";
    several.sims[0].script(["ok", "503"]).unwrap();
    for (place, expected) in
        [(0, body.replace("\"f\\u0061st\"", "\"whisper-large-v3\"")), (1, body.to_owned())]
    {
        let request = several.http.request(Method::POST, "/v1/chat/completions");
        let request = request.header("content-type", "application/json").body(Full::from(body)).unwrap();
        let answer = several.http.read(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let received = several.sims[place].requests();
        assert_eq!(received[0].body, expected);
        assert_eq!(received[0].headers["content-length"], expected.len().to_string());
    }
}

async fn upload(several: &Several, path: &str, model: &str, file: &[u8]) -> (Answer, Vec<u8>) {
    let head = format!(
        "--7d1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--7d1\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
    );
    let form = [head.as_bytes(), file, b"\r\n--7d1--\r\n"].concat();
    let request = several.http.request(Method::POST, path);
    let request = request.header("content-type", "multipart/form-data; boundary=7d1");
    (several.http.read(request.body(Full::from(form.clone())).unwrap()).await, form)
}

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

#[tokio::test]
async fn a_form_is_routed_by_its_model_and_arrives_as_it_was_sent() {
    let several = aliased().await;
    let file: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (answer, form) = upload(&several, TRANSCRIPTIONS, "own", &file).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-towergate-provider")), (200, Some("b")));
    assert!(several.sims[1].requests()[0].body == form);

    let (answer, form) = upload(&several, TRANSCRIPTIONS, "fast", &file).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-towergate-model")), (200, Some("whisper-large-v3")));
    let at = form.windows(4).position(|window| window == b"fast").unwrap();
    let renamed = [&form[..at], b"whisper-large-v3", &form[at + 4..]].concat();
    let received = &several.sims[0].requests()[0];
    assert!(received.body == renamed);
    assert_eq!(received.headers["content-length"], renamed.len().to_string());

    let (unknown, _) = upload(&several, TRANSCRIPTIONS, "nobodys", b"x").await;
    assert_eq!((unknown.status.as_u16(), unknown.error()["code"].as_str()), (404, Some("model_not_found")));
}

#[tokio::test]
async fn a_small_upload_is_handed_over_and_a_large_one_stays() {
    let several = aliased().await;
    several.sims[0].script(["503", "503"]).unwrap();
    let (answer, form) = upload(&several, TRANSCRIPTIONS, "fast", &[0; 100_000]).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-towergate-provider")), (200, Some("b")));
    assert!(several.sims[1].requests()[0].body == form, "under the name that the other one has for it");
    let (answer, _) = upload(&several, TRANSCRIPTIONS, "fast", &[0; 2_000_000]).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-towergate-provider")), (502, Some("a")));
    assert_eq!(several.received(), [2, 1]);
}

#[tokio::test]
async fn what_belongs_to_one_provider_is_neither_sprayed_nor_handed_over() {
    let several = Several::of(3)
        .provider(|provider| provider.max_retries(0))
        .routing(|routing| {
            let equal = || Candidate::new().priority(1);
            routing
                .candidate("a", equal())
                .candidate("b", equal())
                .candidate("c", equal())
                .default_provider("b")
        })
        .start()
        .await;
    for path in ["/v1/files/file-1", "/v1/batches", "/v1/responses/resp_1", "/v1/vector_stores/vs_1"] {
        for _ in 0..3 {
            several.http.get(path).await;
        }
    }
    assert_eq!(several.received(), [0, 12, 0]);
    several.sims[1].script(["503; times=2"]).unwrap();
    assert_eq!(several.http.get("/v1/files/file-1").await.status, 502);
    let owned = several.http.request(Method::GET, "/v1/files/file-1").header("x-towergate-provider", "c");
    let answer = several.http.read(owned.body(Full::default()).unwrap()).await;
    assert_eq!(answer.header("x-towergate-provider"), Some("c"));
    assert_eq!(several.received(), [0, 13, 1]);
    let stored = serde_json::json!({"model": "gpt-4o", "input": "x", "previous_response_id": "resp_1"});
    let served: Vec<_> =
        futures_util::future::join_all((0..6).map(|_| several.http.post("/v1/responses", &stored))).await;
    let first = served[0].header("x-towergate-provider").unwrap();
    assert!(served.iter().all(|answer| answer.header("x-towergate-provider") == Some(first)));
}
