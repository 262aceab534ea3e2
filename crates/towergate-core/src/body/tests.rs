use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

/// A body that yields what it is given, then perhaps an error.
struct Script(VecDeque<Result<Frame<Bytes>, BoxError>>);

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn script(chunks: &[&'static str]) -> Body {
    Body::new(Script(chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from(*chunk)))).collect()))
}

fn failing(chunks: &[&'static str]) -> Body {
    let mut frames: VecDeque<_> = chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from(*chunk)))).collect();
    frames.push_back(Err("the upload broke".into()));
    Body::new(Script(frames))
}

fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, BoxError>> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("these bodies are always ready"),
    }
}

fn read(body: &mut Body) -> Result<Vec<u8>, BoxError> {
    let mut all = Vec::new();
    while let Some(frame) = next(body) {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all)
}

#[test]
fn a_body_is_boxed_once() {
    let body = Body::new(Body::from("collected"));
    assert_eq!(body.as_bytes(), Some(b"collected".as_slice()));
}

#[test]
fn a_full_body_is_not_boxed_at_all() {
    for text in ["", "collected"] {
        let body = Body::new(Full::new(Bytes::from(text)));
        assert_eq!(body.as_bytes(), Some(text.as_bytes()));
        assert!(body.try_clone().is_some());
    }
}

#[test]
fn exact_lengths_survive() {
    assert_eq!(Body::from("four").size_hint().exact(), Some(4));
    assert_eq!(Body::empty().size_hint().exact(), Some(0));
    let body =
        Body::new(http_body_util::Full::new(Bytes::from("four")).boxed_unsync()).into_replayable(10, None);
    assert_eq!(body.size_hint().exact(), Some(4));
}

#[test]
fn a_replayed_stream_is_the_same_stream() {
    let mut first = script(&["a", "bc", "def"]).into_replayable(6, None);
    let mut second = first.try_clone().unwrap();
    assert_eq!(read(&mut first).unwrap(), b"abcdef");
    assert!(second.is_replayable());
    assert_eq!(second.size_hint().exact(), Some(6));
    assert_eq!(read(&mut second).unwrap(), b"abcdef");
}

#[test]
fn a_half_read_stream_is_replayed_whole() {
    let mut first = script(&["a", "bc", "def"]).into_replayable(64, None);
    let mut second = first.try_clone().unwrap();
    next(&mut first).unwrap().unwrap();
    assert_eq!(read(&mut second).unwrap(), b"abcdef");
    // The first attempt's connection still holds its body: it must not go on as if nothing were.
    assert!(next(&mut first).unwrap().unwrap_err().is::<ReplayLost>());
}

#[test]
fn past_the_cap_the_first_attempt_goes_on_and_no_other_can() {
    let mut first = script(&["abc", "def"]).into_replayable(5, None);
    let mut second = first.try_clone().unwrap();
    assert_eq!(read(&mut first).unwrap(), b"abcdef");
    assert!(!second.is_replayable());
    assert!(next(&mut second).unwrap().unwrap_err().is::<ReplayLost>());
}

#[test]
fn a_copy_that_is_lost_is_not_taken_for_an_empty_upload() {
    // Past the cap, and the source is over: what the copy would have sent is gone.
    let mut first = Body::new(http_body_util::Full::new(Bytes::from("abcdef")).map_frame(|frame| frame));
    first = first.into_replayable(5, None);
    let second = first.try_clone().unwrap();
    assert_eq!(read(&mut first).unwrap(), b"abcdef");
    assert!(!second.is_end_stream());
    assert_eq!(second.size_hint().exact(), None);

    // Another attempt took over, and read all of it.
    let mut first =
        Body::new(http_body_util::Full::new(Bytes::from("ab")).boxed_unsync()).into_replayable(5, None);
    let mut second = first.try_clone().unwrap();
    next(&mut first).unwrap().unwrap();
    assert!(first.is_end_stream());
    read(&mut second).unwrap();
    assert!(!first.is_end_stream() && second.is_end_stream());
}

#[test]
fn pieces_are_bounded_too_and_empty_ones_are_not_kept() {
    let mut first = script(&["", "a", "", ""]).into_replayable(5, None);
    let mut second = first.try_clone().unwrap();
    assert_eq!(read(&mut first).unwrap(), b"a");
    assert_eq!(next(&mut second).unwrap().unwrap().into_data().unwrap(), "a");
    assert!(next(&mut second).is_none());

    // A piece costs more than its byte.
    let cap = 1 << 20;
    let mut first = script(&["a"; 100_000]).into_replayable(cap, None);
    let second = first.try_clone().unwrap();
    assert_eq!(read(&mut first).unwrap().len(), 100_000);
    assert!(!second.is_replayable());
}

