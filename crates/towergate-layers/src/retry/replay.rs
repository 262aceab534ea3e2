//! Makes a request body one that can be sent again, within bounds.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use towergate_core::{
    Body, BoxError,
    memory::{MemoryBudget, Reservation},
};

pin_project! {
    /// A streamed upload together with the memory that keeping it may take. The replay buffer owns
    /// the upload, so the memory is given back when the last copy is gone.
    struct Reserved {
        #[pin]
        inner: Body,
        reservation: Reservation,
    }
}

/// Keeps a streamed body for a second attempt, up to `cap` bytes and as far as `memory` allows;
/// else leaves it as it is.
#[must_use]
pub fn replayable(body: Body, cap: usize, memory: Option<&MemoryBudget>) -> Body {
    // Collected, or made replayable further out: by a router that fails over.
    if body.try_clone().is_some() {
        return body;
    }
    if body.is_end_stream() {
        return Body::empty();
    }
    let hint = body.size_hint();
    if hint.lower() > cap as u64 {
        return body;
    }
    let Some(memory) = memory else { return body.into_replayable(cap) };
    let most = hint.upper().and_then(|upper| usize::try_from(upper).ok()).map_or(cap, |upper| upper.min(cap));
    let mut reservation = memory.reservation();
    if !reservation.grow(most) {
        return body;
    }
    Body::new(Reserved { inner: body, reservation }).into_replayable(cap)
}

// === impl Reserved ===

impl http_body::Body for Reserved {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full, StreamBody};

    use super::*;

    fn stream(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> =
            chunks.iter().map(|chunk| Ok::<_, BoxError>(Frame::data((*chunk).into()))).collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_stream_is_kept_and_its_memory_given_back() {
        let memory = MemoryBudget::new(100);
        let body = replayable(stream(&["ab", "cd"]), 60, Some(&memory));
        assert_eq!(memory.used(), 60);
        let copy = body.try_clone().unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
        assert_eq!(memory.used(), 60);
        assert_eq!(copy.collect().await.unwrap().to_bytes(), "abcd");
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn without_memory_it_is_passed_on_unkept() {
        let memory = MemoryBudget::new(100);
        let first = replayable(stream(&["ab"]), 60, Some(&memory));
        let second = replayable(stream(&["cd"]), 60, Some(&memory));
        assert!(first.is_replayable() && !second.is_replayable());
        assert_eq!(second.collect().await.unwrap().to_bytes(), "cd");
    }

    #[test]
    fn a_known_length_reserves_no_more_than_it() {
        let memory = MemoryBudget::new(100);
        let body = replayable(Body::new(Full::new(Bytes::from("abc")).boxed_unsync()), 60, Some(&memory));
        assert_eq!((memory.used(), body.size_hint().exact()), (3, Some(3)));
        let long = replayable(Body::new(Full::new(Bytes::from("abc")).boxed_unsync()), 2, Some(&memory));
        assert!(!long.is_replayable());
        assert_eq!(memory.used(), 3);
    }

    #[test]
    fn what_is_collected_or_over_costs_nothing() {
        let memory = MemoryBudget::new(0);
        assert_eq!(replayable(Body::from("ab"), 60, Some(&memory)).as_bytes(), Some(b"ab".as_slice()));
        let over = Body::new(http_body_util::Empty::<Bytes>::new());
        assert_eq!(replayable(over, 60, Some(&memory)).as_bytes(), Some(b"".as_slice()));
    }
}
