//! Files that are read once, or followed while it serves.

use std::{io::BufRead as _, path::Path, process::Command};

use super::{CLOSE, Serving, ask, ends, get, post, towergate};

#[test]
fn a_hangup_puts_the_new_file_in_force_and_a_bad_one_not() {
    let upstream = Serving::start(towergate(&["demo", "--listen", "127.0.0.1:0"]));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hangup.yaml");
    let write = |name: &str| {
        let text = format!("providers: {{{name}: {{base_url: 'http://{}/v1'}}}}\n", upstream.address);
        std::fs::write(&file, text).unwrap();
    };
    write("one");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    let serving = Serving::start(towergate(&arguments));
    let served_by = |name: &str| {
        let answer = serving.ask(&post("gpt-4o", false, CLOSE));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.contains(&format!("x-towergate-provider: {name}\r\n"))
    };
    assert!(served_by("one"));
    write("two");
    serving.signal("-HUP");
    while !served_by("two") {}
    std::fs::write(&file, "providers: {three: {typo: 1}}\n").unwrap();
    serving.signal("-HUP");
    while !serving.ask(&get("/metrics")).contains("towergate_config_reloads_total{result=\"refused\"} 1") {}
    assert!(served_by("two"));
    let (code, log) = serving.terminate();
    assert_eq!(code, Some(0));
    assert!(log.contains("providers.three.typo: there is no such setting"), "{log}");
}

#[test]
fn a_hangup_without_a_file_ends_nothing() {
    let serving = Serving::start(towergate(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--base-url",
        "http://127.0.0.1:1/v1",
    ]));
    serving.signal("-HUP");
    assert!(serving.ask(&get("/healthz")).starts_with("HTTP/1.1 200"));
    assert_eq!(serving.terminate().0, Some(0));
}

#[test]
fn with_a_certificate_it_speaks_tls_and_a_hangup_takes_a_new_one() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (certificate, key) = (folder.join("listener.crt"), folder.join("listener.key"));
    let write = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    };
    write();
    let (serving, admin) = with_admin(&["demo", "--listen", "127.0.0.1:0"], |command| {
        command.env("TOWERGATE_TLS_CERT", &certificate).arg("--tls-key").arg(&key);
    });
    assert!(serving.ask(&get("/v1/models")).contains("use https://"));
    let counted = |series: &str| ask(&admin, &get("/metrics")).contains(series);
    // It is counted once the answer is out.
    while !counted("towergate_tls_handshakes_total{result=\"plain_http\"} 1") {}
    write();
    serving.signal("-HUP");
    while !counted("towergate_tls_reloads_total{result=\"applied\"}") {}
    std::fs::write(&key, "canary").unwrap();
    serving.signal("-HUP");
    while !counted("towergate_tls_reloads_total{result=\"refused\"}") {}
    let (code, log) = serving.terminate();
    assert_eq!(code, Some(0));
    assert!(log.contains("listener.key holds no private key") && !log.contains("canary"), "{log}");

    let mut command = towergate(&["demo"]);
    command.arg("--tls-cert").arg(&certificate);
    let (code, said) = ends(command);
    assert_eq!(code, Some(1));
    assert!(said.contains("cert_file and key_file need each other"), "{said}");
    let mut command = towergate(&["demo", "--tls-cert", "/nonexistent.crt"]);
    command.arg("--tls-key").arg(&key);
    let (_, said) = ends(command);
    assert!(said.contains("/nonexistent.crt cannot be read") && said.contains("--tls-cert"), "{said}");
}

#[test]
fn a_configuration_that_can_be_read_only_once_is() {
    let fifo = Path::new(env!("CARGO_TARGET_TMPDIR")).join("once.yaml");
    let _ = std::fs::remove_file(&fifo);
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let writing = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::write(fifo, "providers: {a: {type: ollama}}\n").unwrap()
    });
    let mut command = towergate(&["serve", "--listen", "127.0.0.1:0", "--config"]);
    command.arg(&fifo);
    let serving = Serving::start(command);
    writing.join().unwrap();
    assert!(serving.ask(&get("/readyz")).starts_with("HTTP/1.1 200"));
}

/// Starts it with an admin listener, and gives that one's address.
pub(super) fn with_admin(arguments: &[&str], with: impl FnOnce(&mut Command)) -> (Serving, String) {
    let mut command = towergate(arguments);
    command.args(["--admin-listen", "127.0.0.1:0"]);
    with(&mut command);
    let mut serving = Serving::start(command);
    let mut line = String::new();
    serving.stdout.read_line(&mut line).unwrap();
    (serving, line.split(['/', ' ']).nth(3).unwrap().to_owned())
}

/// Has it read its configuration again.
pub(super) fn reload(serving: &Serving, admin: &str) {
    serving.signal("-HUP");
    while !ask(admin, &get("/metrics")).contains("towergate_config_reloads_total{result=\"applied\"}") {}
}

#[test]
fn client_keys_that_can_be_read_only_once_hold_after_a_reload() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (config, fifo) = (folder.join("once-keys.yaml"), folder.join("once.keys"));
    std::fs::write(&config, "providers: {a: {type: ollama}}\n").unwrap();
    let _ = std::fs::remove_file(&fifo);
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let writing = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::write(fifo, "alice=tg-alice\n").unwrap()
    });
    let (serving, admin) = with_admin(&["serve", "--listen", "127.0.0.1:0"], |command| {
        command.arg("--config").arg(&config).arg("--client-keys-file").arg(&fifo);
    });
    writing.join().unwrap();
    assert!(serving.ask(&get("/v1/models")).starts_with("HTTP/1.1 401"));
    reload(&serving, &admin);
    assert!(serving.ask(&get("/v1/models")).starts_with("HTTP/1.1 401"));
}

#[test]
fn a_reload_that_takes_the_last_client_key_away_is_as_loud_as_a_start_without() {
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("open.yaml");
    let write =
        |keys: &str| std::fs::write(&config, format!("providers: {{a: {{type: ollama}}}}\n{keys}")).unwrap();
    write("client_keys: {alice: {key: tg-alice}}\n");
    let (serving, admin) = with_admin(&["serve", "--listen", "0.0.0.0:0"], |command| {
        command.arg("--config").arg(&config);
    });
    write("server: {client_auth: disabled}\n");
    reload(&serving, &admin);
    let (_, log) = serving.terminate();
    assert_eq!(log.matches("can spend the providers' keys").count(), 1, "{log}");
}
