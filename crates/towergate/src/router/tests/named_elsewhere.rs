//! A model that stands in a form, or in the query.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nfast\r\n--b\r\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nsound\r\n--b--\r\n";

/// A form as intake hands it on.
fn transcription() -> Request<Body> {
    let protocol = OpenAiProtocol::new();
    let route = protocol.route(&http::Method::POST, "/audio/transcriptions");
    let mut request = Request::post("/audio/transcriptions")
        .header("content-type", "multipart/form-data; boundary=b")
        .header(CONTENT_LENGTH, FORM.len());
    let mut form = protocol.read_form(route, request.headers_mut().unwrap(), None).unwrap().unwrap();
    form.read(FORM.as_bytes()).unwrap();
    let pieces = FORM.as_bytes().chunks(50).map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::from(piece))));
    let body = StreamBody::new(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
    let mut request = request.body(Body::new(body)).unwrap();
    request.extensions_mut().insert(Arc::new(form.facts().unwrap()));
    request
}

#[tokio::test]
async fn an_alias_changes_the_models_part_of_a_form_and_nothing_else() {
    let (a, b) = (Scripted::new("a", [answer(503)]), Scripted::new("b", []));
    let routing = routing(&[&a, &b])
        .candidate("a", Candidate::new().alias("fast", "whisper-large-v3"))
        .candidate("b", Candidate::new().priority(2).model("fast"));
    let response = ask(&router(&routing), transcription()).await.unwrap();
    assert_eq!(served(&response), (Some("fast"), 1));
    assert_eq!(a.asked()[0].body, FORM.replace("fast", "whisper-large-v3"));
    assert_eq!(a.asked()[0].model.as_deref(), Some("whisper-large-v3"));
    assert_eq!(b.asked()[0].body, FORM);
}

#[tokio::test]
async fn a_websocket_goes_by_the_model_in_its_query() {
    let (a, b) = (Scripted::new("a", []), Scripted::new("b", []));
    let routing = routing(&[&a, &b])
        .candidate("a", Candidate::new().model("other"))
        .candidate("b", Candidate::new().priority(2).alias("voice", "gpt-realtime"));
    let protocol = OpenAiProtocol::new();
    let mut request = Request::get("/realtime?model=voice&x=1").body(Body::empty()).unwrap();
    let facts = protocol.read_head(protocol.route(request.method(), "/realtime"), request.uri()).unwrap();
    request.extensions_mut().insert(Arc::new(facts));
    let response = ask(&router(&routing), request).await.unwrap();
    assert_eq!(served(&response), (Some("gpt-realtime"), 0));
    assert_eq!(b.asked()[0].uri, "/realtime?model=gpt-realtime&x=1");
}

#[tokio::test]
async fn without_a_model_it_is_who_takes_any_else_the_default() {
    let (a, b) = (Scripted::new("a", []), Scripted::new("b", []));
    let named = routing(&[&a, &b]).candidate("a", Candidate::new().model("m"));
    ask(&router(&named), request_to("/moderations", r#"{"input":"x"}"#)).await.unwrap();
    assert_eq!((a.asked().len(), b.asked().len()), (0, 1));
    let both = named.candidate("b", Candidate::new().priority(2).model("n"));
    ask(&router(&both), request_to("/moderations", r#"{"input":"x"}"#)).await.unwrap();
    ask(&router(&both.default_provider("b")), request_to("/moderations", r#"{"input":"x"}"#)).await.unwrap();
    assert_eq!((a.asked().len(), b.asked().len()), (1, 2));
}
