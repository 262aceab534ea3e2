//! Client authentication is not turned off by what is empty, missing or half written.

use super::*;
use crate::Gateway;

const PROVIDERS: &str = "providers: {a: {type: ollama}}\n";
const KEYS: &str = "client_keys: {me: {key: tg-me}}\n";
const DISABLED: &str = "server: {client_auth: disabled}\n";

async fn built(text: &str) -> Result<Gateway, SetUpError> {
    let variables = variables(&[("EMPTY", "")]);
    let config = Config::parse("t.yaml", text, &variables).unwrap();
    Ok(config.gateway(&variables).await?.build()?)
}

#[tokio::test]
async fn an_empty_section_is_an_error_unless_the_file_says_that_it_is_meant() {
    for empty in ["", " ~", " null", " {}", "\n  # alice: {key: x}", " # {}"] {
        let text = format!("{PROVIDERS}client_keys:{empty}\n");
        let [problem] = &errors(&text)[..] else { panic!("{text}") };
        assert!(problem.starts_with("t.yaml:2:1: client_keys: there is no client key"), "{problem}");
        assert!(problem.contains("`client_auth: disabled` below `server:`"), "{problem}");
        assert!(!built(&(text + DISABLED)).await.unwrap().asks_for_keys());
    }
    for wrong in [" []", " ''", " [{me: x}]", " none"] {
        let text = format!("{PROVIDERS}client_keys:{wrong}\n");
        assert!(errors(&text)[0].contains("client_keys: "), "{:?}", errors(&text));
        assert!(errors(&text)[0].contains("is not a mapping"), "{:?}", errors(&text));
    }
}

#[tokio::test]
async fn an_entry_without_a_key_is_an_error() {
    for (entry, says) in [
        ("", "key or sha256 is missing"),
        (" {}", "key or sha256 is missing"),
        (" {key: }", "key or sha256 is missing"),
        (" {sha256: }", "key or sha256 is missing"),
        (" {allowed_models: [m]}", "key or sha256 is missing"),
        (" {key: ''}", "the key is empty"),
        (" {key: ' '}", "white space"),
        (" {key: '${ME:-}'}", "the key is empty where the variable is not set"),
        (" {key: '${ME:- }'}", "the key is empty where the variable is not set"),
        (" {sha256: ''}", "64 hex digits"),
    ] {
        // Alone, and beside one that is sound.
        for other in ["", "  you: {key: tg-you}\n"] {
            let found = errors(&format!("{PROVIDERS}client_keys:\n{other}  me:{entry}\n")).join("\n");
            assert!(found.contains("client_keys.me") && found.contains(says), "{entry:?}: {found}");
        }
    }
    for (key, says) in [
        ("${ME}", "client_keys.me.key: the variable ME is not set"),
        ("${EMPTY}", "client_keys.me.key: the variable EMPTY is not set"),
        ("${ME:-}${EMPTY:-}", "client_keys.me.key: a client key is empty"),
    ] {
        let error = built(&format!("{PROVIDERS}client_keys: {{me: {{key: '{key}'}}}}\n")).await.unwrap_err();
        assert_eq!(error.to_string(), says);
    }
}

#[tokio::test]
async fn the_mode_is_said_in_words_that_fit_the_keys() {
    assert!(built(&(PROVIDERS.to_owned() + KEYS)).await.unwrap().asks_for_keys());
    assert!(!built(PROVIDERS).await.unwrap().asks_for_keys());
    assert!(!built(&(PROVIDERS.to_owned() + DISABLED)).await.unwrap().asks_for_keys());
    let required = "server: {client_auth: required}\n";
    assert!(built(&(PROVIDERS.to_owned() + KEYS + required)).await.unwrap().asks_for_keys());
    let error = built(&(PROVIDERS.to_owned() + required)).await.unwrap_err().to_string();
    assert!(error.contains("required, and there is no client key"), "{error}");
    assert!(error.contains("server.client_auth"), "{error}");
    let both = errors(&(PROVIDERS.to_owned() + KEYS + DISABLED));
    assert_eq!(
        both,
        ["t.yaml:3:10: server.client_auth: it is disabled, and there are client_keys: leave out one"]
    );
    // What other programs may make of `off`, and what a template leaves of a missing value.
    for wrong in ["off", "false", "none", "Disabled", "''", "", "null"] {
        let found = errors(&format!("{PROVIDERS}server: {{client_auth: {wrong}}}\n")).join("\n");
        assert!(found.contains("server.client_auth: ") && found.contains("required, disabled"), "{found}");
    }
}

