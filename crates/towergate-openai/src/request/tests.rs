use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{json::any_json, routes};

fn chat() -> &'static Route {
    routes::find(&Method::POST, "/chat/completions")
}

fn route(path: &str) -> &'static Route {
    routes::find(&Method::POST, path)
}

fn refused(body: &str) -> (String, Option<String>) {
    let error = read(chat(), body.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRequest);
    (error.code().to_owned(), error.param().map(str::to_owned))
}

#[test]
fn the_fields_are_read_wherever_they_stand() {
    let body = r#" {"messages":[{"role":"user","content":"\"model\":\"no\", \\"}],
        "stream" : true, "stream_options":{"x":1,"include_usage":true},"model":"gpt-4o","temperature":1e0} "#;
    let request = read(chat(), body.as_bytes()).unwrap();
    assert_eq!(request.model.as_deref(), Some("gpt-4o"));
    assert!(request.stream && request.include_usage);
    assert_eq!(request.reasoning, None);
}

#[test]
fn what_upstream_may_judge_passes() {
    for body in [
        r#"{"model":"m","stream":null}"#,
        r#"{"model":"m","stream":"yes"}"#,
        r#"{"model":"m","stream_options":null,"reasoning":null,"reasoning_effort":7}"#,
        r#"{"model":"","x":{"model":1,"model":2}}"#,
        r#"{"model":"m","temperature":NaN,"a":1,"a":2}"#,
        "\u{feff}{\"model\":\"m\"}",
    ] {
        let request = read(chat(), body.as_bytes()).unwrap();
        assert!(!request.stream && request.reasoning.is_none(), "{body}");
    }
    assert!(read(chat(), b"{\"model\":\"m\",\"x\":\"\xff\xfe\"}").is_ok());
    let deep = format!(r#"{{"model":"m","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(chat(), deep.as_bytes()).is_ok());
}

#[test]
fn a_duplicate_is_refused_with_escapes_decoded() {
    for (body, key) in [
        (r#"{"model":"a","mod\u0065l":"b"}"#, "model"),
        (r#"{"model":"a","model":"a"}"#, "model"),
        (r#"{"model":"a","stream":false,"\u0073tream":true}"#, "stream"),
        (r#"{"model":"a","stream_options":{},"stream_options":{}}"#, "stream_options"),
    ] {
        assert_eq!(refused(body), ("duplicate_key".to_owned(), Some(key.to_owned())), "{body}");
    }
}

#[test]
fn a_key_that_is_model_but_for_case_is_refused() {
    for body in [
        r#"{"model":"a","Model":"b"}"#,
        r#"{"MODEL":"b","model":"a"}"#,
        r#"{"mOd\u0065l":"b"}"#,
        r#"{"Model":null}"#,
    ] {
        for path in ["/chat/completions", "/responses", "/images/generations", "/threads", "/evals"] {
            let refused = read(route(path), body.as_bytes()).unwrap_err();
            assert_eq!((refused.kind(), refused.code()), (ErrorKind::BadRequest, "ambiguous_key"), "{body}");
            assert!(refused.to_string().contains("which some servers read as \"model\""), "{refused}");
        }
    }
    // What it says decides nothing here, and a server in Go obeys it.
    let lenient = read(chat(), br#"{"model":"a","Stream":true,"x":{"Model":"b"},"models":["b"]}"#).unwrap();
    assert_eq!((lenient.model.as_deref(), lenient.stream), (Some("a"), false));
}

#[test]
fn a_model_is_asked_for_only_where_it_is_required() {
    let missing = ("missing_required_parameter".to_owned(), Some("model".to_owned()));
    assert_eq!(refused("{}"), missing);
    assert_eq!(refused(r#"{"model":null}"#), missing);
    let wrong = ("invalid_type".to_owned(), Some("model".to_owned()));
    for body in [r#"{"model":1}"#, r#"{"model":["a"]}"#, r#"{"model":"\ud800"}"#] {
        assert_eq!(refused(body), wrong, "{body}");
    }
    assert_eq!(read(route("/responses"), br#"{"prompt":{"id":"p"}}"#).unwrap().model, None);
    assert_eq!(read(route("/evals"), br#"{"model":{"a":1}}"#).unwrap().model, None);
}

#[test]
fn what_is_no_json_object_is_refused() {
    for body in [
        "",
        " ",
        "[]",
        "1",
        "null",
        "\"x\"",
        "{",
        "{\"model\":\"m\"",
        "{\"model\":\"m\"}}",
        "{'a':1}",
        "a=b",
        "\0",
    ] {
        assert_eq!(refused(body), ("invalid_json".to_owned(), None), "{body:?}");
    }
    for none in ["", " \n", "null", " null\n"] {
        assert_eq!(read(route("/threads"), none.as_bytes()).unwrap(), Request::default(), "{none:?}");
    }
    for body in ["nul", "null null", "[]", "\"null\"", "false"] {
        assert!(read(route("/threads"), body.as_bytes()).is_err(), "{body:?}");
    }
    assert!(read(route("/images/generations"), b"null").is_err());
    assert!(read(route("/threads"), b"[]").is_err());
}

#[test]
fn a_message_never_quotes_the_body() {
    let error = read(chat(), br#"{"model":"m","messages":"sk-secret" "x"}"#).unwrap_err();
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn reasoning_is_seen_and_so_is_its_absence() {
    let reasoning = |body: &str| read(route("/responses"), body.as_bytes()).unwrap().reasoning;
    assert_eq!(reasoning(r#"{"reasoning_effort":"high"}"#), Some(true));
    assert_eq!(reasoning(r#"{"reasoning_effort":"minimal"}"#), Some(false));
    assert_eq!(reasoning(r#"{"reasoning":{"effort":"none"}}"#), Some(false));
    assert_eq!(reasoning(r#"{"reasoning":{"summary":"auto"}}"#), Some(true));
    assert_eq!(reasoning("{}"), None);
}

#[test]
fn the_choices_of_a_stream_are_counted() {
    for (path, body, choices) in [
        ("/chat/completions", r#"{"model":"m"}"#, None),
        ("/chat/completions", r#"{"model":"m","n":null}"#, None),
        ("/chat/completions", r#"{"model":"m","n":0}"#, None),
        ("/chat/completions", r#"{"model":"m","n":3,"prompt":["a","b"]}"#, Some(3)),
        ("/completions", r#"{"model":"m","n":2,"prompt":["a","b","c"]}"#, Some(6)),
        ("/completions", r#"{"model":"m","prompt":[[1,2],[3]]}"#, Some(2)),
        ("/completions", r#"{"model":"m","prompt":[1,2,3]}"#, None),
        ("/completions", r#"{"model":"m","prompt":"a","n":2}"#, Some(2)),
        ("/completions", r#"{"model":"m","prompt":["a","b"],"n":18446744073709551615}"#, None),
        ("/embeddings", r#"{"model":"m","n":2}"#, None),
    ] {
        let read = read(route(path), body.as_bytes()).unwrap();
        assert_eq!(read.choices.map(NonZeroU32::get), choices, "{path} {body}");
    }
    assert_eq!(refused(r#"{"model":"m","n":1,"n":2}"#).1.as_deref(), Some("n"));
    let twice = read(route("/completions"), br#"{"model":"m","prompt":"a","prompt":["a"]}"#).unwrap_err();
    assert_eq!(twice.param(), Some("prompt"));
}

#[test]
fn speech_streams_by_its_format() {
    let body = br#"{"model":"tts-1","input":"x","voice":"v","stream_format":"sse"}"#;
    assert!(read(route("/audio/speech"), body).unwrap().stream);
    assert!(!read(chat(), body).unwrap().stream);
}

proptest! {
    #[test]
    fn agrees_with_serde(
        rest in prop::collection::hash_map(".{0,8}", any_json(), 0..6),
        model in prop_oneof![".{0,20}".prop_map(Value::from), any_json()],
        stream in any_json(),
        pretty: bool,
    ) {
        let mut object: serde_json::Map<String, Value> = rest.into_iter().collect();
        object.insert("stream".to_owned(), stream);
        object.insert("model".to_owned(), model);
        let value = Value::Object(object);
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        match read(chat(), text.as_bytes()) {
            Ok(request) => {
                prop_assert_eq!(request.model.as_deref(), value["model"].as_str());
                prop_assert_eq!(request.stream, value["stream"] == json!(true));
            }
            Err(error) => {
                prop_assert_eq!(error.param(), Some("model"));
                prop_assert!(!value["model"].is_string());
            }
        }
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>, text in r#"[{}\[\]":,\\umodelstra ]{0,40}"#) {
        let _ = read(chat(), &bytes);
        if read(chat(), text.as_bytes()).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
    }
}
