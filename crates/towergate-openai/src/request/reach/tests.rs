use http::Method;
use proptest::prelude::*;

use super::*;
use crate::routes;

fn route(path: &str) -> &'static Route {
    routes::find(&Method::POST, path)
}

fn only() -> ClientAccess {
    ClientAccess::all().allowed_models(["a", "b"])
}

fn refused(access: &ClientAccess, path: &str, body: &str) -> Option<(String, Option<String>)> {
    let error = check_body(access, route(path), body.as_bytes()).err()?;
    Some((error.code().to_owned(), error.param().map(str::to_owned)))
}

#[test]
fn every_model_that_a_body_names_is_checked() {
    for (path, body) in [
        // OpenRouter, LiteLLM, Bifrost, Groq, Azure.
        ("/chat/completions", r#"{"model":"a","models":["a","NAME"]}"#),
        ("/chat/completions", r#"{"model":"a","fallbacks":["NAME"]}"#),
        ("/chat/completions", r#"{"model":"a","fallbacks":[{"a":["b","NAME"]}]}"#),
        ("/chat/completions", r#"{"model":"a","fallbacks":[{"model":"NAME","api_key":null}]}"#),
        ("/chat/completions", r#"{"model":"a","context_window_fallbacks":[{"a":["NAME"]}]}"#),
        ("/chat/completions", r#"{"model":"a","fallback_models":["NAME"]}"#),
        ("/chat/completions", r#"{"model":"a","extra_body":{"model":"NAME"}}"#),
        (
            "/chat/completions",
            r#"{"model":"a","user_config":{"model_list":[{"litellm_params":{"model":"NAME"}}]}}"#,
        ),
        ("/chat/completions", r#"{"model":"a","plugins":[{"id":"auto-router","allowed_models":["NAME"]}]}"#),
        ("/chat/completions", r#"{"model":"a","compound_custom":{"models":{"answering_model":"NAME"}}}"#),
        (
            "/chat/completions",
            r#"{"model":"a","data_sources":[{"parameters":{"embedding_dependency":{"deployment_name":"NAME"}}}]}"#,
        ),
        // OpenAI.
        ("/chat/completions", r#"{"model":"a","moderation":{"model":"NAME"}}"#),
        ("/responses", r#"{"model":"a","moderation":{"model":"NAME"}}"#),
        ("/responses", r#"{"model":"a","tools":[{"type":"image_generation","model":"NAME"}]}"#),
        ("/responses", r#"{"model":"a","tools":[{"type":"image_generation","svg":{"model":"NAME"}}]}"#),
        (
            "/responses",
            r#"{"model":"a","input":[{"type":"tool_search_output","tools":[{"type":"image_generation","model":"NAME"}]}]}"#,
        ),
        ("/images/generations", r#"{"model":"a","svg":{"model":"NAME"}}"#),
        ("/realtime/client_secrets", r#"{"session":{"type":"realtime","model":"NAME"}}"#),
        (
            "/realtime/client_secrets",
            r#"{"session":{"model":"a","audio":{"input":{"transcription":{"model":"NAME"}},"output":{"model":"a"}}}}"#,
        ),
        ("/realtime/sessions", r#"{"model":"a","input_audio_transcription":{"model":"NAME"}}"#),
        ("/evals/e/runs", r#"{"data_source":{"type":"completions","model":"NAME","input_messages":{}}}"#),
        ("/fine_tuning/jobs", r#"{"model":"a","method":{"reinforcement":{"grader":{"model":"NAME"}}}}"#),
        // However it is written.
        ("/chat/completions", r#"{"model":"a","Models":["NAME"]}"#),
        ("/chat/completions", "{\"model\":\"a\",\"model\u{17f}\":[\"NAME\"]}"),
        ("/chat/completions", r#"{"model":"a","\u0046all\u0062ac\u212as":["NAME"]}"#),
        ("/chat/completions", r#"{"model":"a","models\u0000":["NAME"]}"#),
        ("/chat/completions", r#"{"model":"a","\ud800model":"NAME"}"#),
        ("/responses", r#"{"model":"a","input":[{"type":"configuration_update","model":"NAME"}]}"#),
        ("/chat/completions", r#"{"model":"a","tools":[{"model":"a","model":"NAME"}]}"#),
        ("/chat/completions", r#"{"model":"a","models":[[{"x":{"y":"NAME"}}]]}"#),
    ] {
        for reached in ["a", "b", "\\u0062"] {
            assert_eq!(refused(&only(), path, &body.replace("NAME", reached)), None, "{body}");
        }
        let expected = Some(("model_not_allowed".to_owned(), Some("model".to_owned())));
        for other in ["c", "A", "b ", "b\\u0000", ""] {
            let body = body.replace("NAME", other);
            assert_eq!(refused(&only(), path, &body), expected, "{body}");
        }
        let unclear = Some(("invalid_type".to_owned(), None));
        assert_eq!(refused(&only(), path, &body.replace("NAME", "\\ud800")), unclear, "{body}");
        let free = ClientAccess::all().allowed_endpoints(["/"]);
        assert_eq!(refused(&free, path, &body.replace("NAME", "c")), None, "{body}");
    }
}

#[test]
fn what_is_the_clients_own_names_no_model() {
    for body in [
        r#"{"model":"a","messages":[{"role":"user","content":"x","model":"c"}],"metadata":{"model":"c"}}"#,
        r#"{"model":"a","tools":[{"type":"function","function":{"name":"f","parameters":{"default":{"model":"c"}}}}]}"#,
        r#"{"model":"a","functions":[{"name":"f","parameters":{"properties":{"model":{"type":"string"}}}}]}"#,
        r#"{"model":"a","response_format":{"type":"json_schema","json_schema":{"schema":{"x":{"model":"c"}}}}}"#,
        r#"{"model":"a","guided_json":{"properties":{"model":{"type":"string"}}}}"#,
        r#"{"model":"a","chat_template_kwargs":{"model":"c"},"model_identity":"c"}"#,
        r#"{"model":"a","provider":{"order":["c"],"allow_fallbacks":true},"disable_fallbacks":false,"models":null}"#,
        r#"{"model":"a","tools":[{"type":"mcp","server_label":"s","headers":{"x-model":"c"}}]}"#,
    ] {
        assert_eq!(refused(&only(), "/chat/completions", body), None, "{body}");
    }
    for body in [
        r#"{"model":"a","input":[{"type":"image_generation_call","id":"ig_1","svg_usage":{"model":"c"}}]}"#,
        r#"{"model":"a","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"c"}]}]}"#,
        r#"{"model":"a","text":{"format":{"type":"json_schema","schema":{"model":"c"}}},"instructions":"model"}"#,
    ] {
        assert_eq!(refused(&only(), "/responses", body), None, "{body}");
    }
    assert_eq!(refused(&only(), "/fine_tuning/alpha/graders/run", r#"{"model_sample":"c"}"#), None);
}

#[test]
fn what_is_stored_is_reached_with_its_endpoint() {
    for (path, body, param, endpoint) in [
        (
            "/responses",
            r#"{"model":"a","previous_response_id":"resp_1"}"#,
            "previous_response_id",
            "/v1/responses",
        ),
        (
            "/responses",
            "{\"model\":\"a\",\"Previou\u{17f}_Response_ID\":\"resp_1\"}",
            "previous_response_id",
            "/v1/responses",
        ),
        (
            "/responses",
            r#"{"model":"a","prompt_cache_options":{"comparison_response_id":"resp_1"}}"#,
            "comparison_response_id",
            "/v1/responses",
        ),
        (
            "/responses",
            r#"{"model":"a","input":[{"type":"item_reference","id":"msg_1"}]}"#,
            "input",
            "/v1/responses",
        ),
        (
            "/responses",
            r#"{"model":"a","input":[{"role":"user","content":"x"},{"id":"msg_1"}]}"#,
            "input",
            "/v1/responses",
        ),
        (
            "/responses",
            r#"{"model":"a","input":[{"type":"x","type":"item_reference"}]}"#,
            "input",
            "/v1/responses",
        ),
        ("/responses", r#"{"model":"a","conversation":"conv_1"}"#, "conversation", "/v1/conversations"),
        (
            "/responses",
            r#"{"model":"a","conversation":{"id":"conv_1"}}"#,
            "conversation",
            "/v1/conversations/{id}",
        ),
        (
            "/responses/input_tokens",
            r#"{"model":"a","conversation":"conv_1"}"#,
            "conversation",
            "/v1/conversations",
        ),
        ("/responses", r#"{"model":"a","prompt":{"id":"pmpt_1","version":"2"}}"#, "prompt", "/v1/prompts"),
        ("/chat/completions", r#"{"model":"a","preset":"p"}"#, "preset", "/v1/prompts"),
        (
            "/realtime/client_secrets",
            r#"{"session":{"model":"a","prompt":{"id":"p"}}}"#,
            "prompt",
            "/v1/prompts",
        ),
        (
            "/responses",
            r#"{"model":"a","input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]}"#,
            "file_id",
            "/v1/files",
        ),
        (
            "/chat/completions",
            r#"{"model":"a","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}"#,
            "file_id",
            "/v1/files",
        ),
        ("/images/edits", r#"{"model":"a","images":[{"file_id":"file-1"}]}"#, "file_id", "/v1/files"),
        (
            "/responses",
            r#"{"model":"a","tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}}]}"#,
            "file_ids",
            "/v1/files",
        ),
        (
            "/responses",
            r#"{"model":"a","tools":[{"type":"code_interpreter","container":"cntr_1"}]}"#,
            "container",
            "/v1/containers",
        ),
        (
            "/responses",
            r#"{"model":"a","tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#,
            "vector_store_ids",
            "/v1/vector_stores",
        ),
        (
            "/responses",
            r#"{"model":"a","tools":[{"type":"shell","environment":{"skills":[{"skill_id":"s"}]}}]}"#,
            "skill_id",
            "/v1/skills",
        ),
    ] {
        let expected = Some(("endpoint_not_allowed".to_owned(), Some(param.to_owned())));
        assert_eq!(refused(&only(), path, body), expected, "{body}");
        assert_eq!(refused(&only().allowed_endpoints(["/v1/chat"]), path, body), expected, "{body}");
        assert_eq!(
            refused(&ClientAccess::all().allowed_endpoints(["/v1/chat"]), path, body),
            expected,
            "{body}"
        );
        for reached in [endpoint, "/v1"] {
            assert_eq!(refused(&only().allowed_endpoints([reached]), path, body), None, "{body}");
        }
    }
}

#[test]
fn what_refers_to_nothing_stored_passes() {
    for (path, body) in [
        ("/responses", r#"{"model":"a","previous_response_id":null,"conversation":null,"prompt":null}"#),
        ("/responses", r#"{"model":"a","input":"file_id","store":true}"#),
        // Items of an earlier response, whole.
        (
            "/responses",
            r#"{"model":"a","input":[
                {"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"x",
                 "annotations":[{"type":"container_file_citation","container_id":"cntr_1","file_id":"cfile_1"}]}]},
                {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"},
                {"type":"file_search_call","id":"fs_1","results":[{"file_id":"file-1"}]},
                {"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","code":"x"},
                {"role":"user","content":"x"}]}"#,
        ),
        ("/responses", r#"{"model":"a","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}"#),
        ("/chat/completions", r#"{"model":"a","messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}"#),
        ("/completions", r#"{"model":"a","prompt":["x"]}"#),
        ("/images/generations", r#"{"model":"a","prompt":"x"}"#),
        ("/embeddings", r#"{"model":"a","input":[[1,2],["x"]]}"#),
        // Endpoints that keep things are reached by name.
        ("/vector_stores/vs_1/files", r#"{"file_id":"file-1"}"#),
        ("/batches", r#"{"input_file_id":"file-1","endpoint":"/v1/chat/completions"}"#),
        ("/threads", ""),
        ("/threads", "null"),
    ] {
        assert_eq!(refused(&only(), path, body), None, "{body}");
    }
}

#[test]
fn where_a_model_is_run_that_is_not_named_one_has_to_be() {
    let expected = Some(("model_not_allowed".to_owned(), Some("model".to_owned())));
    for (path, body) in [
        ("/realtime/client_secrets", r#"{"session":{"type":"realtime"}}"#),
        ("/realtime/client_secrets", ""),
        ("/realtime/sessions", r#"{"model":null}"#),
        ("/videos", r#"{"prompt":"x"}"#),
    ] {
        assert_eq!(refused(&only(), path, body), expected, "{body}");
        assert_eq!(refused(&ClientAccess::all().allowed_endpoints(["/"]), path, body), None, "{body}");
    }
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let code =
        |body: &[u8]| check_body(&only(), route("/chat/completions"), body).unwrap_err().code().to_owned();
    assert_eq!(code(b"{\"model\":\"a\",\"x\":\"\xff\"}"), "invalid_json");
    let deep = |depth: usize| format!(r#"{{"model":"a","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(refused(&only(), "/chat/completions", &deep(MAX_DEPTH - 1)), None);
    assert_eq!(code(deep(100_000).as_bytes()), "nested_too_deep");
    let schema = format!(r#"{{"model":"a","metadata":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(&only(), "/chat/completions", &schema), None);
}

#[test]
fn a_key_that_some_take_for_model_is_refused() {
    for body in [
        r#"{"model":"a","model\u0000":"a"}"#,
        r#"{" model":null,"model":"a"}"#,
        r#"{"model":"a","mo_del":1}"#,
    ] {
        let expected = Some(("ambiguous_key".to_owned(), None));
        assert_eq!(refused(&only(), "/chat/completions", body), expected, "{body}");
    }
}

#[test]
fn the_models_of_a_query_are_checked() {
    let checked = |uri: &str| check_query(&only(), &uri.parse().unwrap()).is_ok();
    for uri in ["/realtime", "/realtime?model=a", "/x?mod%65l=b&limit=3", "/x?y=model"] {
        assert!(checked(uri), "{uri}");
    }
    for uri in [
        "/realtime?model=c",
        "/realtime?model=a&model=c",
        "/realtime?MODEL=c",
        "/realtime?x=1;model=c",
        "/realtime?model=a;model=c",
        "/realtime?%6dodel=c",
        "/realtime?deployment=c",
        "/realtime?model=",
        "/chat/completions?model[]=c",
    ] {
        assert!(!checked(uri), "{uri}");
    }
}

proptest! {
    /// A model is found wherever among the settings it stands.
    #[test]
    fn no_depth_hides_a_model(
        around in prop::collection::vec(prop::sample::select(vec!["{\"x\":_}", "[_]", "{\"y\":1,\"z\":_}", "[1,_]", "{\"tools\":_}"]), 0..8),
        key in "(fallback_|x)?[mM][oO][dD][eE][lL]s?",
    ) {
        let inner = format!("{{{key:?}:\"c\"}}");
        let nested = around.iter().fold(inner, |nested, around| around.replace('_', &nested));
        let body = format!(r#"{{"model":"a","s":{nested}}}"#);
        prop_assert!(refused(&only(), "/chat/completions", &body).is_some(), "{}", body);
        prop_assert!(refused(&only(), "/chat/completions", &body.replace("\"c\"", "\"b\"")).is_none(), "{}", body);
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>, text in r#"[{}\[\]":,\\umodelsinput ]{0,60}"#) {
        let _ = check_body(&only(), route("/responses"), &bytes);
        let _ = check_body(&only(), route("/responses"), text.as_bytes());
    }
}
