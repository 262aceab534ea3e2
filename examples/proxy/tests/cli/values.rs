//! Settings are named as the user has them: in what is wrong with them, and in what they cause.

use std::net::{Ipv4Addr, TcpListener};

use super::*;

#[test]
fn a_bad_value_is_named() {
    for (name, value) in [
        ("OPENAI_TIMEOUT", "soon"),
        ("OPENAI_MAX_RETRIES", "-1"),
        ("OPENAI_BASE_URL", "ftp://x"),
        ("OPENAI_ORG_ID", "a\nb"),
        ("OPENAI_PROJECT_ID", "a\nb"),
        ("OPENAI_API_KEY_FILE", "/no/such/key"),
        ("TOWERGATE_ADMIN_LISTEN", "here"),
        ("TOWERGATE_MAX_CONNECTIONS", "0"),
        ("TOWERGATE_AUTHENTICATION_TIMEOUT", "0s"),
        ("TOWERGATE_MAX_HEADER_BYTES", "1KiB"),
        ("TOWERGATE_MAX_HEADERS", "0"),
        ("TOWERGATE_MAX_STREAMS", "many"),
        ("TOWERGATE_ALLOWED_HOSTS", "gateway.example.com:8080"),
        ("TOWERGATE_ALLOWED_ORIGINS", "app.example.com"),
        ("TOWERGATE_CORS", "all"),
        ("TOWERGATE_MAX_BODY", "much"),
        ("TOWERGATE_MAX_UPLOAD", "-1"),
        ("TOWERGATE_MAX_IN_FLIGHT", "some"),
        ("TOWERGATE_STREAM_KEEP_ALIVE", "now"),
        ("TOWERGATE_TOTAL_TIMEOUT", "soon"),
        ("TOWERGATE_TUNNEL_IDLE", "soon"),
        ("TOWERGATE_DRAIN_DELAY", "soon"),
        ("TOWERGATE_DRAIN_TIMEOUT", "soon"),
        ("TOWERGATE_LOG_FORMAT", "xml"),
        ("TOWERGATE_PASS_THROUGH_AUTH", "maybe"),
        ("TOWERGATE_UPSTREAM_HTTP2", "maybe"),
    ] {
        let mut command = towergate(&["serve", "--listen", "127.0.0.1:0"]);
        if name != "OPENAI_API_KEY_FILE" {
            command.env("OPENAI_API_KEY", "sk-test");
        }
        command.env(name, value);
        let (code, text) = ends(command);
        assert_eq!(code, Some(if name.starts_with("OPENAI_") { 1 } else { 2 }), "{name}");
        assert!(text.contains(name), "{name}: {text}");
    }
    let mut command = towergate(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("OPENAI_API_KEY", "sk-test").env("TOWERGATE_TOTAL_TIMEOUT", "0");
    let (_, text) = ends(command);
    assert!(text.contains("server.total_timeout is zero"), "{text}");
    let (code, text) = ends(towergate(&["serve", "--max-body", "much"]));
    assert_eq!(code, Some(2));
    assert!(text.contains("--max-body") && text.contains("64MiB"), "{text}");
    assert!(!text.contains("TOWERGATE_MAX_BODY"), "{text}");
}

#[test]
fn a_clock_that_a_variable_sets_is_named_by_it() {
    // Connections are had, and nobody answers on them.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = towergate(&["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("OPENAI_BASE_URL", format!("http://{}/v1", silent.local_addr().unwrap()))
        .env("OPENAI_TIMEOUT", "0.2")
        .env("OPENAI_MAX_RETRIES", "0");
    let proxy = Serving::start(command);
    let answer = proxy.ask(&post("gpt-4o", false, CLOSE));
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("head_timeout"), "{answer}");
    assert!(answer.contains("[setting: OPENAI_TIMEOUT]"), "{answer}");
}
