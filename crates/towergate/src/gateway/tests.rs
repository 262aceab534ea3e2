use super::*;

/// Bytes of the future from the outermost layer to the router: 1,056 when it was last measured. It may only go down.
const REQUEST_FUTURE: usize = 1152;

/// Bytes of the future from a provider's outermost layer to its client: 1,848 when it was last measured. It may only
/// go down.
const PROVIDER_FUTURE: usize = 2048;

/// They are boxed once each, and moved when they are made: every byte is copied for each request.
#[tokio::test]
async fn futures_are_no_larger_than_they_were() {
    let provider = OpenAiProvider::builder().api_key("sk-test").unwrap().build().unwrap();
    let request = || Request::get("/v1/models").body(Body::empty()).unwrap();
    let attempt = Service::call(&mut provider.service(), request());
    let attempt = size_of_val(&*attempt);
    assert!(attempt <= PROVIDER_FUTURE, "{attempt} bytes");
    let mut gateway = Gateway::builder().provider(provider).build().unwrap();
    let future = size_of_val(&*gateway.call(request()).0);
    assert!(future <= REQUEST_FUTURE, "{future} bytes");
}
