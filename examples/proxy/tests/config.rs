//! The configuration file, as its users meet it: the real binary, and the files that the documentation shows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use towergate::config::{Config, Variables, schema};

fn towergate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towergate"));
    for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "TOWERGATE_CONFIG", "TOWERGATE_BASE_URL"] {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file of its own for each test.
fn file(name: &str, content: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

#[test]
fn the_schema_in_the_documentation_is_the_one_that_is_checked_against() {
    let kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(docs("config.schema.json")).unwrap()).unwrap();
    assert_eq!(kept, schema(), "write it anew: towergate schema > docs/config.schema.json");
    let printed: serde_json::Value = serde_json::from_slice(&towergate(&["schema"]).stdout).unwrap();
    assert_eq!(printed, kept);
}

#[test]
fn every_file_in_the_documentation_is_sound() {
    let mut found = 0;
    for entry in std::fs::read_dir(docs("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        for block in page.split("```yaml\n").skip(1) {
            let (yaml, _) = block.split_once("```").unwrap();
            let variables = Variables::new(|_| None);
            if let Err(errors) = Config::parse(&path, yaml, &variables) {
                panic!("{errors}\n{yaml}");
            }
            found += 1;
        }
    }
    assert!(found >= 2, "{found}");
}

#[test]
fn a_broken_file_is_told_line_by_line_and_fails() {
    let path = file("broken.yaml", "providers:\n  a: {wieght: 1, timeout: soon}\nservr: {}\n");
    for command in [
        &["check"][..],
        &["serve", "--config"],
        &["explain", "--model", "m", "--config"],
        &["health", "--config"],
    ] {
        let mut arguments = command.to_vec();
        arguments.push(path.to_str().unwrap());
        let output = towergate(&arguments);
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{command:?}");
        assert!(
            said.contains(
                "broken.yaml:2:7: providers.a.wieght: there is no such setting; did you mean \"weight\"?"
            ),
            "{said}"
        );
        assert!(said.contains("broken.yaml:2:18: providers.a.timeout: \"soon\" is no time"), "{said}");
        assert!(
            said.contains("broken.yaml:3:1: servr: there is no such setting; did you mean \"server\"?"),
            "{said}"
        );
    }
}

#[test]
fn what_puts_secrets_at_risk_is_told_and_nothing_is_refused() {
    let path = file(
        "risky.yaml",
        "providers: {a: {base_url: 'http://no-such-host.invalid/v1', api_key: sk-canary, max_retries: 0}}\n",
    );
    let path = path.to_str().unwrap();
    let checked = towergate(&["check", path]);
    assert!(checked.status.success() && text(&checked.stdout).contains("is sound: 1 provider"));
    let said = text(&checked.stderr);
    assert!(
        said.contains(
            "risky.yaml:1:17: providers.a.base_url: warning: the provider's secrets go over plain http"
        ),
        "{said}"
    );
    // Whatever builds it says so in the log.
    let asked = towergate(&["health", "--config", path]);
    let said = text(&asked.stderr);
    assert_eq!(said.matches("secrets go over plain http").count(), 1, "{said}");
    assert!(said.contains("provider=\"a\"") && said.contains("base_url"), "{said}");
    assert!(!format!("{checked:?} {asked:?}").contains("canary"));

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = file("open-key", "sk-canary");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let provider = format!("base_url: 'https://127.0.0.1:1', api_key_file: {}", key.display());
        let path = file("open-key.yaml", &format!("providers: {{a: {{{provider}, max_retries: 0}}}}\n"));
        for command in [&["check"][..], &["health", "--config"]] {
            let output = towergate(&[command, &[path.to_str().unwrap()]].concat());
            let said = text(&output.stderr);
            assert_eq!(
                said.matches("every user of this machine can read it (mode 0644)").count(),
                1,
                "{said}"
            );
            assert!(said.contains("providers.a.api_key_file"), "{said}");
        }
    }
}

#[test]
fn a_sound_file_is_told_and_explained_without_a_secret() {
    let path = file(
        "sound.yaml",
        "providers: {a: {base_url: 'http://a/v1', api_key: '${NOT_SET}', models: {fast: small}}}\n",
    );
    let path = path.to_str().unwrap();
    let checked = towergate(&["check", path]);
    assert!(checked.status.success() && text(&checked.stdout).contains("is sound: 1 provider"));
    let explained =
        towergate(&["explain", "--config", path, "--model", "fast", "--header", "x-towergate-provider: a"]);
    let said = text(&explained.stdout);
    assert!(said.contains("POST http://a/v1/chat/completions as \"small\""), "{said}");
    assert!(said.contains("${NOT_SET}"), "{said}");
    let all = towergate(&["explain", "--config", path, "--listen", "127.0.0.1:7", "--drain-delay", "3s"]);
    let said = text(&all.stdout);
    for (name, value, origin) in [
        ("server.listen ", " 127.0.0.1:7 ", "--listen"),
        ("server.drain_delay ", " 3 s ", "--drain-delay"),
        ("routing.strategy ", " weighted ", "built in"),
        ("base_url ", " http://a/v1 ", "sound.yaml:1:17"),
    ] {
        let line = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        assert!(line.contains(value) && line.ends_with(origin), "{line}");
    }
    let bad = towergate(&["explain", "--config", path, "--model", "fast", "--header", "no header"]);
    assert!(
        !bad.status.success() && text(&bad.stderr).contains("write --header 'x-towergate-provider: main'")
    );
    let served = towergate(&["serve", "--config", path]);
    assert_eq!(text(&served.stderr), "towergate: providers.a.api_key: the variable NOT_SET is not set\n");
}

#[test]
fn a_provider_of_the_command_line_and_a_file_exclude_each_other() {
    let path = file("both.yaml", "providers: {a: {type: ollama}}\n");
    let output = towergate(&["serve", "--config", path.to_str().unwrap(), "--base-url", "http://b"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("they stand in the file"));
}

#[test]
fn a_file_of_litellm_becomes_one_that_is_sound() {
    let path = file(
        "litellm.yaml",
        "model_list:\n  - {model_name: fast, litellm_params: {model: gpt-4o-mini, api_key: os.environ/KEY, rpm: 3}}\n  - {model_name: b, litellm_params: {model: bedrock/x}}\n",
    );
    let imported = towergate(&["import-litellm", path.to_str().unwrap()]);
    assert!(imported.status.success());
    let said = text(&imported.stderr);
    assert!(said.contains("litellm.yaml:2:86: model_list[0].litellm_params.rpm: is not enforced"), "{said}");
    assert!(
        said.contains("litellm.yaml:3:38: model_list[1].litellm_params.model: b: bedrock does not"),
        "{said}"
    );
    let ours = file("imported.yaml", &text(&imported.stdout));
    assert!(towergate(&["check", ours.to_str().unwrap()]).status.success());

    let nothing = file("nothing.yaml", "model_list: []\n");
    let imported = towergate(&["import-litellm", nothing.to_str().unwrap()]);
    assert!(!imported.status.success() && imported.stdout.is_empty());
    assert!(text(&imported.stderr).contains("nothing.yaml:1:1: model_list: no model could be taken over"));
}
