//! What is sound, and puts secrets at risk.

use super::{Config, variables};

async fn warnings(text: &str) -> Vec<String> {
    let variables = variables(&[("SET", "sk-canary"), ("FAKE", "none")]);
    let config = Config::parse("t.yaml", text, &variables).unwrap();
    let found = config.warnings(&variables).await;
    found
        .iter()
        .map(|warning| warning.to_string())
        .inspect(|text| assert!(!text.contains("canary")))
        .collect()
}

#[tokio::test]
async fn secrets_over_plain_http_to_another_machine() {
    for (provider, warned) in [
        ("base_url: 'http://vllm:8000/v1', api_key: sk-canary", true),
        ("base_url: 'http://10.0.0.1/v1', api_key: '${SET}'", true),
        ("base_url: 'http://10.0.0.1/v1', api_key: '${NOT_SET_YET}'", true),
        ("base_url: 'http://10.0.0.1/v1', pass_through_auth: true", true),
        ("base_url: 'http://10.0.0.1/v1', keys: [{api_key: sk-canary}]", true),
        ("base_url: 'http://10.0.0.1/v1', headers: {x-token: sk-canary}", true),
        ("base_url: 'http://10.0.0.1/v1', headers: {x-team: '${SET}'}", true),
        ("base_url: 'http://10.0.0.1/v1', headers: {x-team: blue-team}", false),
        ("base_url: 'http://10.0.0.1/v1'", false),
        ("base_url: 'http://10.0.0.1/v1', api_key: '${FAKE}'", false),
        ("base_url: 'http://10.0.0.1/v1', api_key: EMPTY", false),
        ("base_url: 'http://localhost:8000/v1', api_key: sk-canary", false),
        ("base_url: 'http://127.0.0.1:8000/v1', api_key: sk-canary", false),
        ("base_url: 'http://[::1]:8000/v1', api_key: sk-canary", false),
        ("base_url: 'https://vllm:8000/v1', api_key: sk-canary", false),
    ] {
        let found = warnings(&format!("providers:\n  a: {{{provider}}}\n")).await;
        assert_eq!(found.len(), usize::from(warned), "{provider}: {found:?}");
        let expected = "2:7: providers.a.base_url: warning: the provider's secrets go over plain http";
        assert!(found.iter().all(|text| text.starts_with(expected)), "{found:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn files_of_keys_that_others_can_read() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let file = |name: &str, mode| {
        let path = std::env::temp_dir().join(format!("towergate-warnings-{name}-{}", std::process::id()));
        fs::write(&path, "sk-canary").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let (open, closed) = (file("open", 0o644), file("closed", 0o600));
    let text = format!(
        "providers:\n  a: {{base_url: 'https://a', api_key_file: {open}}}\n  b: {{base_url: 'https://b', keys: [\
         {{api_key_file: {closed}}}, {{api_key_file: {open}}}]}}\n  c: {{base_url: 'https://c', tls: \
         {{client_certificate_file: {open}, client_key_file: {open}}}}}\n  d: {{base_url: 'https://d', api_key_file: \
         {closed}}}\n  e: {{base_url: 'https://e', api_key_file: /not/there}}\nserver:\n  tls: {{cert_file: {open}, \
         key_file: {open}}}\n"
    );
    let found = warnings(&text).await;
    let paths = ["a.api_key_file", "b.keys[1].api_key_file", "c.tls.client_key_file", "server.tls.key_file"];
    assert_eq!(found.len(), paths.len(), "{found:#?}");
    for (text, path) in found.iter().zip(paths) {
        let expected = format!("{path}: warning: {open}: every user of this machine can read it (mode 0644)");
        assert!(text.contains(&expected), "{text}");
    }
    for path in [open, closed] {
        fs::remove_file(path).unwrap();
    }
}
