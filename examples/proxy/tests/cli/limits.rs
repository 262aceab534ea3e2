//! Limits of the process: file descriptors, and what becomes of connections where they run out.

use std::{io::ErrorKind, time::Duration};

use tokio::time::Instant;

use super::*;

/// The proxy with so many file descriptors, and no way to more.
fn with_descriptors(limit: u32, args: &[&str]) -> Command {
    let inner = towergate(args);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// The operators' address, which the second line names.
fn admin(serving: &mut Serving) -> String {
    let mut line = String::new();
    serving.stdout.read_line(&mut line).unwrap();
    line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned()
}

const LISTEN: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

#[test]
fn as_many_strangers_as_descriptors_keep_nobody_out() {
    // They take descriptors here as well.
    towergate::server::raise_descriptor_limit().unwrap();
    let mut command = with_descriptors(1024, &[&["demo"], &LISTEN[..]].concat());
    command.env("TOWERGATE_CLIENT_KEYS", "right");
    let mut demo = Serving::start(command);
    let admin = admin(&mut demo);
    let mut strangers = Vec::new();
    for first in ["", "GET / HTTP/1.1\r\nx: y", &get("/v1/models").replace("connection: close\r\n", "")]
        .into_iter()
        .cycle()
        .take(1024)
    {
        let mut stranger = TcpStream::connect(&demo.address).unwrap();
        stranger.write_all(first.as_bytes()).unwrap();
        strangers.push(stranger);
    }
    for address in [&demo.address, &admin] {
        assert!(ask(address, &get("/readyz")).starts_with("HTTP/1.1 200"));
    }
    let keyed = format!("authorization: Bearer right\r\n{CLOSE}");
    for _ in 0..3 {
        assert!(demo.ask(&post("gpt-4o", true, &keyed)).contains("data: [DONE]"));
    }
    assert!(ask(&admin, &get("/metrics")).contains("connections_evicted_total{kind=\"unauthenticated\"}"));
    drop(strangers);
}

#[test]
fn no_descriptor_for_the_provider_is_no_fault_of_its_own() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let upstream = runtime.block_on(towergate_sim::SimServer::start(towergate_sim::Sim::new())).unwrap();
    let url = upstream.base_url();
    let args = [&["serve", "--base-url", &url, "--max-connections", "64"], &LISTEN[..]].concat();
    let mut proxy = Serving::start(with_descriptors(128, &args));
    let admin = admin(&mut proxy);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Each takes one descriptor of its own, and one for the provider.
    let mut clients: Vec<_> = (0..64)
        .map(|_| {
            let mut client = TcpStream::connect(&proxy.address).unwrap();
            client.write_all(post("fault:stall-head", false, CLOSE).as_bytes()).unwrap();
            client.set_nonblocking(true).unwrap();
            client
        })
        .collect();
    let mut refused = String::new();
    while refused.is_empty() {
        assert!(Instant::now() < deadline, "nobody was refused");
        for client in &mut clients {
            match client.read_to_string(&mut refused) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    for part in ["out_of_file_descriptors", "ulimit -n", "server.max_connections", "connection_limit_reached"]
    {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    // Now, with none left, too.
    assert!(ask(&admin, &get("/readyz")).starts_with("HTTP/1.1 200"));
    drop(clients);
    while !proxy.ask(&post("gpt-4o", false, CLOSE)).starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "it does not recover");
    }
    let metrics = ask(&admin, &get("/metrics"));
    // A breaker that never changed has no series.
    for failure in ["towergate_breaker_state{", "outcome=\"upstream_error\""] {
        for line in metrics.lines().filter(|line| line.contains(failure)) {
            assert!(line.ends_with(" 0"), "{line}");
        }
    }
    let (_, log) = proxy.terminate();
    assert!(log.contains("there is no file descriptor left for a connection to the provider"), "{log:.4000}");
}
