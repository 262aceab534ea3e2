//! Web pages in the browser of whoever runs it.

use std::path::Path;

use super::{CLOSE, Serving, ends, towergate};

const LOCAL: [&str; 3] = ["demo", "--listen", "127.0.0.1:0"];

fn get(path: &str, head: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{head}\r\n")
}

/// What a page sends with `fetch(url, {method: "POST", mode: "no-cors", body})`.
fn simple_post(origin: &str) -> String {
    let head = format!("{CLOSE}origin: {origin}\r\nsec-fetch-site: cross-site\r\n");
    super::post("gpt-4o", false, &head).replace("content-type: application/json", "content-type: text/plain")
}

#[track_caller]
fn refused(answer: &str, setting: &str) {
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(setting), "{answer}");
}

#[test]
fn without_client_keys_no_page_spends_the_key_or_reads_anything() {
    let serving = Serving::start(towergate(&LOCAL));
    refused(&serving.ask(&simple_post("https://evil.example")), "server.allowed_origins");
    for path in ["/v1/models", "/metrics", "/health", "/healthz", "/readyz"] {
        refused(&serving.ask(&get(path, "host: evil.example:8080\r\n")), "server.allowed_hosts");
        let own = serving.ask(&get(path, &format!("host: {}\r\n", serving.address)));
        assert!(own.starts_with("HTTP/1.1 200"), "{own}");
    }
    let websocket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: \
                     dGhlIHNhbXBsZSBub25jZQ==\r\nhost: localhost\r\norigin: https://evil.example\r\n";
    refused(&serving.ask(&get("/v1/realtime", websocket)), "server.allowed_origins");
}

#[test]
fn a_listener_for_others_answers_to_addresses_and_private_names() {
    let serving = Serving::start(towergate(&["demo", "--listen", "0.0.0.0:0"]));
    for host in ["10.0.0.5:8080", "towergate:8080", "[fd00::1]:8080"] {
        let answer = serving.ask(&get("/v1/models", &format!("host: {host}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    refused(&serving.ask(&get("/v1/models", "host: evil.example\r\n")), "server.allowed_hosts");
}

#[test]
fn flags_and_variables_let_in_what_they_name() {
    let mut command = towergate(&LOCAL);
    command.args([
        "--allowed-hosts",
        "gateway.example.com, *.corp.example",
        "--cors",
        "https://app.example.com",
    ]);
    command.env("TOWERGATE_ALLOWED_ORIGINS", "null,http://localhost:*");
    let serving = Serving::start(command);
    for host in ["gateway.example.com", "a.corp.example"] {
        assert!(serving.ask(&get("/v1/models", &format!("host: {host}\r\n"))).starts_with("HTTP/1.1 200"));
    }
    for (origin, reads) in
        [("https://app.example.com", true), ("null", false), ("http://localhost:3000", false)]
    {
        let answer = serving.ask(&simple_post(origin));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains(&format!("access-control-allow-origin: {origin}\r\n")), reads, "{answer}");
    }
    refused(&serving.ask(&simple_post("https://evil.example")), "server.cors");
}

#[test]
fn what_a_file_names_is_explained_and_follows_it() {
    let upstream = Serving::start(towergate(&LOCAL));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages.yaml");
    let write = |server: &str| {
        let provider = format!("{{base_url: 'http://{}/v1'}}", upstream.address);
        std::fs::write(&file, format!("providers: {{a: {provider}}}\nserver: {{{server}}}\n")).unwrap();
    };
    write("cors: https://app.example.com, allowed_hosts: [gateway.example.com]");
    let path = file.to_str().unwrap();
    let (code, said) = ends(towergate(&["explain", "--config", path, "--allowed-origins", "null"]));
    assert_eq!(code, Some(0));
    let row = |name: &str, value: &str, origin: &str| {
        let is_it = |line: &str| line.contains(name) && line.contains(value) && line.contains(origin);
        assert!(said.lines().any(is_it), "{name}: {said}");
    };
    row("server.cors", "https://app.example.com", "pages.yaml:2:");
    row("server.allowed_hosts", "gateway.example.com", "pages.yaml:2:");
    row("server.allowed_origins", "null", "--allowed-origins");

    let serving = Serving::start(towergate(&["serve", "--listen", "127.0.0.1:0", "--config", path]));
    let status = |origin: &str| serving.ask(&simple_post(origin))[9..12].to_owned();
    assert_eq!(
        (status("https://app.example.com"), status("https://new.example.com")),
        ("200".into(), "403".into())
    );
    // The addresses of the file are those of the next start.
    write("cors: [https://new.example.com], listen: '0.0.0.0:1'");
    serving.signal("-HUP");
    while status("https://new.example.com") != "200" {}
    assert_eq!(status("https://app.example.com"), "403");
    refused(&serving.ask(&get("/v1/models", "host: gateway.example.com\r\n")), "server.allowed_hosts");
    refused(&serving.ask(&get("/v1/models", "host: 10.0.0.5\r\n")), "server.allowed_hosts");
}
