use http_body_util::Full;

use super::*;

fn asked<B>(mut request: Request<B>, access: ClientAccess) -> Request<B> {
    request.extensions_mut().insert(Arc::new(access));
    request
}

fn only(model: &str) -> ClientAccess {
    ClientAccess::all().allowed_models([model])
}

fn form<B>(body: B) -> Request<B> {
    Request::post("/v1/files").header(CONTENT_TYPE, "letters").body(body).unwrap()
}

fn code<T: fmt::Debug>(result: Result<T, BoxError>) -> String {
    Error::find(&*result.unwrap_err()).unwrap().code().to_owned()
}

#[tokio::test]
async fn a_model_that_the_key_does_not_reach_is_refused() {
    let seen = send(layer(), asked(post("/v1/chat", "{}"), only("read"))).await.unwrap();
    assert_eq!(seen.facts.unwrap().model.as_deref(), Some("read"));
    assert_eq!(code(send(layer(), asked(post("/v1/chat", "{}"), only("other"))).await), "model_not_allowed");
    // It is not known which model it would be.
    assert_eq!(code(send(layer(), asked(post("/v1/files", "x"), only("read"))).await), "model_not_allowed");
    let form = form(frames(&["a", "1"]));
    assert_eq!(code(send(layer(), asked(form, only("read"))).await), "model_not_allowed");
}

#[tokio::test]
async fn an_endpoint_that_the_key_does_not_reach_is_refused_unread() {
    let access = ClientAccess::all().allowed_endpoints(["/nothing"]);
    for (path, access) in [("/v1/chat", access), ("/v1/unknown", only("read"))] {
        let mut body = frames(&["{}"]);
        body.may_be_read = false;
        let request = asked(Request::post(path).body(body).unwrap(), access);
        assert_eq!(code(send(layer(), request).await), "endpoint_not_allowed");
    }
}

#[tokio::test]
async fn what_else_a_request_names_is_checked_too() {
    let both = ClientAccess::all().allowed_models(["read", "second"]);
    for (path, body, access, expected) in [
        ("/v1/chat", "{other:second}", both.clone(), None),
        ("/v1/chat", "{other:third}", both.clone(), Some("model_not_allowed")),
        ("/v1/chat?second", "{}", both.clone(), None),
        ("/v1/chat?third", "{}", both, Some("model_not_allowed")),
        ("/v1/chat?third", "{other:third}", ClientAccess::all().allowed_endpoints(["/"]), None),
    ] {
        let sent = send(layer(), asked(post(path, body), access)).await;
        assert_eq!(sent.err().map(|error| code::<()>(Err(error))).as_deref(), expected, "{path} {body}");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_searched_is_refused_unread_where_models_are_restricted() {
    let unread = [
        (CONTENT_TYPE, "multipart/form-data; boundary=x"),
        (CONTENT_TYPE, "text/plain"),
        (CONTENT_TYPE, "application/json; charset=utf-16le"),
        (CONTENT_TYPE, "application/json; x=y; CharSet*=utf-16"),
        (CONTENT_ENCODING, "gzip"),
    ];
    for (field, value) in unread {
        let request = |may_be_read| {
            let body = Frames { may_be_read, ..frames(&["{}"]) };
            Request::post("/v1/chat").header(field.clone(), value).body(body).unwrap()
        };
        assert!(send(layer(), request(true)).await.is_ok(), "{value}");
        let refused = send(layer(), asked(request(false), only("read"))).await.unwrap_err();
        assert!(refused.to_string().contains("application/json"), "{refused}");
        assert_eq!(code::<()>(Err(refused)), "model_not_allowed", "{value}");
    }
    for plain in
        ["application/json", "application/json; charset=\"UTF-8\"", "application/x+json;charset=utf8"]
    {
        let request = Request::post("/v1/chat").header(CONTENT_TYPE, plain).body(Body::from("{}")).unwrap();
        assert!(send(layer(), asked(request, only("read"))).await.is_ok(), "{plain}");
    }
    let two = Request::post("/v1/chat").header(CONTENT_TYPE, "application/json");
    let two = two.header(CONTENT_TYPE, "application/json").body(Body::from("{}")).unwrap();
    assert_eq!(code(send(layer(), asked(two, only("read"))).await), "model_not_allowed");
}

#[tokio::test]
async fn a_form_is_read_before_it_goes_on_and_so_is_its_end() {
    for (pieces, expected) in [(&["a1", "b", "?", "c."][..], "unclear"), (&["a1", "b"], "no_end")] {
        let seen = send(layer(), asked(form(frames(pieces)), only("1"))).await.unwrap();
        assert_eq!(code(seen.body), expected);
    }
    let seen = send(layer(), asked(form(frames(&["a1", "b", "."])), only("1"))).await.unwrap();
    assert_eq!(seen.body.unwrap(), "a1b.");
    // Nothing is found for longer than is waited, and the rest is read all the same.
    let long: &'static str = "x".repeat(IntakeLayer::<()>::PEEKED).leak();
    let form = form(frames(&[long, "?"]));
    assert_eq!(code(send(layer(), asked(form, only("1"))).await), "model_not_allowed");
}

/// Whoever knows the length does not ask for the end: the last bytes must not go on before it is looked at.
#[tokio::test]
async fn the_last_bytes_of_a_form_do_not_go_on_before_its_end_is_read() {
    let all_but_the_end = async |request: Request<Body>| {
        let mut body = request.into_body();
        let mut sent = 0;
        while sent < 3 {
            match body.frame().await {
                Some(Ok(frame)) => sent += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        Ok(Response::new(sent))
    };
    let declared = frames(&["a1", "b"]);
    let mut declared = form(declared);
    declared.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
    let sent = layer().layer(service_fn(all_but_the_end)).oneshot(asked(declared, only("1"))).await;
    assert_eq!(code(sent), "no_end");
    let known = form(Full::new(Bytes::from_static(b"a1b")));
    let sent = layer().layer(service_fn(all_but_the_end)).oneshot(asked(known, only("1"))).await;
    assert_eq!(code(sent), "no_end");
}
