//! The binary, as a user starts it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

fn towergate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towergate"));
    command.args(args);
    for name in ["OPENAI_API_KEY", "OPENAI_API_KEY_FILE", "OPENAI_BASE_URL", "OPENAI_TIMEOUT"] {
        command.env_remove(name);
    }
    command
}

fn ends(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// A proxy that serves; ended when dropped.
struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("towergate is listening on http://").unwrap().to_owned();
        Self { child, stdout, address }
    }

    fn ask(&self, request: &str) -> String {
        ask(&self.address, request)
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

#[test]
fn help_teaches() {
    let (code, text) = ends(towergate(&["--help"]));
    assert_eq!(code, Some(0));
    for word in
        ["demo", "serve", "health", "OPENAI_API_KEY", "TOWERGATE_CLIENT_KEYS", "--listen", "--drain-timeout"]
    {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn without_a_provider_it_says_what_to_set() {
    for args in [&[][..], &["serve"]] {
        let (code, text) = ends(towergate(args));
        assert_eq!(code, Some(1));
        assert!(text.contains("OPENAI_API_KEY") && text.contains("towergate demo"), "{text}");
    }
}

#[test]
fn a_bad_value_is_named() {
    for (name, value) in
        [("OPENAI_TIMEOUT", "soon"), ("OPENAI_MAX_RETRIES", "-1"), ("OPENAI_BASE_URL", "ftp://x")]
    {
        let mut command = towergate(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("OPENAI_API_KEY", "sk-test").env(name, value);
        let (code, text) = ends(command);
        assert_eq!(code, Some(1), "{name}");
        assert!(text.contains(name) || text.contains("base_url"), "{name}: {text}");
    }
    let (code, text) = ends(towergate(&["serve", "--max-body", "much"]));
    assert_eq!(code, Some(2));
    assert!(text.contains("--max-body") && text.contains("64MiB"), "{text}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = ends(towergate(&["demo", "--listen", &address]));
    assert_eq!(code, Some(1));
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}

#[test]
fn the_demos_own_command_works() {
    let mut demo = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0"]));
    let mut said = String::new();
    while !said.contains("-d '") {
        assert_ne!(demo.stdout.read_line(&mut said).unwrap(), 0);
    }
    let body = said.split("-d '").nth(1).unwrap().split("'\n").next().unwrap();
    assert!(said.contains(&format!("curl http://{}/v1/chat/completions", demo.address)));
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = demo.ask(&request);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("data: [DONE]"), "{answer}");
    let metrics = demo.ask(&get("/metrics"));
    assert!(
        metrics.contains(
            "towergate_requests_total{route=\"chat.completions\",model=\"gpt-4o\",outcome=\"completed\"} 1"
        ),
        "{metrics}"
    );

    demo.signal("-TERM");
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
}

#[test]
fn with_client_keys_only_health_is_public() {
    let mut command = towergate(&["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.env("TOWERGATE_CLIENT_KEYS", "alice=right");
    let mut demo = Serving::start(command);
    let mut admin = String::new();
    demo.stdout.read_line(&mut admin).unwrap();
    let admin = admin.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();

    assert!(demo.ask(&get("/healthz")).starts_with("HTTP/1.1 200"));
    assert!(demo.ask(&get("/readyz")).starts_with("HTTP/1.1 200"));
    assert!(!demo.ask(&get("/metrics")).contains("towergate_"));
    assert!(demo.ask(&get("/v1/models")).starts_with("HTTP/1.1 401"));
    let right =
        "GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer right\r\n\r\n";
    assert!(demo.ask(right).starts_with("HTTP/1.1 200"));
    assert!(ask(&admin, &get("/metrics")).contains("towergate_requests_total"));
}

#[test]
fn health_says_how_the_provider_is() {
    let demo = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0"]));
    let url = format!("http://{}/v1", demo.address);
    let (code, text) = ends(towergate(&["health", "--base-url", &url]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("healthy"), "{text}");
    drop(demo);
    let (code, text) = ends(towergate(&["health", "--json", "--base-url", &url]));
    assert_eq!(code, Some(1));
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(report["healthy"], false);
    assert!(report["error"].is_string());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut demo = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0", "--drain-timeout", "1h"]));
    let mut held = TcpStream::connect(&demo.address).unwrap();
    let body = r#"{"model":"fault:stall-head","messages":[{"role":"user","content":"Hello!"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    held.write_all(request.as_bytes()).unwrap();
    while !demo
        .ask(&get("/metrics"))
        .contains("towergate_attempts_in_flight{provider=\"simulated-openai\"} 1")
    {}
    demo.signal("-TERM");
    // The first signal has been seen once the listener is closed.
    while TcpStream::connect(&demo.address).is_ok() {}
    demo.signal("-TERM");
    assert_eq!(demo.child.wait().unwrap().code(), Some(130));
}
