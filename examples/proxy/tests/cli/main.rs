//! The binary, as a user starts it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client_auth;
mod following;
mod limits;
mod pages;
mod values;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

fn towergate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towergate"));
    command.args(args);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["OPENAI_", "TOWERGATE_", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&*name);
        }
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
        let url = line.trim().strip_prefix("towergate is listening on ").unwrap();
        let address = url.strip_prefix("http://").or(url.strip_prefix("https://")).unwrap().to_owned();
        Self { child, stdout, address }
    }

    fn ask(&self, request: &str) -> String {
        ask(&self.address, request)
    }

    /// Ends it with SIGTERM; gives the exit code and what it logged.
    fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("-TERM");
        self.ended()
    }

    fn ended(&mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }

    /// Waits until so many attempts are under way.
    fn wait_for_attempts(&self, attempts: u32) {
        let line = format!("towergate_attempts_in_flight{{provider=\"simulated-openai\"}} {attempts}\n");
        while !self.ask(&get("/metrics")).contains(&line) {}
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
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

/// A chat request; `head` is further header fields, each with its line end.
fn post(model: &str, stream: bool, head: &str) -> String {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"Hello!"}}]}}"#
    );
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{head}\r\n{body}"
    )
}

const CLOSE: &str = "connection: close\r\n";

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

/// Past what a pipe holds, some 64 KiB: lines wait, and requests do not.
#[test]
fn requests_go_on_where_nobody_reads_the_log() {
    const REQUESTS: usize = 600;
    let serving = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0"]));
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let requests = [&*post("gpt-4o", false, "").repeat(REQUESTS - 1), &post("gpt-4o", false, CLOSE)].concat();
    let mut writer = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || writer.write_all(requests.as_bytes()));
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    sent.join().unwrap().unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), REQUESTS);
    let (code, log) = serving.terminate();
    assert_eq!(code, Some(0));
    assert!(log.len() > 128 * 1024, "{}", log.len());
    assert_eq!(log.matches("outcome=\"completed\"").count(), REQUESTS, "{log:.2000}");
}

#[test]
fn a_reader_that_has_enough_is_no_fault() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = towergate(&["schema"]);
    command.stdout(writer).stderr(Stdio::piped());
    let Output { status, stderr, .. } = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(0), ""));
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
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
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
    assert!(demo.ask(&get("/health")).starts_with("HTTP/1.1 401"));
    assert!(ask(&admin, &get("/health")).contains("simulated-openai"));
    assert!(demo.ask(&get("/v1/models")).starts_with("HTTP/1.1 401"));
    let right = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer right\r\n\r\n";
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
    assert!(report["last_error"].as_str().unwrap().contains("refused"), "{report}");
}

#[test]
fn health_shows_what_a_running_gateway_knows() {
    let demo = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0"]));
    let report = demo.ask(&get("/health"));
    assert!(
        report.starts_with("HTTP/1.1 200") && report.contains(r#""name":"simulated-openai""#),
        "{report}"
    );
    let (code, text) = ends(towergate(&["health", "--gateway", &format!("http://{}/", demo.address)]));
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("PROVIDER") && lines[1].contains("simulated-openai  healthy"), "{text}");
    drop(demo);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut demo = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0", "--drain-timeout", "1h"]));
    let mut held = TcpStream::connect(&demo.address).unwrap();
    held.write_all(post("fault:stall-head", false, "").as_bytes()).unwrap();
    demo.wait_for_attempts(1);
    demo.signal("-TERM");
    // The first signal has been seen once the listener is closed.
    while TcpStream::connect(&demo.address).is_ok() {}
    demo.signal("-TERM");
    assert_eq!(demo.child.wait().unwrap().code(), Some(130));
}

