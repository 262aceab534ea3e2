use http_body_util::StreamBody;

use super::*;

/// A form in which the model is whatever digit comes first; a second one is refused. After a dot no more is
/// read. A strict one takes no question mark, and must end with a dot.
#[derive(Debug, Default)]
pub(super) struct Letters {
    strict: bool,
    model: Option<String>,
    over: bool,
}

impl Letters {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }
}

impl ReadForm for Letters {
    fn read(&mut self, data: &[u8]) -> Result<(), Error> {
        for byte in data {
            self.over |= *byte == b'.';
            if byte.is_ascii_digit() && self.model.replace(char::from(*byte).into()).is_some() {
                return Err(Error::new(ErrorKind::BadRequest, "twice"));
            }
            if self.strict && *byte == b'?' {
                return Err(Error::new(ErrorKind::BadRequest, "unclear").with_code("unclear"));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.strict && !self.over {
            return Err(Error::new(ErrorKind::BadRequest, "no end").with_code("no_end"));
        }
        Ok(())
    }

    fn facts(&self) -> Option<Facts> {
        let facts = Facts::of_route(&FILES, Label::new("other"));
        (self.model.is_some() || self.over)
            .then(|| Facts { model: self.model.as_deref().map(Into::into), ..facts })
    }
}

fn form<B>(body: B) -> Request<B> {
    Request::post("/v1/files").header(CONTENT_TYPE, "letters").body(body).unwrap()
}

fn model(seen: &Seen) -> Option<&str> {
    seen.facts.as_ref().unwrap().model.as_deref()
}

#[tokio::test]
async fn a_form_is_read_along_and_passes_as_it_came() {
    let request = form(frames(&["ab", "c1", "d", "e"]));
    let seen = send(layer(), request).await.unwrap();
    assert_eq!(model(&seen), Some("1"));
    assert!(!seen.collected);
    assert_eq!(seen.body.unwrap(), "abc1de");
}

#[tokio::test]
async fn the_request_goes_on_as_soon_as_the_model_is_known() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(1);
    let body = StreamBody::new(futures_util::stream::unfold(receiver, async |mut receiver| {
        let frame = Frame::data(Bytes::from(receiver.recv().await?));
        Some((Ok::<_, io::Error>(frame), receiver))
    }));
    let body = Body::new(body);
    let called = Notify::new();
    let service = layer().layer(service_fn(async |request: Request<Body>| {
        called.notify_one();
        Ok::<_, Infallible>(Response::new(request.into_body().collect().await.unwrap().to_bytes()))
    }));
    let answering = service.oneshot(form(body));
    let sending = async {
        sender.send("a").await.unwrap();
        sender.send("1").await.unwrap();
        called.notified().await;
        sender.send("the rest").await.unwrap();
        drop(sender);
    };
    let (answer, ()) = tokio::join!(answering, sending);
    assert_eq!(answer.unwrap().into_body(), "a1the rest");
}

#[tokio::test]
async fn a_form_that_says_nothing_goes_on() {
    for body in [&["abc"][..], &[], &["a.", "1"]] {
        let seen = send(layer(), form(frames(body))).await.unwrap();
        assert_eq!(model(&seen), None);
        assert_eq!(seen.body.unwrap(), body.concat());
    }
}

#[tokio::test]
async fn it_is_looked_into_so_far_and_no_further() {
    let piece = "x".repeat(16 << 10);
    let piece: &'static str = piece.leak();
    let seen = send(layer(), form(frames(&[piece, piece, piece, piece, "1", "2"]))).await.unwrap();
    assert_eq!(model(&seen), None);
    assert_eq!(seen.body.unwrap().len(), (64 << 10) + 2, "what was not looked for cannot be there twice");
}

#[tokio::test]
async fn a_second_model_ends_it_wherever_it_stands() {
    let seen = send(layer(), form(frames(&["a1", "b", "c2", "d"]))).await.unwrap();
    let error = seen.body.unwrap_err();
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::BadRequest);
    assert_eq!(kind(send(layer(), form(frames(&["12"]))).await), ErrorKind::BadRequest);
}

#[tokio::test]
async fn what_is_read_ahead_is_counted_and_given_back() {
    let memory = MemoryBudget::new(1000);
    let seen = send(layer().memory(memory.clone()), form(frames(&["ab", "1", "rest"]))).await.unwrap();
    assert_eq!(seen.body.unwrap(), "ab1rest");
    assert_eq!(memory.used(), 0);
    let long: &'static str = "x".repeat(1000).leak();
    // A piece costs more than its byte, and one without a byte is not kept.
    for pieces in [&["a", long][..], &["a"; 100]] {
        let refused = send(layer().memory(memory.clone()), form(frames(pieces))).await;
        assert_eq!((kind(refused), memory.used()), (ErrorKind::Overloaded, 0));
    }
    let seen = send(layer().memory(memory.clone()), form(frames(&[&[""; 100][..], &["1"]].concat()))).await;
    assert_eq!(seen.unwrap().body.unwrap(), "1");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_the_clients() {
    let mut broken = frames(&["ab"]);
    broken.frames.push_back(Err(io::ErrorKind::UnexpectedEof.into()));
    assert_eq!(kind(send(layer(), form(broken)).await), ErrorKind::ClientGone);
    let large = send(layer().max_upload(3), form(frames(&["ab", "cd"]))).await;
    assert_eq!(kind(large), ErrorKind::PayloadTooLarge);
}
