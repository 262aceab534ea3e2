//! A body that streams through with some of its bytes replaced.

use std::{
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use towergate_core::{Body, BoxError};

/// The body with `text` in place of the bytes at `place`, of which there is at least one. All others pass
/// as they are, and as they come.
#[must_use]
pub fn replace(body: Body, place: Range<usize>, text: &str) -> Body {
    let text = Some(Bytes::copy_from_slice(text.as_bytes()));
    Body::new(Replaced { inner: body, at: 0, place, text })
}

struct Replaced {
    inner: Body,
    /// How many bytes of the inner body have come.
    at: usize,
    place: Range<usize>,
    /// Until it has gone out.
    text: Option<Bytes>,
}

impl Replaced {
    fn pass(&mut self, mut data: Bytes) -> Bytes {
        let start = self.at;
        self.at = start.saturating_add(data.len());
        let before = self.place.start.saturating_sub(start);
        if before >= data.len() {
            return data;
        }
        let kept = data.split_to(before);
        data.advance(data.len().min(self.place.end.saturating_sub(start + before)));
        match self.text.take() {
            Some(text) => [kept, text, data].concat().into(),
            None => data,
        }
    }
}

impl http_body::Body for Replaced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            let passed = self.pass(data);
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let added = self.text.as_ref().map_or(0, Bytes::len) as u64;
        let dropped = self.place.end.saturating_sub(self.at.max(self.place.start)) as u64;
        let change = |length: u64| length.saturating_sub(dropped).saturating_add(added);
        let mut hint = SizeHint::new();
        hint.set_lower(change(inner.lower()));
        if let Some(upper) = inner.upper() {
            hint.set_upper(change(upper));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_those_bytes_change(
            before in "[a-z]{0,20}", old in "[A-Z]{1,10}", behind in "[a-z]{0,20}", new in "[0-9]{0,15}",
            cut in 1_usize..12,
        ) {
            let whole = format!("{before}{old}{behind}");
            let pieces: Vec<_> = whole.as_bytes().chunks(cut)
                .map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            let streamed = Body::new(StreamBody::new(futures_util::stream::iter(pieces)));
            let place = before.len()..before.len() + old.len();
            let expected = format!("{before}{new}{behind}");
            let collected = replace(Body::from(whole), place.clone(), &new);
            prop_assert_eq!(collected.size_hint().exact(), Some(expected.len() as u64));
            for body in [replace(streamed, place, &new), collected] {
                let read = body.collect().now_or_never().unwrap().unwrap().to_bytes();
                prop_assert_eq!(&read, expected.as_bytes());
            }
        }
    }
}