/// Asks over one connection for as long as it is kept alive, then over another. Gives how many were
/// answered once nobody listens any more; panics where a request gets no answer.
fn ask_until_refused(address: &str) -> u32 {
    let request = post("gpt-4o", false, "");
    let mut answered = 0;
    while let Ok(stream) = TcpStream::connect(address) {
        let mut stream = BufReader::new(stream);
        loop {
            stream.get_mut().write_all(request.as_bytes()).unwrap();
            let (mut length, mut last, mut line) = (0, false, String::new());
            while line != "\r\n" {
                line.clear();
                assert_ne!(stream.read_line(&mut line).unwrap(), 0, "a request was lost after {answered}");
                let field = line.trim().to_ascii_lowercase();
                length =
                    field.strip_prefix("content-length: ").map_or(length, |value| value.parse().unwrap());
                last |= field == "connection: close";
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            answered += 1;
            if last {
                break;
            }
        }
    }
    answered
}

#[test]
fn under_load_no_request_is_lost_at_sigterm() {
    let mut demo = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0", "--log", "warn"]));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = demo.address.clone();
            std::thread::spawn(move || ask_until_refused(&address))
        })
        .collect();
    while !demo.ask(&get("/metrics")).lines().any(|line| {
        line.starts_with("towergate_requests_total")
            && line.rsplit(' ').next().unwrap().parse::<u32>().unwrap() > 500
    }) {}
    demo.signal("-TERM");
    let answered: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(answered > 500);
    assert_eq!(demo.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_stream_under_way_ends_in_a_shutdown() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (sim, gate) = (towergate_sim::Sim::new(), towergate_sim::Gate::new());
    let upstream = runtime.block_on(towergate_sim::SimServer::start(sim.clone())).unwrap();
    sim.script([towergate_sim::Fault::new().hold_at(3, &gate)]).unwrap();
    let url = upstream.base_url();
    let args = ["serve", "--listen", "127.0.0.1:0", "--base-url", &url, "--drain-delay", "2s"];
    let mut proxy = Serving::start(towergate(&args));
    let mut held = TcpStream::connect(&proxy.address).unwrap();
    held.write_all(post("gpt-4o", true, CLOSE).as_bytes()).unwrap();
    runtime.block_on(gate.reached());
    proxy.signal("-TERM");
    while proxy.ask(&get("/readyz")).starts_with("HTTP/1.1 200") {}
    assert!(proxy.ask(&get("/healthz")).starts_with("HTTP/1.1 200"), "it still serves");
    gate.open();
    let mut answer = String::new();
    held.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("data: [DONE]"), "{answer}");
    let (code, log) = proxy.ended();
    assert_eq!(code, Some(0));
    assert!(log.contains("every request under way ended (1)"), "{log}");
}

#[test]
fn a_silent_websocket_ends_by_its_clock() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(towergate_sim::SimServer::start(towergate_sim::Sim::new())).unwrap();
    let url = upstream.base_url();
    let args = ["serve", "--listen", "127.0.0.1:0", "--base-url", &url, "--tunnel-idle", "300ms"];
    let proxy = Serving::start(towergate(&args));
    let mut socket = TcpStream::connect(&proxy.address).unwrap();
    let handshake = "GET /v1/echo HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(handshake.as_bytes()).unwrap();
    let mut got = Vec::new();
    // It is never answered, so that it is dropped in the end.
    let _ = socket.read_to_end(&mut got);
    // Close, 1001.
    let closed = got.windows(4).any(|frame| frame[0] == 0x88 && frame[2..] == [3, 0xe9]);
    assert!(got.starts_with(b"HTTP/1.1 101") && closed, "{}", String::from_utf8_lossy(&got));
    assert_eq!(ends(towergate(&["serve", "--base-url", &url, "--tunnel-idle", "0s"])).0, Some(1));
}

#[test]
fn a_signal_at_once_is_not_missed() {
    let (code, _) = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0"])).terminate();
    assert_eq!(code, Some(0));
}

#[test]
fn what_the_drain_timeout_cuts_is_reported() {
    let demo = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0", "--drain-timeout", "100ms"]));
    let mut held = TcpStream::connect(&demo.address).unwrap();
    held.write_all(post("fault:stall-head", false, "").as_bytes()).unwrap();
    demo.wait_for_attempts(1);
    let (code, log) = demo.terminate();
    assert_eq!(code, Some(0));
    assert!(log.contains("1 requests were cut") && log.contains("--drain-timeout"), "{log}");
}

