//! Two providers that go by one label: the registry's names tell them apart.

use super::*;

fn two_of_one_label() -> (Scripted, Scripted, Routing) {
    let (one, two) = (Scripted::new("openai", []), Scripted::new("openai", []));
    let mut registry = Registry::new();
    registry.register("one", one.clone());
    registry.register("two", two.clone());
    let routing = Routing::new(registry)
        .candidate("one", Candidate::new().alias("m", "m-of-one"))
        .candidate("two", Candidate::new().priority(2).alias("m", "m-of-two"));
    (one, two, routing)
}

#[tokio::test]
async fn the_one_that_is_named_is_asked() {
    let (one, two, routing) = two_of_one_label();
    let mut request = chat("m");
    request.headers_mut().insert("x-towergate-provider", HeaderValue::from_static("two"));
    ask(&router(&routing), request).await.unwrap();
    assert_eq!((one.asked().len(), two.asked().len()), (0, 1));
    assert_eq!(two.asked()[0].model.as_deref(), Some("m-of-two"));
}

#[tokio::test(start_paused = true)]
async fn the_last_resort_is_one_of_them() {
    let (one, two, routing) = two_of_one_label();
    one.set_aside(Duration::from_secs(9));
    two.set_aside(Duration::from_secs(4));
    two.state.lock().unwrap().script.push_back(answer(503));
    assert_eq!(ask(&router(&routing), chat("m")).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((one.asked().len(), two.asked().len()), (0, 1));
}
