//! The example, as a user starts it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Stdio;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Command,
};
use towergate_sim::{Sim, SimServer};

/// Asks for a completion; the whole answer, head and all.
async fn ask(address: &str, stream: bool) -> String {
    let question =
        json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "Hello!"}]});
    let question = question.to_string();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{question}",
        question.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_takes_over_where_openai_does_not_answer() {
    let upstream = SimServer::start(Sim::new().require_key("sk-example")).await.unwrap();
    let mut app = Command::new(env!("CARGO_BIN_EXE_example-own-provider"))
        .arg("127.0.0.1:0")
        .env("OPENAI_API_KEY", "sk-example")
        .env_remove("OPENAI_API_KEY_FILE")
        .env("OPENAI_BASE_URL", upstream.base_url())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(app.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();

    let answer = ask(address, false).await;
    assert!(
        answer.contains("x-towergate-provider: openai") && answer.contains("You said: Hello!"),
        "{answer}"
    );
    upstream.sim().script(["503; times=100"]).unwrap();
    for stream in [false, true] {
        let answer = ask(address, stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("Please come again later."),
            "{answer}"
        );
        assert!(answer.contains("x-towergate-provider: offline"), "{answer}");
        assert_eq!(answer.contains("data: [DONE]"), stream, "{answer}");
    }
}