#[test]
fn log_lines_tell_the_story_of_a_request() {
    let mut command =
        towergate(&["demo", "--listen", "127.0.0.1:0", "--log", "debug", "--log-format", "json"]);
    command.env("OPENAI_MAX_RETRIES", "1");
    let demo = Serving::start(command);
    let id = |id: &str| format!("x-request-id: {id}\r\n{CLOSE}");
    assert!(demo.ask(&post("gpt-4o", false, &id("good"))).starts_with("HTTP/1.1 200"));
    assert!(demo.ask(&post("fault:status=503", false, &id("bad"))).starts_with("HTTP/1.1 502"));
    let (_, log) = demo.terminate();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let about = |id: &str, level: &str| {
        let mut found = lines
            .iter()
            .filter(|line| line["span"].to_string().contains(id) || line["spans"].to_string().contains(id));
        found.find(|line| line["level"] == level).unwrap_or_else(|| panic!("{level} of {id}: {log}"))
    };
    let attempt = about("good", "DEBUG");
    assert_eq!((&attempt["attempt"], &attempt["max_attempts"]), (&1.into(), &2.into()));
    assert_eq!((&attempt["request_id"], &attempt["model"]), (&"good".into(), &"gpt-4o".into()));
    let done = about("good", "INFO");
    assert!(done["elapsed_ms"].is_u64(), "{done}");
    assert_eq!(
        (&done["span"]["request_id"], &done["span"]["outcome"]),
        (&"good".into(), &"completed".into())
    );
    let retried = about("bad", "WARN");
    assert_eq!((&retried["status"], &retried["request_id"]), (&503.into(), &"bad".into()));
    let gave_up = about("bad", "ERROR");
    assert!(gave_up["elapsed_ms"].is_u64(), "{gave_up}");
    assert_eq!((&gave_up["span"]["request_id"], &gave_up["attempts"]), (&"bad".into(), &2.into()));
}

#[test]
fn client_keys_come_from_one_place() {
    let mut command = towergate(&["demo", "--listen", "127.0.0.1:0", "--client-keys-file", "keys"]);
    command.env("TOWERGATE_CLIENT_KEYS", "one");
    let (code, text) = ends(command);
    assert_eq!(code, Some(1));
    assert!(text.contains("TOWERGATE_CLIENT_KEYS") && text.contains("--client-keys-file"), "{text}");
    let (code, text) =
        ends(towergate(&["demo", "--listen", "127.0.0.1:0", "--client-keys-file", "/no/keys"]));
    assert_eq!(code, Some(1));
    assert!(text.contains("/no/keys"), "{text}");
}

#[test]
fn the_key_comes_from_a_fifo_and_the_clients_key_stays_here() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sim = towergate_sim::Sim::new().require_key("sk-from-the-fifo");
    let upstream = runtime.block_on(towergate_sim::SimServer::start(sim.clone())).unwrap();
    let fifo = std::env::temp_dir().join(format!("towergate-cli-{}", std::process::id()));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::write(fifo, "sk-from-the-fifo\n").unwrap()
    });
    let mut command = towergate(&["serve", "--listen", "127.0.0.1:0", "--base-url", &upstream.base_url()]);
    command.env("OPENAI_API_KEY_FILE", &fifo).env("TOWERGATE_CLIENT_KEYS", "the-clients-own");
    let proxy = Serving::start(command);
    writer.join().unwrap();
    std::fs::remove_file(&fifo).unwrap();

    let wrong = proxy.ask(&post("gpt-4o", false, &format!("authorization: Bearer wrong\r\n{CLOSE}")));
    assert!(wrong.starts_with("HTTP/1.1 401") && wrong.contains("\"error\""), "{wrong}");
    let right = format!("authorization: Bearer the-clients-own\r\n{CLOSE}");
    assert!(proxy.ask(&post("gpt-4o", false, &right)).starts_with("HTTP/1.1 200"));
    let requests = sim.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].headers["authorization"], "Bearer sk-from-the-fifo");
    assert!(!format!("{:?}", requests[0].headers).contains("the-clients-own"));
}

#[test]
fn an_open_door_is_warned_of_once() {
    let warnings = |listen: &str, keys: Option<&str>| {
        let mut command = towergate(&["demo", "--listen", listen]);
        if let Some(keys) = keys {
            command.env("TOWERGATE_CLIENT_KEYS", keys);
        }
        let proxy = Serving::start(command);
        let address = proxy.address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        assert!(!ask(&address, &get("/metrics")).contains("towergate_"), "not for strangers");
        let (_, log) = proxy.terminate();
        log.matches("TOWERGATE_CLIENT_KEYS").count()
    };
    let mut listeners = vec!["0.0.0.0:0"];
    listeners.extend(std::net::TcpListener::bind("[::]:0").is_ok().then_some("[::]:0"));
    for listen in listeners {
        assert_eq!(warnings(listen, None), 1, "{listen}");
        assert_eq!(warnings(listen, Some("right")), 0, "{listen}");
    }
}

#[test]
fn no_flag_takes_a_secret() {
    let (_, text) = ends(towergate(&["serve", "--help"]));
    let flags = text.split_whitespace().filter(|word| word.starts_with("--"));
    for flag in flags {
        assert!(!["--api-key", "--key", "--client-keys", "--token"].contains(&flag), "{flag}");
    }
    let (code, _) = ends(towergate(&["serve", "--api-key", "sk-test"]));
    assert_eq!(code, Some(2));
}
