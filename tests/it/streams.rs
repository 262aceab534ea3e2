//! Streams: nothing is cut unseen, and a client that goes away is seen upstream.

use http_body_util::BodyExt as _;
use towergate_sim::{Fault, Gate};

use super::support::{Answer, World, chat_stream};

/// What a client that reads events must make of a stream.
fn events(answer: &Answer) -> Vec<&str> {
    answer.text().split("\n\n").filter_map(|event| event.trim().strip_prefix("data: ")).collect()
}

#[tokio::test]
async fn a_whole_stream_passes_byte_for_byte_in_any_framing() {
    let world = World::start().await;
    for fault in ["ok", "crlf", "cr", "bom", "byte-by-byte", "split=7", "comments=3", "huge-event=1MiB"] {
        let model = format!("fault:{fault}");
        let direct = super::support::Http::new(format!("http://{}", world.upstream.addr()), false);
        let request = direct.request(http::Method::POST, "/v1/chat/completions");
        let request = request
            .header("authorization", format!("Bearer {}", super::support::PROVIDER_KEY))
            .body(chat_stream(&model).to_string().into())
            .unwrap();
        let expected = direct.read(request).await;
        for http in [world.http1(), world.http2()] {
            let answer = http.chat(&chat_stream(&model)).await;
            assert!(answer.whole, "{fault}");
            assert!(answer.body == expected.body, "{fault}: not byte for byte");
        }
    }
}

#[tokio::test]
async fn a_cut_stream_ends_with_one_error_event_and_a_broken_transport() {
    let world = World::builder()
        .provider(|provider| {
            let clocks = towergate::layers::timeout::Timeouts::default()
                .with_idle(std::time::Duration::from_millis(200));
            provider.timeouts(clocks)
        })
        .start()
        .await;
    for http in [world.http1(), world.http2()] {
        for fault in ["reset-after=5", "cut-after=5", "truncate-after=5", "stall-after=5", "no-finish"] {
            let answer = http.chat(&chat_stream(&format!("fault:{fault}"))).await;
            assert_eq!(answer.status, 200, "{fault}");
            assert!(!answer.whole, "{fault}: the transport must break");
            let events = events(&answer);
            let errors: Vec<_> = events.iter().filter(|event| event.starts_with("{\"error\"")).collect();
            assert_eq!(errors.len(), 1, "{fault}: {events:?}");
            assert!(events.last().unwrap().starts_with("{\"error\""), "{fault}");
            assert!(!events.contains(&"[DONE]"), "{fault}");
        }
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_before_content_is_an_error_like_any_other() {
    let world = World::builder().quick_retries(1).start().await;
    let http = world.http1();
    let answer = http.chat(&chat_stream("fault:error-at=0:server_is_overloaded")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.header("x-towergate-attempts"), Some("2"));
    // Tried again, the client gets the whole of the second answer and nothing of the first.
    world.sim.script(["error-at=1:server_is_overloaded"]).unwrap();
    let answer = http.chat(&chat_stream("gpt-4o")).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
    assert!(!answer.text().contains("error"));
}

#[tokio::test]
async fn upstreams_own_error_event_is_the_only_one() {
    let world = World::start().await;
    let answer = world.http1().chat(&chat_stream("fault:error-at=5:server_error")).await;
    let events = events(&answer);
    assert_eq!(events.iter().filter(|event| event.contains("\"error\"")).count(), 1, "{events:?}");
    assert!(!answer.whole && !events.contains(&"[DONE]"));
}

#[tokio::test]
async fn a_stream_that_lacks_only_done_is_complete() {
    let world = World::start().await;
    let answer = world.http1().chat(&chat_stream("fault:no-done")).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_malformed_event_is_left_out() {
    let world = World::start().await;
    let answer = world.http1().chat(&chat_stream("fault:bad-json-at=4")).await;
    assert!(answer.whole);
    for event in events(&answer) {
        let json = serde_json::from_str::<serde_json::Value>(event);
        assert!(event == "[DONE]" || json.is_ok(), "{event}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_head_is_seen_upstream() {
    let world = World::start().await;
    for http in [world.http1(), world.http2()] {
        let dropped = world.sim.counts().dropped_before_head;
        let arrived = world.sim.counts().received;
        let request = http.json("/v1/chat/completions", &chat_stream("fault:stall-head"));
        let sending = tokio::spawn(async move { http.send(request).await });
        world.sim.wait_until(|log| log.counts().received > arrived).await;
        sending.abort();
        world.sim.wait_until(|log| log.counts().dropped_before_head > dropped).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_in_a_stream_is_seen_upstream() {
    let world = World::start().await;
    for http in [world.http1(), world.http2()] {
        let gate = Gate::new();
        world.sim.script([Fault::new().hold_at(5, &gate)]).unwrap();
        let dropped = world.sim.counts().dropped_in_body;
        let mut response = http.send(http.json("/v1/chat/completions", &chat_stream("gpt-4o"))).await;
        response.body_mut().frame().await.unwrap().unwrap();
        gate.reached().await;
        drop(response);
        world.sim.wait_until(|log| log.counts().dropped_in_body > dropped).await;
    }
}

#[tokio::test]
async fn usage_is_counted_for_who_did_not_ask_and_taken_out_again() {
    let world =
        World::builder().provider(|provider| provider.leaf(|leaf| leaf.usage_in_streams(true))).start().await;
    let http = world.http1();
    let ask = async |request: &serde_json::Value| {
        Answer::read(http.send(http.json("/v1/chat/completions", request)).await).await
    };
    let asking_for = |usage: bool| {
        let mut request = chat_stream("gpt-4o");
        request["stream_options"] = serde_json::json!({ "include_usage": usage });
        request
    };
    // Who asks for it gets it.
    let asked = ask(&asking_for(true)).await;
    assert!(!asked.headers.contains_key("x-towergate-modified"));
    let usage = events(&asked).into_iter().find(|event| event.contains("prompt_tokens")).unwrap().to_owned();
    let without = asked.text().replace(&format!("data: {usage}\n\n"), "").replace(",\"usage\":null", "");

    // The simulated upstream's answer depends on the bytes that it got: those of both requests are the same.
    for request in [chat_stream("gpt-4o"), asking_for(false)] {
        let got = ask(&request).await;
        assert_eq!(got.headers["x-towergate-modified"], "stream_options");
        assert!(got.whole && got.text() == without, "{request}");
    }
    let bodies: Vec<_> = world.sim.requests().into_iter().map(|request| request.body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_and_still_ends_by_its_idle_clock() {
    let ms = std::time::Duration::from_millis;
    let world = World::builder()
        .provider(move |provider| {
            provider.timeouts(towergate::layers::timeout::Timeouts::default().with_idle(ms(400)))
        })
        .gateway(move |gateway| gateway.stream_keep_alive(Some(ms(100))))
        .start()
        .await;
    let answer = world.http1().chat(&chat_stream("fault:stall-after=4")).await;
    let text = answer.text();
    let comments = text.matches(": keep-alive\n\n").count();
    assert!((2..=4).contains(&comments), "{text}");
    assert!(text.contains("timeout") && !answer.whole && !text.contains("[DONE]"), "{text}");
    // What is left without the comments is what came, and the error.
    let rest = text.replace(": keep-alive\n\n", "");
    assert!(rest.starts_with("data: {") && rest.ends_with("}\n\n"), "{rest}");
}
