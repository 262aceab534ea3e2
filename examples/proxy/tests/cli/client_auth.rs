//! Client authentication is turned off in words, and never by what is empty.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{
    Serving, ask, ends,
    following::{reload, with_admin},
    get, towergate,
};

const LOCAL: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// `serve`, `demo` and `check` with a setting, which all refuse it; gives what they say.
fn refused(name: &str, value: impl AsRef<OsStr>) -> [String; 4] {
    let config = file("refused.yaml", "providers: {a: {type: ollama}}\n");
    let config = config.to_str().unwrap();
    let base_url = ["serve", "--base-url", "http://127.0.0.1:1/v1"];
    let commands: [&[&str]; 4] = [&base_url, &["serve", "--config", config], &["demo"], &["check", config]];
    commands.map(|arguments| {
        let mut command = towergate(arguments);
        command.env(name, &value);
        if arguments[0] != "check" {
            command.args(LOCAL);
        }
        let (code, text) = ends(command);
        assert!(code.is_some_and(|code| code != 0), "{arguments:?}: {text}");
        assert!(!text.contains("listening"), "{text}");
        text
    })
}

#[test]
fn an_empty_list_of_keys_is_an_error_that_says_how_everybody_may_come_in() {
    // What is left of TOWERGATE_CLIENT_KEYS=${KEYS:-}.
    for empty in ["", " ", ",", " , ,", "# none yet"] {
        for text in refused("TOWERGATE_CLIENT_KEYS", empty) {
            assert!(text.contains("TOWERGATE_CLIENT_KEYS holds no client key"), "{empty:?}: {text}");
            assert!(text.contains("TOWERGATE_CLIENT_AUTH=disabled"), "{empty:?}: {text}");
        }
    }
    let path = file("empty.keys", "");
    for text in refused("TOWERGATE_CLIENT_KEYS_FILE", &path) {
        assert!(text.contains("empty.keys holds no client key"), "{text}");
        assert!(text.contains("TOWERGATE_CLIENT_AUTH=disabled"), "{text}");
    }
    for (name, value, says) in [
        ("TOWERGATE_CLIENT_KEYS", "alice=", "client key 1: a client key is empty"),
        ("TOWERGATE_CLIENT_KEYS", "good,alice=", "client key 2: a client key is empty"),
        ("TOWERGATE_CLIENT_KEYS_FILE", "", "TOWERGATE_CLIENT_KEYS_FILE"),
        ("TOWERGATE_CLIENT_KEYS_FILE", "/dev/null", "/dev/null holds no client key"),
        ("TOWERGATE_CLIENT_KEYS_FILE", "/no/keys", "/no/keys"),
        ("TOWERGATE_CLIENT_AUTH", "", "TOWERGATE_CLIENT_AUTH"),
        ("TOWERGATE_CLIENT_AUTH", "off", "[possible values: required, disabled]"),
    ] {
        for text in refused(name, value) {
            assert!(text.contains(says), "{name}={value}: {text}");
        }
    }
}

#[cfg(unix)]
#[test]
fn keys_that_are_no_text_are_not_taken_for_none() {
    use std::os::unix::ffi::OsStrExt as _;

    for text in refused("TOWERGATE_CLIENT_KEYS", OsStr::from_bytes(b"alice=\xff")) {
        assert!(text.contains("TOWERGATE_CLIENT_KEYS is not UTF-8"), "{text}");
    }
}

#[test]
fn an_empty_section_is_an_error_at_start_and_in_check() {
    for (name, section) in [("null", ""), ("map", " {}"), ("list", " []"), ("entry", "\n  me:")] {
        let path = file(
            &format!("empty-{name}.yaml"),
            &format!("providers: {{a: {{type: ollama}}}}\nclient_keys:{section}\n"),
        );
        let path = path.to_str().unwrap();
        for arguments in [&["check", path][..], &["serve", "--listen", "127.0.0.1:0", "--config", path]] {
            let (code, text) = ends(towergate(arguments));
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains(": client_keys"), "{text}");
        }
    }
}