#[test]
fn a_failed_upload_is_not_replayed() {
    let mut first = failing(&["abc"]).into_replayable(64, None);
    let second = first.try_clone().unwrap();
    assert!(read(&mut first).is_err());
    assert!(!second.is_replayable());
}

#[test]
fn trailers_are_replayed() {
    let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("x"))]);
    let frames = VecDeque::from([Ok(Frame::data(Bytes::from("abc"))), Ok(Frame::trailers(trailers.clone()))]);
    let mut first = Body::new(Script(frames)).into_replayable(64, None);
    let mut second = first.try_clone().unwrap();
    for body in [&mut first, &mut second] {
        assert!(next(body).unwrap().unwrap().is_data());
        assert!(!body.is_end_stream());
        assert_eq!(next(body).unwrap().unwrap().into_trailers().unwrap(), trailers);
        assert!(body.is_end_stream());
        assert!(next(body).is_none());
    }
}

proptest! {
    /// However a stream is split, and wherever an attempt stops, the next one sends every byte.
    #[test]
    fn replay_is_byte_exact(chunks in prop::collection::vec("[a-z]{1,9}", 0..12), stop in 0_usize..14) {
        let whole: String = chunks.concat();
        let frames = chunks.into_iter().map(|chunk| Ok(Frame::data(Bytes::from(chunk)))).collect();
        let mut first = Body::new(Script(frames)).into_replayable(1024, None);
        let mut second = first.try_clone().unwrap();
        for _ in 0..stop {
            let _ = next(&mut first);
        }
        prop_assert_eq!(read(&mut second).unwrap(), whole.as_bytes());
    }
}

/// Writes down what it was told.
struct Log(Arc<Mutex<Vec<String>>>);

impl Observe for Log {
    fn on_data(&mut self, data: &Bytes) {
        self.0.lock().unwrap().push(format!("{} bytes", data.len()));
    }

    fn on_end(self, end: End<'_>) {
        self.0.lock().unwrap().push(match end {
            End::Complete => "complete".to_owned(),
            End::Error(error) => error.to_string(),
            End::Dropped => "dropped".to_owned(),
        });
    }
}

fn observed(body: Body, run: impl FnOnce(&mut Body)) -> Vec<String> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut body = Body::new(Observed::new(body, Guard::new(Log(Arc::clone(&log)))));
    run(&mut body);
    drop(body);
    let log = log.lock().unwrap();
    log.clone()
}

#[test]
fn the_end_is_seen_exactly_once() {
    let whole = |body: &mut Body| drop(read(body));
    assert_eq!(observed(script(&["ab"]), whole), ["2 bytes", "complete"]);
    assert_eq!(observed(failing(&["ab"]), whole), ["2 bytes", "the upload broke"]);
    assert_eq!(observed(Body::empty(), |_| ()), ["complete"]);
    assert_eq!(observed(script(&["ab"]), |_| ()), ["dropped"]);
    // Behind the last frame of known length nobody polls again.
    let once = |body: &mut Body| drop(next(body));
    assert_eq!(observed(Body::from("ab"), once), ["2 bytes", "complete"]);
    assert_eq!(observed(script(&["ab", "c"]), once), ["2 bytes", "dropped"]);
}

#[test]
fn a_stream_is_buffered_once_it_was_read_to_its_end() {
    assert!(Body::from("collected").is_buffered());
    assert!(!script(&["a"]).is_buffered());
    let mut first = script(&["a", "b"]).into_replayable(10, None);
    let copy = first.try_clone().unwrap();
    assert!(!copy.is_buffered());
    next(&mut first);
    assert!(copy.is_replayable() && !copy.is_buffered());
    read(&mut first).unwrap();
    assert!(copy.is_buffered());

    let mut long = script(&["aaaa", "bbbb"]).into_replayable(4, None);
    let copy = long.try_clone().unwrap();
    read(&mut long).unwrap();
    assert!(!copy.is_buffered());
}

#[test]
fn a_stream_of_known_length_is_buffered_without_being_asked_for_its_end() {
    let mut first =
        Body::new(http_body_util::Full::new(Bytes::from("ab")).boxed_unsync()).into_replayable(10, None);
    let copy = first.try_clone().unwrap();
    assert!(!copy.is_buffered());
    next(&mut first);
    assert!(copy.is_buffered());
}
