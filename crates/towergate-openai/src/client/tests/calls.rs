//! Calls whose answer is one document.

use super::*;

#[tokio::test]
async fn a_chat_completion() {
    let (client, log) = answering(|| document(200, &completion()));
    let answer = client.chat_completion(&hello()).await.unwrap();
    assert_eq!(answer.text(), Some("Paris."));
    let asked = &log.lock().unwrap()[0];
    assert_eq!((&asked.method, asked.target.as_str()), (&Method::POST, "/v1/chat/completions"));
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.headers["accept"], "application/json");
    assert!(!asked.headers.contains_key(X_REQUEST_ID));
    assert_eq!(
        asked.body,
        json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello, secret canary!"}]})
    );
}

#[tokio::test]
async fn a_whole_answer_is_never_asked_for_as_a_stream() {
    let (client, log) = answering(|| document(200, &completion()));
    let mut streamed = hello().include_usage();
    client.chat_completion(&streamed).await.unwrap();
    streamed.stream = Some(true);
    client.chat_completion(&streamed).await.unwrap();
    for asked in &*log.lock().unwrap() {
        assert_eq!((asked.body.get("stream"), asked.body.get("stream_options")), (None, None));
    }
}

#[tokio::test]
async fn embeddings() {
    let (client, log) = answering(|| {
        document(
            200,
            &json!({
                "object": "list", "model": "text-embedding-3-small",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1]}],
                "usage": {"prompt_tokens": 2, "total_tokens": 2},
            }),
        )
    });
    let request = EmbeddingsRequest::new("text-embedding-3-small", ["a", "b"]).dimensions(2);
    let answer = client.embeddings(&request).await.unwrap();
    assert_eq!(answer.data[0].vector(), Ok(vec![0.5, -1.0]));
    let asked = &log.lock().unwrap()[0];
    assert_eq!((&asked.method, asked.target.as_str()), (&Method::POST, "/v1/embeddings"));
    assert_eq!(asked.body, json!({"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 2}));
}

#[tokio::test]
async fn models() {
    let (client, log) = answering(|| document(200, &json!({"object": "list", "data": [{"id": "gpt-4o"}]})));
    assert_eq!(client.models().await.unwrap().data[0].id, "gpt-4o");
    let asked = &log.lock().unwrap()[0];
    assert_eq!((&asked.method, asked.target.as_str()), (&Method::GET, "/v1/models"));
    assert!(!asked.headers.contains_key("content-type"));
}

#[tokio::test]
async fn each_call_has_its_own_options() {
    let (client, log) = answering(|| document(200, &completion()));
    let options = CallOptions::new()
        .request_id("order-1")
        .header(HeaderName::from_static("x-team"), HeaderValue::from_static("search"))
        .header(HeaderName::from_static("x-team"), HeaderValue::from_static("ads"))
        .header(HeaderName::from_static("accept"), HeaderValue::from_static("*/*"))
        .header(HeaderName::from_static("content-type"), HeaderValue::from_static("text/plain"));
    client.chat_completion_with(&hello(), &options).await.unwrap();
    client.chat_completion(&hello()).await.unwrap();
    let log = log.lock().unwrap();
    let headers = &log[0].headers;
    assert_eq!(headers[X_REQUEST_ID], "order-1");
    assert_eq!(headers.get_all("x-team").iter().collect::<Vec<_>>(), ["search", "ads"]);
    assert_eq!(headers.get_all("accept").iter().collect::<Vec<_>>(), ["*/*"]);
    assert_eq!(headers.get_all("content-type").iter().collect::<Vec<_>>(), ["application/json"]);
    assert!(!log[1].headers.contains_key("x-team"));
}

#[tokio::test]
async fn an_id_that_is_no_header_is_refused() {
    let (client, log) = answering(|| document(200, &completion()));
    for bad in ["", "a b", "a\r\nb: c", &"x".repeat(129)] {
        let options = CallOptions::new().request_id(bad);
        let error = client.chat_completion_with(&hello(), &options).await.unwrap_err();
        assert!(matches!(error, ClientError::Request(_)), "{error}");
    }
    assert!(log.lock().unwrap().is_empty());
}

#[test]
fn options_do_not_print_header_values() {
    let options = CallOptions::new()
        .header(HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer sk-canary"));
    let printed = format!("{options:?}");
    assert!(printed.contains("authorization") && !printed.contains("canary"), "{printed}");
}

#[tokio::test]
async fn an_error_is_read() {
    let (client, _) = answering(|| {
        let mut response = document(
            429,
            &json!({"error": {
                "message": "secret canary", "type": "requests", "param": null, "code": "rate_limit_exceeded",
            }}),
        );
        response.headers_mut().insert("x-request-id", HeaderValue::from_static("req_1"));
        response.headers_mut().insert("retry-after", HeaderValue::from_static("46"));
        response.headers_mut().insert("retry-after-ms", HeaderValue::from_static("45190"));
        response
    });
    let error = client.chat_completion(&hello()).await.unwrap_err();
    assert_eq!(error.to_string(), "the API answered 429: rate_limit_exceeded (request req_1)");
    assert_eq!(error.status(), Some(StatusCode::TOO_MANY_REQUESTS));
    assert_eq!(error.api_error().unwrap().message.as_deref(), Some("secret canary"));
    let ClientError::Api { request_id, retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(request_id.as_deref(), Some("req_1"));
    assert_eq!(retry_after, Some(Duration::from_millis(45_190)));
}

#[tokio::test]
async fn an_error_needs_no_body_that_can_be_read() {
    for (steps, retry_after) in [
        (vec![Step::Data("<html>Bad Gateway</html>")], "Wed, 21 Oct 2026 07:28:00 GMT"),
        (vec![Step::Fail], "-1"),
        (vec![], "nan"),
    ] {
        let body = Arc::new(Mutex::new(Some(Script::new(steps).0)));
        let client = Client::new(tower::service_fn(move |_: Request<Body>| {
            let response = Response::builder().status(502).header("retry-after", retry_after);
            let response = response.body(body.lock().unwrap().take().unwrap()).unwrap();
            async move { Ok::<_, Infallible>(response) }
        }));
        let error = client.models().await.unwrap_err();
        assert_eq!(error.to_string(), "the API answered 502: unnamed error");
        assert!(matches!(error, ClientError::Api { retry_after: None, .. }));
    }
}

#[tokio::test]
async fn an_error_in_a_success_is_an_error() {
    let body =
        json!({"error": {"message": "overloaded", "type": "server_error", "code": "server_is_overloaded"}});
    let (client, _) = answering(move || document(200, &body));
    let whole = client.chat_completion(&hello()).await.unwrap_err();
    let streamed = client.chat_completion_stream(&hello()).await.unwrap_err();
    for error in [whole, streamed] {
        assert_eq!(error.status(), Some(StatusCode::OK));
        assert_eq!(error.api_error().unwrap().code_name(), Some("server_is_overloaded"));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_not_quoted() {
    for body in [r#"{"choices": "secret canary"}"#, r#"{"choices": [{"secret canary"#, "secret canary", ""] {
        let (client, _) = answering(move || Response::new(Body::from(body)));
        let error = client.chat_completion(&hello()).await.unwrap_err();
        assert!(matches!(error, ClientError::Decode { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let size = completion().to_string().len();
    let (client, _) = answering(|| document(200, &completion()));
    assert!(client.clone().with_answer_limit(size).chat_completion(&hello()).await.is_ok());
    let error = client.with_answer_limit(size - 1).chat_completion(&hello()).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn what_the_service_says_is_the_source() {
    let client = Client::new(tower::service_fn(|_: Request<Body>| async {
        Err::<Response<Body>, BoxError>("no route to host".into())
    }));
    let error = client.chat_completion(&hello()).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport(_)));
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no route to host");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_transport_error() {
    let (body, _) = Script::new([Step::Data("{"), Step::Fail]);
    let error = giving(body).chat_completion(&hello()).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_bounds_the_whole_call() {
    let (body, mut dropped) = Script::new([Step::Data("{"), Step::Hang]);
    let options = CallOptions::new().timeout(Duration::from_secs(3));
    let began = Instant::now();
    let error = giving(body).chat_completion_with(&hello(), &options).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 3s (CallOptions::timeout)");
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    dropped.try_recv().expect("the answer's body is dropped with the call");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_bounds_a_service_that_is_not_ready() {
    #[derive(Clone)]
    struct NeverReady;
    impl Service<Request<Body>> for NeverReady {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            panic!("called without being ready")
        }
    }
    let options = CallOptions::new().timeout(Duration::from_secs(3));
    let error = Client::new(NeverReady).models_with(&options).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }));
}

#[tokio::test]
async fn the_instance_that_was_ready_is_called() {
    /// Ready only for whoever asked; a clone has not asked.
    struct Ready(bool);
    impl Clone for Ready {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<Request<Body>> for Ready {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Body>, Infallible>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "called without being ready");
            std::future::ready(Ok(document(200, &completion())))
        }
    }
    Client::new(Ready(false)).chat_completion(&hello()).await.unwrap();
}

#[tokio::test]
async fn health_is_the_list_of_models() {
    let (client, log) = answering(|| document(200, &json!({"data": [{"id": "a"}, {"id": "b"}]})));
    let before = SystemTime::now();
    let health = client.health_check().await;
    assert!(health.healthy && health.error.is_none());
    assert_eq!(health.models_seen, 2);
    assert!(health.checked_at >= before);
    let log = log.lock().unwrap();
    assert_eq!((log.len(), log[0].target.as_str()), (1, "/v1/models"));
}

#[tokio::test]
async fn bad_health_is_no_error() {
    let (client, _) = answering(|| document(401, &json!({"error": {"code": "invalid_api_key"}})));
    let health = client.health_check().await;
    assert!(!health.healthy);
    assert_eq!(health.error.unwrap().api_error().unwrap().code_name(), Some("invalid_api_key"));

    client.close().await;
    assert!(matches!(client.health_check().await.error, Some(ClientError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn health_does_not_wait_for_ever() {
    let (body, _) = Script::new([Step::Hang]);
    let health = giving(body).health_check().await;
    assert_eq!(health.latency, Duration::from_secs(10));
    assert!(matches!(health.error, Some(ClientError::Timeout { .. })));

    let (body, _) = Script::new([Step::Hang]);
    let options = CallOptions::new().timeout(Duration::from_secs(1));
    assert_eq!(giving(body).health_check_with(&options).await.latency, Duration::from_secs(1));
}

#[test]
fn a_client_and_its_calls_can_be_moved_to_other_threads() {
    fn movable<T: Send + 'static>(_: &T) {}
    let (client, _) = answering(|| document(200, &completion()));
    movable(&client);
    movable(&client.chat_completion(&hello()));
    movable(&client.chat_completion_stream(&hello()));
    movable(&client.health_check());
    movable(&client.close());
}