#[test]
fn everybody_comes_in_where_that_is_said_in_words() {
    let answer = |serving: Serving| serving.ask(&get("/v1/models"));
    for (name, value) in [("TOWERGATE_CLIENT_KEYS", ""), ("TOWERGATE_CLIENT_KEYS", ","), ("TOWERGATE_X", "")]
    {
        let mut command = towergate(&["demo", "--listen", "127.0.0.1:0"]);
        command.env(name, value).env("TOWERGATE_CLIENT_AUTH", "disabled");
        assert!(answer(Serving::start(command)).starts_with("HTTP/1.1 200"), "{name}={value}");
    }
    // The file may say it for an empty variable, and a flag over the file.
    let path = file(
        "disabled.yaml",
        "providers: {a: {type: ollama}}\nserver: {client_auth: disabled}\nclient_keys:\n",
    );
    let path = path.to_str().unwrap();
    let mut command = towergate(&["serve", "--listen", "127.0.0.1:0", "--config", path]);
    command.env("TOWERGATE_CLIENT_KEYS", "");
    assert!(Serving::start(command).ask(&get("/readyz")).starts_with("HTTP/1.1 200"));
    let required = ["serve", "--listen", "127.0.0.1:0", "--config", path, "--client-auth", "required"];
    let (code, text) = ends(towergate(&required));
    assert_eq!(code, Some(1));
    assert!(text.contains("required, and there is no client key"), "{text}");
    let mut command = towergate(&required);
    command.env("TOWERGATE_CLIENT_KEYS", "right");
    assert!(answer(Serving::start(command)).starts_with("HTTP/1.1 401"));
    // Keys, and nobody who needs one.
    let mut command = towergate(&["demo", "--listen", "127.0.0.1:0", "--client-auth", "disabled"]);
    command.env("TOWERGATE_CLIENT_KEYS", "right");
    let (code, text) = ends(command);
    assert_eq!(code, Some(1));
    assert!(text.contains("disabled, and there are client keys"), "{text}");
    let (_, text) = ends(towergate(&["explain", "--config", path]));
    assert!(text.contains("server.client_auth") && text.contains("disabled.yaml:2:10"), "{text}");
}

#[test]
fn a_reload_without_keys_changes_nothing() {
    let config =
        file("guarded.yaml", "providers: {a: {type: ollama}}\nclient_keys: {alice: {key: tg-alice}}\n");
    let (serving, admin) = with_admin(&["serve", "--listen", "0.0.0.0:0"], |command| {
        command.arg("--config").arg(&config);
    });
    let address = serving.address.replace("0.0.0.0", "127.0.0.1");
    let reloads = |result: &str, times: usize| {
        serving.signal("-HUP");
        let series = format!("towergate_config_reloads_total{{result=\"{result}\"}} {times}\n");
        while !ask(&admin, &get("/metrics")).contains(&series) {}
    };
    for (at, text) in
        ["providers: {a: {type: ollama}}\n", "providers: {a: {type: ollama}}\nclient_keys:\n", ""]
            .into_iter()
            .enumerate()
    {
        std::fs::write(&config, text).unwrap();
        reloads("refused", at + 1);
        assert!(ask(&address, &get("/v1/models")).starts_with("HTTP/1.1 401"), "{text:?}");
    }
    let (_, log) = serving.terminate();
    assert!(log.contains("everybody could come in") && log.contains("`client_auth: disabled`"), "{log}");
    assert!(!log.contains("can spend the providers' keys"), "{log}");
}

#[test]
fn a_file_of_keys_is_followed_and_an_empty_one_lets_nobody_in() {
    let config = file("followed-keys.yaml", "providers: {a: {type: ollama}}\n");
    let keys = file("followed.keys", "alice=tg-alice\n");
    let (serving, admin) = with_admin(&["serve", "--listen", "127.0.0.1:0"], |command| {
        command.arg("--config").arg(&config).arg("--client-keys-file").arg(&keys);
    });
    let status = |key: &str| {
        let request =
            format!("GET /v1/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\napi-key: {key}\r\n\r\n");
        serving.ask(&request)[9..12].to_owned()
    };
    assert_eq!(status("tg-bob"), "401");
    assert_ne!(status("tg-alice"), "401");
    // Without a signal.
    std::fs::write(&keys, "bob=tg-bob\n").unwrap();
    while status("tg-bob") == "401" {}
    assert_eq!(status("tg-alice"), "401");
    std::fs::write(&keys, "\n").unwrap();
    while !ask(&admin, &get("/metrics")).contains("towergate_config_reloads_total{result=\"refused\"} 1") {}
    assert_eq!(status("tg-alice"), "401");
    assert_ne!(status("tg-bob"), "401");
    std::fs::write(&keys, "alice=tg-alice\n").unwrap();
    reload(&serving, &admin);
    while status("tg-alice") == "401" {}
    let (_, log) = serving.terminate();
    assert!(log.contains("followed.keys holds no client key"), "{log}");
}
