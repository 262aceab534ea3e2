//! Makes a request body one that can be sent again, within bounds.

use http_body::Body as _;
use towergate_core::{Body, memory::Reservation};

/// Keeps a streamed body for a second attempt, up to `cap` bytes and as far as the budget of the reservation has room when
/// they come; else leaves it as it is.
#[must_use]
pub fn replayable(body: Body, cap: usize, reservation: Option<Reservation>) -> Body {
    // Collected, or made replayable further out: by a router that fails over.
    if body.try_clone().is_some() {
        return body;
    }
    if body.is_end_stream() {
        return Body::empty();
    }
    body.into_replayable(cap, reservation)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use towergate_core::{BoxError, memory::MemoryBudget};

    use super::*;

    fn stream(chunks: &[&'static str]) -> Body {
        let frames: Vec<_> =
            chunks.iter().map(|chunk| Ok::<_, BoxError>(Frame::data((*chunk).into()))).collect();
        Body::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_stream_takes_memory_as_it_comes_and_gives_it_back() {
        let memory = MemoryBudget::new(1000);
        let mut body = replayable(stream(&["ab", "cd"]), 60, Some(memory.reservation()));
        let copy = body.try_clone().unwrap();
        assert_eq!(memory.used(), 0, "nothing has come");
        body.frame().await.unwrap().unwrap();
        let one = memory.used();
        assert!(one >= 2, "{one}");
        assert_eq!(body.collect().await.unwrap().to_bytes(), "cd");
        assert_eq!(memory.used(), 2 * one);
        assert_eq!(copy.collect().await.unwrap().to_bytes(), "abcd");
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn without_memory_it_is_passed_on_unkept() {
        let memory = MemoryBudget::new(100);
        let first = replayable(stream(&["ab", "ab"]), 60, Some(memory.reservation()));
        let second = replayable(stream(&["cd", "cd"]), 60, Some(memory.reservation()));
        let copies = [&first, &second].map(|body| body.try_clone().unwrap());
        assert_eq!(first.collect().await.unwrap().to_bytes(), "abab");
        assert_eq!(second.collect().await.unwrap().to_bytes(), "cdcd");
        assert_eq!(copies.each_ref().map(Body::is_replayable), [true, false]);
        drop(copies);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_known_length_reserves_nothing() {
        let memory = MemoryBudget::new(100);
        let full = || Body::new(Full::new(Bytes::from("abc")).boxed_unsync());
        let body = replayable(full(), 60, Some(memory.reservation()));
        assert_eq!((memory.used(), body.size_hint().exact()), (0, Some(3)));
        assert!(!replayable(full(), 2, Some(memory.reservation())).is_replayable());
    }

    #[test]
    fn what_is_collected_or_over_costs_nothing() {
        let memory = MemoryBudget::new(0);
        let whole = replayable(Body::from("ab"), 60, Some(memory.reservation()));
        assert_eq!(whole.as_bytes(), Some(b"ab".as_slice()));
        let over = Body::new(http_body_util::Empty::<Bytes>::new());
        assert_eq!(replayable(over, 60, Some(memory.reservation())).as_bytes(), Some(b"".as_slice()));
    }
}
