use super::*;

fn asked<B>(mut request: Request<B>, access: ClientAccess) -> Request<B> {
    request.extensions_mut().insert(Arc::new(access));
    request
}

fn code(result: Result<Seen, BoxError>) -> String {
    Error::find(&*result.unwrap_err()).unwrap().code().to_owned()
}

#[tokio::test]
async fn a_model_that_the_key_does_not_reach_is_refused() {
    let access = || ClientAccess::all().allowed_models(["read"]);
    let seen = send(layer(), asked(post("/v1/chat", "{}"), access())).await.unwrap();
    assert_eq!(seen.facts.unwrap().model.as_deref(), Some("read"));
    let other = ClientAccess::all().allowed_models(["other"]);
    assert_eq!(code(send(layer(), asked(post("/v1/chat", "{}"), other)).await), "model_not_allowed");
    // It is not known which model it would be.
    assert_eq!(code(send(layer(), asked(post("/v1/files", "x"), access())).await), "model_not_allowed");
    let form = Request::post("/v1/files").header(CONTENT_TYPE, "letters").body(frames(&["a", "1"])).unwrap();
    assert_eq!(code(send(layer(), asked(form, access())).await), "model_not_allowed");
}

#[tokio::test]
async fn an_endpoint_that_the_key_does_not_reach_is_refused_unread() {
    let mut body = frames(&["{}"]);
    body.may_be_read = false;
    let access = ClientAccess::all().allowed_endpoints(["/nothing"]);
    let request = asked(Request::post("/v1/chat").body(body).unwrap(), access);
    assert_eq!(code(send(layer(), request).await), "endpoint_not_allowed");
}