#[tokio::test]
async fn a_reload_does_not_let_everybody_in_unless_the_file_says_so() {
    let guarded = PROVIDERS.to_owned() + KEYS;
    let place = Scratch::new("guarded", &guarded);
    let mut live = live(&place).await;
    let gateway = live.gateway();
    for open in [
        PROVIDERS.to_owned(),
        // Cut in the middle of the section.
        PROVIDERS.to_owned() + "client_keys:",
        PROVIDERS.to_owned() + "client_keys: {}\n",
        PROVIDERS.to_owned() + "client_keys:\n  me:\n",
        PROVIDERS.to_owned() + "# " + KEYS,
        PROVIDERS.to_owned() + "server: {client_auth: required}\n",
        String::new(),
    ] {
        place.write(&open);
        let error = live.reload().await.unwrap_err();
        assert!(gateway.asks_for_keys(), "{open:?}: {error}");
        assert_eq!(gateway.health().configuration.unwrap().error, Some(error.to_string()));
    }
    place.write(PROVIDERS);
    let error = live.reload().await.unwrap_err().to_string();
    assert!(
        error.contains("everybody could come in") && error.contains("`client_auth: disabled`"),
        "{error}"
    );
    place.write(&(PROVIDERS.to_owned() + DISABLED));
    live.reload().await.unwrap();
    assert!(!gateway.asks_for_keys());
    // Open as it is, it may stay so without a word.
    place.write(PROVIDERS);
    live.reload().await.unwrap();
    place.write(&guarded);
    live.reload().await.unwrap();
    assert!(gateway.asks_for_keys());
}

#[tokio::test]
async fn keys_from_elsewhere_are_keys() {
    let place = Scratch::new("elsewhere", &(PROVIDERS.to_owned() + KEYS));
    let given = |_: &Config, gateway: crate::GatewayBuilder| {
        Ok(gateway.client_keys(crate::parse_client_keys("given").unwrap()))
    };
    let mut live = Live::start(&place.0, variables(&[]), given).await.unwrap();
    place.write(PROVIDERS);
    live.reload().await.unwrap();
    assert!(live.gateway().asks_for_keys());
    place.write(&(PROVIDERS.to_owned() + DISABLED));
    let error = live.reload().await.unwrap_err().to_string();
    assert!(error.contains("disabled, and there are client keys"), "{error}");
    assert!(live.gateway().asks_for_keys());
}

/// In the time of the test: every look finds more of the file than the one before.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_half_written_is_not_taken_over() {
    let whole = "providers: {a: {type: ollama}}\n\n# The rest of it\nrouting: {default_provider: a}\n\n\
                 client_keys: {me: {key: tg-me}, you: {key: tg-you}}\n";
    let place = Scratch::new("half", "providers: {old: {type: ollama}}\n");
    let live = live(&place).await;
    let gateway = live.gateway();
    let following = tokio::spawn(live.follow(async || std::future::pending().await));
    let mut written = String::new();
    for line in whole.split_inclusive('\n') {
        written.push_str(line);
        // In place, as an editor or `cp` does it.
        place.write(&written);
        assert_eq!(names(&gateway), ["old"], "{written:?}");
        tokio::time::sleep(s(1)).await;
    }
    tokio::time::sleep(s(6)).await;
    assert_eq!(names(&gateway), ["a"]);
    assert!(gateway.asks_for_keys());
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_is_asked_for_waits_until_the_file_is_whole() {
    let place = Scratch::new("asked", "providers: {old: {type: ollama}}\n");
    let mut live = live(&place).await;
    let writing = async {
        let mut written = String::new();
        for part in ["providers:\n  a: {type: ollama}\n", "  b: {type: ollama}\n", "  c: {type: ollama}\n"] {
            written.push_str(part);
            place.write(&written);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    let ((), applied) = tokio::join!(writing, live.reload());
    assert_eq!(applied.unwrap(), Applied { kept: 0, built: 3 });
}

#[tokio::test]
async fn another_file_is_followed_too() {
    let place = Scratch::new("also", PROVIDERS);
    let keys = place.0.with_file_name("keys");
    std::fs::write(&keys, "one").unwrap();
    let mut config = Config::load(&place.0, &variables(&[])).await.unwrap();
    config.follow_also(&keys).await;
    let given = {
        let keys = keys.clone();
        move |_: &Config, gateway: crate::GatewayBuilder| {
            let keys = std::fs::read_to_string(&keys).unwrap();
            crate::parse_client_keys(&keys).map(|keys| gateway.client_keys(keys)).map_err(|it| it.to_string())
        }
    };
    let live = Live::of(config, variables(&[]), given).await.unwrap();
    let gateway = live.gateway();
    let reloaded = async || {
        let before = gateway.health().configuration;
        while gateway.health().configuration == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gateway.health().configuration.unwrap().error
    };
    let following = tokio::spawn(live.follow(async || std::future::pending().await));
    std::fs::write(&keys, "").unwrap();
    let error = tokio::time::timeout(s(20), reloaded()).await.unwrap().unwrap();
    assert!(error.contains("there is no client key") && gateway.asks_for_keys(), "{error}");
    following.abort();
}
