//! The example, as a user starts it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Command,
};
use towergate_sim::{Sim, SimServer};

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_serves_what_it_says() {
    let upstream = SimServer::start(Sim::new().require_key("sk-example")).await.unwrap();
    let mut app = Command::new(env!("CARGO_BIN_EXE_example-hyper-app"))
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

    assert!(get(address, "/v1/models").await.contains("gpt-4o"));
    assert!(get(address, "/nowhere").await.starts_with("HTTP/1.1 404"));
}
