//! The real OpenAI. These need `OPENAI_API_KEY` and cost a fraction of a cent:
//!
//! ```text
//! OPENAI_API_KEY=sk-... cargo test -p towergate-tests --test it -- --ignored real_openai
//! ```

use std::net::SocketAddr;

use serde_json::json;
use towergate::{Gateway, OpenAiProvider, server::Server};

use super::support::Http;

const NEEDS_KEY: &str = "set OPENAI_API_KEY: this test asks the real OpenAI";

/// A small model that answers at once.
const MODEL: &str = "gpt-4o-mini";

/// A gateway in front of the OpenAI of the environment, for as long as the runtime lives.
async fn gateway() -> Http {
    assert!(std::env::var_os("OPENAI_API_KEY").is_some(), "{NEEDS_KEY}");
    let provider = OpenAiProvider::from_env().await.unwrap().build().unwrap();
    let gateway = Gateway::builder().provider(provider).build().unwrap();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::builder().listen(listen).bind(gateway).await.unwrap();
    let http = Http::new(format!("http://{}", server.local_addr()), false);
    tokio::spawn(server.serve(std::future::pending()));
    http
}

fn question(stream: bool) -> serde_json::Value {
    json!({
        "model": MODEL,
        "stream": stream,
        "max_completion_tokens": 16,
        "messages": [{"role": "user", "content": "Say hi."}],
    })
}

#[tokio::test]
#[ignore = "needs OPENAI_API_KEY, and asks the real OpenAI"]
async fn lists_models() {
    let answer = gateway().await.get("/v1/models").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["data"].as_array().is_some_and(|models| !models.is_empty()));
    assert!(answer.header("x-upstream-request-id").is_some());
}

#[tokio::test]
#[ignore = "needs OPENAI_API_KEY, and asks the real OpenAI"]
async fn completes_a_chat() {
    let answer = gateway().await.chat(&question(false)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert!(answer["choices"][0]["message"]["content"].is_string(), "{answer}");
    assert!(answer["usage"]["total_tokens"].as_u64() > Some(0), "{answer}");
}

#[tokio::test]
#[ignore = "needs OPENAI_API_KEY, and asks the real OpenAI"]
async fn streams_a_chat() {
    let answer = gateway().await.chat(&question(true)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.whole && answer.text().trim_end().ends_with("data: [DONE]"), "{answer:?}");
}
