use std::collections::HashSet;

use proptest::prelude::*;
use towergate_core::route::Reads;

use super::*;

fn name(method: &str, path: &str) -> &'static str {
    find(&Method::from_bytes(method.as_bytes()).unwrap(), path).name
}

#[test]
fn every_row_is_found_by_its_own_template() {
    for (route, verb) in TABLE.iter().zip(&VERBS) {
        let method = match verb {
            Verb::Get | Verb::Any => Method::GET,
            Verb::Post => Method::POST,
            Verb::Delete => Method::DELETE,
        };
        let mut path = route.template.replace("{rest}", "a/b");
        while let (Some(open), Some(close)) = (path.find('{'), path.find('}')) {
            path.replace_range(open..=close, "x-1");
        }
        let found = find(&method, &path);
        assert_eq!(found.name, route.name, "{method} {path}");
        assert_eq!(found.template, route.template, "{method} {path}");
    }
}

#[test]
fn rows_are_numbered_and_families_stand_together() {
    let mut seen = HashSet::new();
    let mut last = "";
    for (place, route) in all().iter().enumerate() {
        assert_eq!(route.index, place);
        let family = family(route.template);
        if family != last {
            assert!(seen.insert(family), "{family} is torn apart");
            last = family;
        }
    }
    assert_eq!(OTHER.index + 1, all().len());
}

#[test]
fn the_method_decides() {
    assert_eq!(name("POST", "/chat/completions"), "chat.completions");
    assert_eq!(name("GET", "/chat/completions"), "chat.completions.list");
    assert_eq!(name("GET", "/responses"), "responses.connect");
    for method in ["HEAD", "OPTIONS", "BREW"] {
        assert_eq!(name(method, "/chat/completions"), "other");
    }
    for method in ["PUT", "PATCH"] {
        assert_eq!(name(method, "/chat/completions"), "chat.completions");
        assert_eq!(name(method, "/files/f"), "other");
    }
    assert_eq!(name("PATCH", "/organization/users/u"), "organization");
}

#[test]
fn the_literal_comes_before_the_id() {
    assert_eq!(name("POST", "/responses/compact"), "responses.compact");
    assert_eq!(name("GET", "/responses/resp_1"), "responses.get");
    assert_eq!(name("POST", "/threads/runs"), "threads.create_and_run");
}

#[test]
fn a_namespaced_model_is_a_model() {
    assert_eq!(name("GET", "/models/meta-llama%2FLlama-3"), "models.get");
    assert_eq!(name("GET", "/models/meta-llama/Llama-3"), "models.get");
}

#[test]
fn a_path_is_of_the_row_that_a_server_may_read_it_as() {
    for path in [
        "/chat/completions/",
        "//chat//completions",
        "/chat%2Fcompletions",
        "/chat%252fcompletions",
        "/%63hat/completions",
        "/chat/completions;v=1",
        "/chat/completions%00",
        "/chat/completions%20",
        "/chat/completions%3Fx",
        "/chat\\completions",
        "/Chat/COMPLETIONS",
        "/CHAT%2FCompletions/",
    ] {
        assert_eq!(name("POST", path), "chat.completions", "{path}");
    }
    assert_eq!(name("GET", "/models/"), "models.list");
    assert_eq!(name("GET", "/files/a%2Fcontent"), "files.content");
    assert_eq!(name("GET", "/Files/file-ABC"), "files.get");
    // What no server reads as a row's path may still be an odd id.
    assert_eq!(name("DELETE", "/files/a%2Fb"), "files.delete");
}

#[test]
fn what_is_only_similar_is_unknown() {
    for path in ["", "/", "/chat", "/chat;v=1/completions", "/chat/completions.", "/chat/completions%FF"] {
        assert_eq!(name("POST", path), "other", "{path}");
    }
    assert_eq!(name("POST", "/chat/completionsx"), "other");
}

#[test]
fn flags_say_what_the_gateway_relies_on() {
    let required: Vec<_> =
        all().iter().filter(|route| route.requires_model).map(|route| route.name).collect();
    assert_eq!(required, ["chat.completions", "completions", "embeddings", "audio.speech"]);
    for route in all() {
        assert_eq!(route.bare, route.name != "other");
        if route.requires_model {
            assert_eq!(route.reads, Reads::Json);
        }
        // A key that is restricted to models reaches what is stateless: nothing of that may run a model unread.
        if route.stateless && route.generates {
            assert_ne!(route.reads, Reads::Nothing, "{}", route.name);
        }
        assert_eq!(route.is_known(), route.name != "other");
        let binary = route.name.ends_with(".content") || route.name == "audio.speech";
        assert!(!(binary && route.holds_answer), "{}", route.name);
    }
}

proptest! {
    #[test]
    fn any_path_has_a_row(path in ".{0,60}", tail in "[a-z/{}._%-]{0,40}") {
        for path in [path, format!("/{tail}"), format!("/chat/{tail}"), format!("/threads/{tail}")] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                prop_assert!(all().contains(find(&method, &path)));
            }
        }
    }
}
