mod client_auth;
mod warnings;

use std::time::Duration;

use towergate_core::label::Label;

use super::*;

const SEED: &str = "\
providers:
  openai-gpt4: {type: openai, model: gpt-4, priority: 1, weight: 0.7, timeout: 30.0, max_retries: 3}
";

fn variables(set: &'static [(&'static str, &'static str)]) -> Variables {
    Variables::new(move |name| {
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

fn parse(text: &str) -> Config {
    Config::parse("t.yaml", text, &variables(&[])).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    let errors = Config::parse("t.yaml", text, &variables(&[])).unwrap_err();
    errors.to_string().lines().map(str::to_owned).collect()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_form_of_the_seed_works_unchanged() {
    let config = parse(SEED);
    let [plan] = config.providers() else { panic!("one provider") };
    assert_eq!(plan.name, "openai-gpt4");
    assert_eq!((plan.priority.value, plan.weight.value, plan.max_retries.value), (1, 0.7, 3));
    assert_eq!(plan.base_url, Setting::built_in("https://api.openai.com/v1".to_owned()));
    assert_eq!(plan.key.value, KeyReference::OpenAiVariables);
    assert_eq!(plan.models.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["gpt-4"]);
    for clock in [&plan.timeouts.head, &plan.timeouts.first_event, &plan.timeouts.idle] {
        assert_eq!(clock.value, Some(s(30)));
        assert_eq!(clock.origin, Origin::File(Place { line: 2, column: 71 }));
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_place() {
    let found = errors(
        "providers:\n  a:\n    wieght: 1\n    priority: high\n    type: opnai\n    max_retries: 101\n    timeout: soon\n    \
         retry: {jitter: 3}\nserver:\n  listen: nowhere\nlogg: {}\nclient_keys:\n  x: 3\n",
    );
    let expected = [
        "t.yaml:3:5: providers.a.wieght: there is no such setting; did you mean \"weight\"?",
        "t.yaml:4:5: providers.a.priority: \"high\" is not a whole number",
        "t.yaml:5:5: providers.a.type: \"opnai\" is not one of openai, openai-eu, openai-us, azure, groq, mistral, \
         deepseek, together, openrouter, vllm, ollama, llama.cpp; did you mean \"openai\"?",
        "t.yaml:6:5: providers.a.max_retries: 101 is more than 100",
        "t.yaml:7:5: providers.a.timeout: \"soon\" is no time: write 500ms, 30s, 2m or 1h",
        "t.yaml:8:13: providers.a.retry.jitter: 3 is not true or false",
        "t.yaml:11:1: logg: there is no such setting; did you mean \"logging\"?",
        "t.yaml:13:3: client_keys.x: 3 is not a mapping",
    ];
    assert_eq!(found, expected);
}

#[test]
fn values_that_cannot_be_together_are_found() {
    let found = errors(
        "providers:\n  a: {base_url: 'http://a', model: m, weight: 0, api_key: x, api_key_file: y}\n  b: {type: azure, model: n, timeout: 700}\n\
         routing:\n  default_provider: c\n  fallback_models: {m: [n, o, m]}\nserver: {listen: '8080', tls: {key_file: k}}\nclient_keys:\n  me: {}\n  \
         you: {sha256: 12ab, allowed_models: [m, q]}\n",
    );
    let has = |at: &str, says: &str| {
        assert!(
            found.iter().any(|line| line.starts_with(&format!("t.yaml:{at}: ")) && line.contains(says)),
            "{at} {says}: {found:#?}"
        );
    };
    has("2:39", "weight 0");
    has("2:62", "api_key says already");
    has("3:3", "base_url is missing");
    has("3:30", "longer than server.total_timeout (600s)");
    has("5:3", "no provider \"c\"");
    has("6:28", "no provider serves the model \"o\"");
    has("6:21", "cannot stand in for itself");
    has("7:10", "not an address");
    has("7:26", "cert_file and key_file need each other");
    has("9:3", "key or sha256 is missing");
    has("10:9", "64 hex digits");
    has("10:43", "no provider serves the model \"q\"");
    assert_eq!(found.len(), 12, "{found:#?}");
}

#[test]
fn a_key_of_several_has_one_source_and_a_name_of_its_own() {
    let found = errors(
        "providers:\n  a:\n    keys: [{api_key: x, weight: 0}, {name: '1', api_key: ''}, {}, {api_key: x, api_key_file: y}]\n    api_key: z\n  \
         b: {keys: [{api_key: x, weight: 0}]}\n",
    );
    for says in [
        "providers.a.keys: api_key says already",
        "providers.a.keys[1]: another key is called \"1\"",
        "providers.a.keys[1].api_key: the key is empty",
        "providers.a.keys[2]: api_key or api_key_file is missing",
        "providers.a.keys[3].api_key_file: api_key says already",
        "providers.b.keys: every key has the weight 0",
    ] {
        assert!(found.iter().any(|line| line.contains(says)), "{says}: {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
    let config =
        parse("providers: {a: {keys: [{api_key: sk-canary}, {name: x, api_key: '${A}', weight: 2}]}}");
    let key = config.providers()[0].key.value.describe();
    assert_eq!(key, "1: [redacted] (weight 1), x: ${A} (weight 2)");
}

#[test]
fn an_endpoint_that_lets_nothing_in_is_found() {
    let text = |endpoints: &str| {
        format!(
            "providers: {{a: {{type: ollama}}}}\nclient_keys:\n  me: {{key: x, allowed_endpoints: [{endpoints}]}}\n"
        )
    };
    parse(&text("/v1, /files, /v1/prompts, v1/batches/*, '/v1/files/{id}/content', /"));
    let found = errors(&text("/v1/files, /v1/embeding, https://host/v1"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("t.yaml:3:47: client_keys.me.allowed_endpoints[1]: no endpoint is"),
        "{}",
        found[0]
    );
    assert!(found[0].ends_with("did you mean \"/v1/embeddings\"?"), "{}", found[0]);
}

#[test]
fn a_trailer_is_one_that_can_be() {
    let text = |names: &str| format!("providers:\n  a: {{type: ollama, allow_trailers: [{names}]}}\n");
    parse(&text("x-sum, Grpc-Status"));
    let found = errors(&text("x-sum, Authorization, 'a b', te, content-length"));
    let at = |place: usize| format!("providers.a.allow_trailers[{place}]: this ");
    assert_eq!(found.len(), 4, "{found:#?}");
    for (found, (place, says)) in
        found.iter().zip([(1, "cannot be"), (2, "not the name"), (3, "cannot be"), (4, "cannot be")])
    {
        assert!(found.contains(&at(place)) && found.contains(says), "{found}");
    }
}

#[test]
fn a_base_url_that_is_none_is_found_before_anything_is_built() {
    let found = errors(
        "providers:\n  a: {base_url: my-host/v1, model: a}\n  b: {base_url: 'http://user:canary@b/v1', model: b}\n  \
         c: {base_url: 'ftp://c', model: c}\n  d: {base_url: 'http://d/v1?e=f', model: d}\n  e:\n    type:vllm\n",
    );
    assert_eq!(
        found,
        ["t.yaml:6:3: providers.e: \"type:vllm\" is not a mapping; a space is missing behind the colon"]
    );
    let found = errors(
        "providers:\n  a: {base_url: my-host/v1, model: a}\n  b: {base_url: 'http://user:canary@b/v1', model: b}\n  \
         c: {base_url: 'ftp://c', model: c}\n  d: {base_url: 'http://d/v1?e=f', model: d}\n",
    );
    for (at, says) in
        [("2:7", "not a URL"), ("3:7", "user name or password"), ("4:7", "not http"), ("5:7", "a query")]
    {
        let found = found.iter().find(|line| line.starts_with(&format!("t.yaml:{at}: "))).unwrap();
        assert!(found.contains("this is no base URL") && found.contains(says), "{found}");
    }
    assert_eq!(found.len(), 4, "{found:#?}");
    let set = variables(&[("OPENAI_BASE_URL", "canary")]);
    let error = Config::parse("t.yaml", "providers: {a: {}}", &set).unwrap_err().to_string();
    assert!(error.starts_with("t.yaml:1:13: providers.a: OPENAI_BASE_URL is no base URL"), "{error}");
    assert!(!error.contains("canary"));
}

#[test]
fn what_new_users_write_says_what_to_write_instead() {
    let found = errors(
        "providers:\n  a:\n    base_url: https://a/v1/chat/completions\n    api_key: $OPENAI_KEY\n    headers: {x-a: $TEAM}\n    models: {x: ''}\n  \
         b: {base_url: 'http://b', keys: [{api_key: $B}], model: y}\nclient_keys:\n  me: {key: $ME}\n  one: {key: abc}\n  \
         two: {sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}\nserver: {listen: '1.1.1.1:80', admin_listen: '1.1.1.1:80'}\n\
         logging: {level: 'verbos, hyper=inof, towergate=debug'}\n",
    );
    let expected = [
        "t.yaml:3:5: providers.a.base_url: this is the address of one endpoint; the base URL ends before /chat/completions",
        "t.yaml:4:5: providers.a.api_key: a variable is written ${NAME}, and a dollar sign itself $$",
        "t.yaml:5:15: providers.a.headers.x-a: a variable is written ${NAME}, and a dollar sign itself $$",
        "t.yaml:6:14: providers.a.models.x: the provider's name for it is empty; leave it out where it is the same",
        "t.yaml:7:37: providers.b.keys[0].api_key: a variable is written ${NAME}, and a dollar sign itself $$",
        "t.yaml:9:8: client_keys.me.key: a variable is written ${NAME}, and a dollar sign itself $$",
        "t.yaml:11:3: client_keys.two: the client \"one\" has the same key",
        "t.yaml:12:32: server.admin_listen: 1.1.1.1:80 is the address of the API already",
        "t.yaml:13:11: logging.level: \"verbos\" is not one of off, error, warn, info, debug, trace",
        "t.yaml:13:11: logging.level: \"inof\" is not one of off, error, warn, info, debug, trace; did you mean \"info\"?",
    ];
    assert_eq!(found, expected);
    parse(
        "providers: {a: {api_key: 'sk-$1', headers: {x-a: $, x-b: $$A}}}\nlogging: {level: 'WARN,hyper::client=debug,towergate=off'}\n",
    );
    let found = errors("providers: {a: {type: ollama, models: [m]}}\nserver: {listen: 8080}\n");
    assert_eq!(
        found[0],
        "t.yaml:1:31: providers.a.models: a list is not a mapping; write each with a colon behind its name, and no dash"
    );
    assert_eq!(found[1], "t.yaml:2:10: server.listen: 8080 is not text such as 127.0.0.1:8080");
}

#[test]
fn no_error_shows_a_key() {
    for text in [
        "providers: {a: {api_key: [sk-canary-0123456789]}}",
        "providers: {a: {keys: sk-canary-0123456789}}",
        "providers: {a: {weight: sk-canary-0123456789}}",
        "providers: {a: {type: sk-canary-0123456789}}",
        "client_keys: {a: {sha256: sk-canary-0123456789}}",
        "client_keys: {a: sk-canary-0123456789}",
    ] {
        let found = errors(text).join("\n");
        assert!(!found.contains("canary"), "{found}");
    }
    let config = parse("providers: {a: {api_key: sk-canary, headers: {x-a: canary}}}");
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    assert!(!format!("{:?}", config.providers()[0].rows()).contains("canary"));
}

#[test]
fn one_rule_says_which_value_is_in_force() {
    let text = "providers:\n  a: {timeouts: {head: 1}, retry: {jitter: false}}\n  b: {timeout: 2s}\n  c: {}\n  d: {base_url: 'http://d'}\n\
                defaults: {timeouts: {head: 3, connect: 5}, max_retries: 7}\n";
    let set = variables(&[
        ("OPENAI_TIMEOUT", "9"),
        ("OPENAI_MAX_RETRIES", "1"),
        ("OPENAI_BASE_URL", "https://e/v1"),
        ("OPENAI_ORG_ID", "org"),
        ("OPENAI_API_KEY", "sk"),
    ]);
    let config = Config::parse("t.yaml", text, &set).unwrap();
    let [a, b, c, d] = config.providers() else { panic!("four providers") };
    let heads = [a, b, c, d].map(|plan| plan.timeouts.head.value);
    assert_eq!(heads, [Some(s(1)), Some(s(2)), Some(s(3)), Some(s(3))]);
    let idles = [a, b, c, d].map(|plan| plan.timeouts.idle.value);
    assert_eq!(idles, [Some(s(9)), Some(s(2)), Some(s(9)), None], "the variables are not about another host");
    assert!(
        [a, b, c, d].iter().all(|plan| plan.timeouts.connect.value == s(5) && plan.max_retries.value == 7)
    );
    assert_eq!(a.retry.jitter.origin, Origin::File(Place { line: 2, column: 36 }));
    assert_eq!(
        (c.base_url.value.as_str(), &c.base_url.origin),
        ("https://e/v1", &Origin::Variable("OPENAI_BASE_URL"))
    );
    assert_eq!(c.key.origin, Origin::Variable("OPENAI_API_KEY"));
    assert_eq!((d.organization.value.as_deref(), &d.key.value), (None, &KeyReference::None));
    assert_eq!(c.organization.value.as_deref(), Some("org"));
}

#[test]
fn what_a_client_may_hold_has_room_for_the_largest_body() {
    let holds = |text: &str| {
        let plan = parse(&format!("providers: {{a: {{type: ollama}}}}\n{text}")).server();
        let budget = plan.limit(crate::Gateway::builder()).memory;
        let row = plan.rows().into_iter().find(|(name, ..)| *name == "limits.memory_per_client").unwrap();
        (budget.limit(), budget.client_limit(), row.1)
    };
    let mib = |mib: usize| mib << 20;
    assert_eq!(holds(""), (mib(1024), mib(256), "256MiB".to_owned()));
    assert_eq!(holds("limits: {memory: 100MiB}"), (mib(100), mib(64), "64MiB".to_owned()));
    assert_eq!(holds("limits: {memory: 32MiB}"), (mib(32), mib(32), "32MiB".to_owned()));
    assert_eq!(holds("limits: {memory_per_client: 1MiB}"), (mib(1024), mib(1), "1MiB".to_owned()));
    assert_eq!(holds("limits: {memory: 4GiB}\nserver: {max_body: 2MiB}").1, mib(1024));
}

#[test]
fn the_settings_that_errors_name_are_there() {
    let schema = schema();
    let has =
        |section: &str, name: &str| schema.pointer(&format!("/$defs/{section}/properties/{name}")).is_some();
    for setting in
        [towergate_core::memory::MemoryBudget::SETTING, towergate_core::memory::MemoryBudget::CLIENT_SETTING]
    {
        let name = setting.strip_prefix("limits.").unwrap();
        assert!(has("LimitsSection", name) && schema.pointer("/properties/limits").is_some(), "{setting}");
    }
    for name in ["max_body", "max_upload", "max_in_flight", "request_body_timeout"] {
        assert!(has("ServerSection", name), "{name}");
    }
}

#[test]
fn variables_in_texts_are_put_in_and_those_of_secrets_are_not() {
    let text = "providers: {a: {base_url: 'http://${HOST:-localhost}:${PORT}', api_key: '${KEY}'}}";
    let config = Config::parse("t.yaml", text, &variables(&[("PORT", "1")])).unwrap();
    let plan = &config.providers()[0];
    assert_eq!(plan.base_url.value, "http://localhost:1");
    assert_eq!(plan.key.value.describe(), "${KEY}");
    let missing = Config::parse("t.yaml", text, &variables(&[])).unwrap_err().to_string();
    assert!(missing.contains("t.yaml:1:17: providers.a.base_url: the variable PORT is not set"), "{missing}");
}

#[test]
fn an_empty_file_has_no_provider_and_says_so() {
    assert_eq!(errors("").len(), 1);
    assert!(errors("providers:\n")[0].contains("there is no provider"));
}

#[test]
fn hosts_and_origins_are_a_list_or_one_alone() {
    let config = parse(
        "providers: {a: {type: ollama}}\nserver: {listen: '0.0.0.0:80', allowed_hosts: ['*.Example.com', 10.0.0.5], \
         allowed_origins: null, cors: any}\n",
    );
    let server = config.server();
    let shown: Vec<_> = server.rows().into_iter().map(|(name, value, _)| (name, value)).collect();
    for (name, value) in
        [("allowed_hosts", "*.example.com, 10.0.0.5"), ("allowed_origins", "none"), ("cors", "any")]
    {
        let name = format!("server.{name}");
        assert!(shown.iter().any(|(at, shown)| *at == name && shown == value), "{name}: {shown:?}");
    }
    let hosts = server.hosts();
    assert!(hosts.allows("a.example.com") && hosts.allows("10.1.1.1:80") && !hosts.allows("evil.test"));
    let tls = parse("providers: {a: {type: ollama}}\nserver: {tls: {cert_file: c, key_file: k}}\n").server();
    assert!(tls.hosts().allows("gateway.example.com"), "the browser has checked the certificate");
    assert!(
        !parse("providers: {a: {type: ollama}}\n").server().hosts().allows("10.1.1.1"),
        "a loopback listener"
    );

    let found = |server: &str| errors(&format!("providers: {{a: {{type: ollama}}}}\nserver: {{{server}}}\n"));
    for (server, says) in [
        (
            "allowed_hosts: [a.example, 'b.example:80']",
            "allowed_hosts[1]: \"b.example:80\": this is not a host",
        ),
        (
            "allowed_origins: [app.example.com]",
            "allowed_origins[0]: \"app.example.com\": this is not an origin",
        ),
        ("cors: all", "server.cors: \"all\": this is not an origin"),
        ("cors: [3]", "server.cors[0]: 3 is not text"),
        ("cors: {a: b}", "server.cors: a mapping is not"),
    ] {
        let found = found(server);
        assert!(matches!(&found[..], [one] if one.contains(says)), "{server}: {found:#?}");
    }
}

#[tokio::test]
async fn what_is_described_is_built() {
    let text = "providers:\n  a: {base_url: 'http://localhost:1', api_key: '${KEY}', models: {fast: small, plain: , slow: {upstream: big, thinks: true, failover_after: 5}}, headers: {x-team: '${TEAM:-sre}'}, http_version: 2, tls: {}}\n  b: {type: ollama, priority: 2}\n\
                routing: {fallback_models: {fast: [plain]}, default_provider: b, max_attempts: 6}\nclient_keys: {me: {key: '${MINE}'}}\n";
    let set = variables(&[("KEY", "sk-1"), ("MINE", "tg-1")]);
    let config = Config::parse("t.yaml", text, &set).unwrap();
    let gateway = config.gateway(&set).await.unwrap().build().unwrap();
    let registry = gateway.registry();
    let names: Vec<_> = registry.iter().map(|(name, provider)| (name, provider.name().clone())).collect();
    assert_eq!(names, [("a", Label::new("a")), ("b", Label::new("b"))]);
    let error = config.gateway(&variables(&[("MINE", "x")])).await.unwrap_err().to_string();
    assert_eq!(error, "providers.a.api_key: the variable KEY is not set");
}

#[test]
fn plans_that_differ_only_in_their_place_are_equal() {
    let one = parse("providers: {a: {timeout: 3}}");
    let same = parse("# moved\nproviders:\n  a:\n    timeout: 3s\n");
    let other = parse("providers: {a: {timeout: 4}}");
    assert_eq!(one.providers(), same.providers());
    assert_ne!(one.providers(), other.providers());
}

// --- following the file

/// A file in a folder of its own.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("towergate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let place = Self(folder.join("towergate.yaml"));
        place.write(text);
        place
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

async fn live(place: &Scratch) -> Live {
    Live::start(&place.0, variables(&[]), |_, gateway| Ok(gateway)).await.unwrap()
}

fn names(gateway: &crate::Gateway) -> Vec<String> {
    gateway.registry().iter().map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn a_new_content_is_put_in_force_and_what_did_not_change_is_kept() {
    let place = Scratch::new("kept", "providers: {a: {type: ollama}, b: {type: vllm}}");
    let mut live = live(&place).await;
    let gateway = live.gateway();
    assert_eq!(names(&gateway), ["a", "b"]);
    place.write(
        "providers: {a: {type: ollama, weight: 3, model: m}, b: {type: vllm, timeout: 4}, c: {type: groq}}",
    );
    assert_eq!(live.reload().await.unwrap(), Applied { kept: 1, built: 2 });
    assert_eq!(names(&gateway), ["a", "b", "c"], "clones follow");
}

#[tokio::test]
async fn a_bad_content_leaves_the_old_one_in_force() {
    let place = Scratch::new("bad", "providers: {a: {type: ollama}}");
    let mut live = live(&place).await;
    for bad in
        ["providers: {a: {typ: ollama}}", "providers: [", "", "providers: {a: {api_key: '${NOT_SET}'}}"]
    {
        place.write(bad);
        live.reload().await.unwrap_err();
        assert_eq!((names(&live.gateway()), live.config().providers().len()), (vec!["a".to_owned()], 1));
    }
    std::fs::remove_file(&place.0).unwrap();
    live.reload().await.unwrap_err();
    place.write("providers: {b: {type: ollama}}");
    live.reload().await.unwrap();
    assert_eq!(names(&live.gateway()), ["b"]);
}

#[tokio::test]
async fn it_follows_the_file_and_does_as_it_is_asked() {
    let place = Scratch::new("follow", "providers: {a: {type: ollama}}");
    let live = live(&place).await;
    let gateway = live.gateway();
    let (ask, mut asked) = tokio::sync::mpsc::channel::<()>(1);
    let following = tokio::spawn(live.follow(async move || {
        if asked.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }));
    let comes = async |name: &str| {
        while names(&gateway) != [name] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    place.write("providers: {bb: {type: ollama}}");
    ask.send(()).await.unwrap();
    tokio::time::timeout(s(10), comes("bb")).await.unwrap();
    place.write("providers: {ccc: {type: ollama}}");
    tokio::time::timeout(s(10), comes("ccc")).await.unwrap();
    following.abort();
}
