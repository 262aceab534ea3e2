use super::*;
use crate::config::{Config, Variables};

fn import(text: &str) -> Import {
    Import::litellm("config.yaml", text).unwrap()
}

/// The file that comes of it, which must be sound.
fn sound(import: &Import) -> Config {
    let yaml = import.yaml();
    let set = Variables::new(|_| Some("http://variable".to_owned()));
    Config::parse("towergate.yaml", &yaml, &set).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"))
}

/// The settings alone, without comments.
fn settings(import: &Import) -> String {
    let yaml = import.yaml();
    yaml.split_once("\n\n").unwrap().1.to_owned()
}

fn notes(import: &Import) -> Vec<String> {
    import.notes().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn has(notes: &[String], begins: &str, says: &str) {
    let found = notes.iter().any(|note| note.starts_with(begins) && note.contains(says));
    assert!(found, "{begins:?} {says:?} is not in {notes:#?}");
}

#[test]
fn deployments_of_one_name_share_it_as_they_did() {
    let import = import(
        "\
model_list:
  - model_name: chat
    litellm_params:
      model: azure/chat-eu
      api_base: https://eu.openai.azure.com/
      api_version: '2024-06-01'
      api_key: os.environ/AZURE_EU
      rpm: 1_200
      timeout: 5
      stream_timeout: 0.5
      max_retries: 4
  - model_name: chat
    litellm_params:
      model: azure/chat-us
      api_base: os.environ/AZURE_US_BASE
      api_key: os.environ/AZURE_US
      rpm: 600
  - model_name: embed
    litellm_params: {model: text-embedding-3-small, api_key: os.environ/OPENAI_API_KEY}
  - model_name: image
    litellm_params: {model: openai/dall-e-3, api_key: os.environ/OPENAI_API_KEY}
",
    );
    let expected = "\
providers:
  azure:
    type: azure
    base_url: https://eu.openai.azure.com/openai/v1
    api_key: ${AZURE_EU}
    weight: 1200
    timeout: 5
    timeouts:
      first_event: 0.5
      idle: 0.5
    max_retries: 4
    models:
      chat: chat-eu
  azure-2:
    type: azure
    base_url: ${AZURE_US_BASE}/openai/v1
    api_key: ${AZURE_US}
    weight: 600
    models:
      chat: chat-us
  openai:
    type: openai
    api_key: ${OPENAI_API_KEY}
    models:
      embed: text-embedding-3-small
      image: dall-e-3
routing:
  max_attempts: 5
";
    assert_eq!(settings(&import), expected);
    assert_eq!(sound(&import).providers().len(), 3);
    assert_eq!(import.variables(), ["AZURE_EU", "AZURE_US", "AZURE_US_BASE", "OPENAI_API_KEY"]);
    let notes = notes(&import);
    has(&notes, "6:7: model_list[0].litellm_params.api_version:", "no api-version");
    has(&notes, "8:7: model_list[0].litellm_params.rpm:", "weight of the entries");
    has(&notes, "8:7: model_list[0].litellm_params.rpm:", "not enforced");
    has(&notes, "15:7: model_list[1].litellm_params.api_base:", "scheme and host alone");
    assert_eq!(notes.len(), 5, "{notes:#?}");
}

#[test]
fn order_is_priority_and_whoever_has_none_comes_last() {
    let import = import(
        "\
model_list:
  - {model_name: a, litellm_params: {model: groq/llama, order: 2, weight: 3}}
  - {model_name: a, litellm_params: {model: mistral/small, order: 1, weight: 1}}
  - {model_name: a, litellm_params: {model: deepseek/chat}}
  - {model_name: '*', litellm_params: {model: openrouter/*}}
",
    );
    let config = sound(&import);
    let chosen = config.providers().iter().map(|plan| {
        let key = plan.key.value.describe();
        (plan.name.as_str(), plan.priority.value, plan.weight.value, plan.models.len(), key)
    });
    let expected = [
        ("groq", 2, 3.0, 1, "${GROQ_API_KEY}".to_owned()),
        ("mistral", 1, 1.0, 1, "${MISTRAL_API_KEY}".to_owned()),
        ("deepseek", 3, 0.0, 1, "${DEEPSEEK_API_KEY}".to_owned()),
        ("openrouter", 3, 1.0, 0, "${OPENROUTER_API_KEY}".to_owned()),
    ];
    assert!(chosen.eq(expected), "{}", import.yaml());
    has(&notes(&import), "4:5: model_list[2]:", "comes after them");
    has(&notes(&import), "5:5: model_list[3]:", "no other entry names");
}

#[test]
fn settings_of_the_router_win_and_fallbacks_go_where_somebody_serves() {
    let import = import(
        "\
model_list:
  - {model_name: small, litellm_params: {model: gpt-4o-mini}}
  - {model_name: large, litellm_params: {model: gpt-4o}}
  - {model_name: claude, litellm_params: {model: anthropic/claude-3-opus, api_key: os.environ/A, rpm: 3}}
litellm_settings:
  num_retries: 5
  request_timeout: 10
  fallbacks: [{small: [large, claude]}, {claude: [small]}]
  context_window_fallbacks: [{small: [large]}]
  content_policy_fallbacks: [{large: [small]}]
  default_fallbacks: [small]
  json_logs: true
router_settings:
  routing_strategy: latency-based-routing
  num_retries: 2
  timeout: 900
  stream_timeout: 30
  allowed_fails: 3
  cooldown_time: 45
  model_group_alias: {gpt-4: large, secret: {model: small, hidden: true}, ghost: nobody, small: large}
general_settings:
  master_key: os.environ/MASTER
  global_max_parallel_requests: 100
  max_request_size_mb: 32
  background_health_checks: true
  health_check_interval: 300
",
    );
    let expected = "\
providers:
  openai:
    type: openai
    models:
      small: gpt-4o-mini
      large: gpt-4o
      gpt-4: gpt-4o
      secret: gpt-4o-mini
defaults:
  timeout: 900
  timeouts:
    first_event: 30
    idle: 30
  max_retries: 2
  breaker:
    consecutive_failures: 4
    open_for: 45
    max_open_for: 45
  health_checks:
    interval: 300
routing:
  strategy: peak_ewma
  fallback_models:
    gpt-4: [small]
    large: [small]
    secret: [small]
    small: [large]
  context_length_fallbacks:
    small: [large]
  content_policy_fallbacks:
    large: [small]
server:
  max_in_flight: 100
  max_body: 32MiB
  total_timeout: 900
client_keys:
  master:
    key: ${MASTER}
logging:
  format: json
";
    assert_eq!(settings(&import), expected);
    sound(&import);
    let notes = notes(&import);
    has(&notes, "4:43: model_list[2].litellm_params.model:", "anthropic does not speak the OpenAI protocol");
    has(&notes, "8:16: litellm_settings.fallbacks[0].small:", "\"claude\" was not taken over");
    has(&notes, "8:42: litellm_settings.fallbacks[1].claude:", "no model that was taken over");
    has(&notes, "20:37: router_settings.model_group_alias.secret:", "listed in /v1/models");
    has(&notes, "20:75: router_settings.model_group_alias.ghost:", "\"nobody\"");
    has(&notes, "20:90: router_settings.model_group_alias.small:", "already");
    has(&notes, "18:3: router_settings.allowed_fails:", "in a row");
    assert_eq!(notes.len(), 7, "{notes:#?}");
}

#[test]
fn whatever_has_no_counterpart_is_listed() {
    let import = import(
        "\
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o-mini, temperature: 0.2, tpm: 7, mock_response: hi, tags: [x]}
    model_info: {id: one, mode: chat, input_cost_per_token: 0.1}
    access: x
  - {model_name: b, litellm_params: {model: bedrock/claude, aws_region_name: us-east-1}}
  - {model_name: v, litellm_params: {model: vertex_ai/gemini-pro}}
  - {model_name: c, litellm_params: {model: claude-3-haiku}}
  - {model_name: u, litellm_params: {model: nobody/knows}}
  - {model_name: w, litellm_params: {model: who-is-it}}
  - {model_name: openai/*, litellm_params: {model: openai/*}}
  - {model_name: x, litellm_params: {model: lm_studio/x}}
  - {model_name: y, litellm_params: {model: openai_like/x}}
  - {litellm_params: {model: gpt-4o}}
  - {model_name: gpt-4o}
  - just text
litellm_settings: {drop_params: true, cache: true, success_callback: [langfuse], telemetry: false, set_verbose: null}
router_settings: {routing_strategy: usage-based-routing-v2, redis_host: h, retry_policy: {}, timeout: os.environ/T}
general_settings: {database_url: 'postgresql://canary', alerting: [slack], made_up: 1}
environment_variables: {REDIS_HOST: canary}
guardrails: []
include: [more.yaml]
",
    );
    let notes = notes(&import);
    for (path, says) in [
        ("model_list[0].litellm_params.temperature", "byte for byte"),
        ("model_list[0].litellm_params.tpm", "not enforced"),
        ("model_list[0].litellm_params.mock_response", "no counterpart"),
        ("model_list[0].litellm_params.tags", "no counterpart"),
        ("model_list[0].model_info", "(id, mode, input_cost_per_token)"),
        ("model_list[0].access", "no counterpart"),
        ("model_list[1].litellm_params.model", "b: bedrock does not speak"),
        ("model_list[2].litellm_params.model", "v: vertex_ai does not speak"),
        ("model_list[3].litellm_params.model", "c: anthropic does not speak"),
        ("model_list[4].litellm_params.model", "u: the provider \"nobody\" is not known"),
        ("model_list[5].litellm_params.model", "w: nothing shows who serves"),
        ("model_list[6]", "openai/*: patterns"),
        ("model_list[8]", "api_base is missing"),
        ("model_list[9]", "model_name or litellm_params.model is missing"),
        ("model_list[10]", "no litellm_params"),
        ("model_list[11]", "not a mapping"),
        ("litellm_settings.drop_params", "byte for byte"),
        ("litellm_settings.cache", "no cache"),
        ("litellm_settings.success_callback", "no callbacks"),
        ("litellm_settings.telemetry", "no counterpart"),
        ("router_settings.routing_strategy", "shared by weight"),
        ("router_settings.redis_host", "nothing is shared"),
        ("router_settings.retry_policy", "kind of the failure"),
        ("router_settings.timeout", "not a number"),
        ("general_settings.database_url", "no database"),
        ("general_settings.alerting", "no callbacks"),
        ("general_settings.made_up", "no counterpart"),
        ("environment_variables.REDIS_HOST", "set in the environment"),
        ("guardrails", "no counterpart"),
        ("include", "imported singly"),
    ] {
        let note = notes.iter().find(|note| note.contains(&format!(": {path}: ")));
        assert!(note.is_some_and(|note| note.contains(says)), "{path}: {says}: {notes:#?}");
    }
    assert_eq!(notes.len(), 30, "{notes:#?}");
    let config = sound(&import);
    assert_eq!(config.providers().len(), 2, "fast, and LM Studio at the address of its variable");
    assert!(!import.yaml().contains("canary"));
    for note in &notes {
        assert!(import.yaml().contains(&format!("#   {note}\n")), "{note}");
    }
}

#[test]
fn no_secret_is_copied_and_none_is_sent_where_it_did_not_belong() {
    let import = import(
        "\
model_list:
  - model_name: a
    litellm_params:
      model: openai/a
      api_key: sk-canary-1
      organization: [org-$1, org-2]
      extra_headers: {X-Api-Token: canary, x-team: $sre, 'no header': x}
  - {model_name: b, litellm_params: {model: openai/b, api_base: 'http://b/v1/', api_key: sk-canary-2}}
  - {model_name: c, litellm_params: {model: openai/c, api_key: sk-canary-1, litellm_credential_name: shared}}
  - {model_name: d, litellm_params: {model: hosted_vllm/d, api_base: 'http://d/v1', api_key: EMPTY}}
  - {model_name: e, litellm_params: {model: openai/e, api_base: 'http://e/v1'}}
  - {model_name: f, litellm_params: {model: azure/f, litellm_credential_name: shared}}
  - {model_name: g, litellm_params: {model: ollama_chat/g, api_base: 'http://g:11434', litellm_credential_name: gone}}
credential_list:
  - {credential_name: shared, credential_values: {api_key: canary, api_base: os.environ/BASE, region: x}, credential_info: {}}
  - {credential_name: unused, credential_values: {api_key: canary}}
general_settings: {master_key: sk-canary}
",
    );
    let yaml = import.yaml();
    assert!(!yaml.contains("canary"), "{yaml}");
    let config = sound(&import);
    let of = |name: &str| config.providers().iter().find(|plan| plan.models[0].0 == name).unwrap();
    let key = |name: &str| of(name).key.value.describe();
    assert_eq!([key("a"), key("b"), key("c")], ["${LITELLM_KEY_1}", "${LITELLM_KEY_3}", "${LITELLM_KEY_1}"]);
    assert_eq!([key("d"), key("e"), key("f")], ["none", "none", "${LITELLM_KEY_2}"]);
    assert_eq!(of("a").organization.value.as_deref(), Some("org-$1"));
    assert_eq!(of("b").base_url.value, "http://b/v1");
    assert_eq!(of("c").base_url.value, "http://variable");
    assert_eq!(of("g").base_url.value, "http://g:11434/v1");
    assert_eq!(config.providers().iter().filter(|plan| plan.models[0].0 == "a").count(), 2, "one for each");
    assert!(yaml.contains("master:\n    key: ${LITELLM_MASTER_KEY}\n"), "{yaml}");
    assert!(yaml.contains("x-api-token: ${LITELLM_KEY_2}\n      x-team: $$sre\n"), "{yaml}");
    let notes = notes(&import);
    has(&notes, "5:7: model_list[0].litellm_params.api_key:", "set the variable LITELLM_KEY_1");
    has(&notes, "7:58: model_list[0].litellm_params.extra_headers.no header:", "not the name of a header");
    has(&notes, "11:55: model_list[4].litellm_params.api_base:", "here none is sent");
    has(&notes, "13:", "there is no credential \"gone\"");
    has(&notes, "15:95: credential_list[0].credential_values.region:", "no counterpart");
    has(&notes, "16:", "\"unused\" is used by no model");
}

#[test]
fn what_was_wrong_before_is_said() {
    let import = import(
        "\
model_list:
  - {model_name: a, litellm_params: {model: ollama/a, api_base: your-ollama-base}}
  - {model_name: b, litellm_params: {model: azure/, api_base: 'https://b'}}
",
    );
    let notes = notes(&import);
    has(&notes, "1:1: to be mended in the new file: providers.ollama.base_url:", "no base URL");
    has(&notes, "3:38: model_list[1].litellm_params.model:", "b: no model is named");
    assert_eq!(notes.len(), 2, "{notes:#?}");
}

#[test]
fn a_file_of_which_nothing_can_be_served_is_an_error_with_the_reasons() {
    for (text, says) in [
        ("", "no model could be taken over"),
        ("model_list: []", "no model could be taken over"),
        ("model_list: {a: b}", "is not a list"),
        ("model_list: [{model_name: a, litellm_params: {model: anthropic/a}}]", "anthropic does not speak"),
        ("model_list: &x []", "anchors"),
        ("model_list:\n  - model_name: *\n", "config.yaml:2:"),
    ] {
        let error = Import::litellm("config.yaml", text).unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
}
