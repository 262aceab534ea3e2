//! Reading a request's body, in bounded memory.

use std::pin::Pin;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

use crate::text::Checksum;

/// A request's body: counted whole, kept up to a limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Upload {
    pub(crate) body: Bytes,
    pub(crate) length: u64,
    pub(crate) checksum: u64,
    /// Whether it was read to its end.
    pub(crate) complete: bool,
}

/// The upload broke off.
pub(crate) struct Broke;

impl Upload {
    /// Reads a body: at most `read_only` bytes of it where that is given, and keeps at most `keep`.
    pub(crate) async fn read<B: Body>(
        mut body: Pin<&mut B>,
        keep: usize,
        read_only: Option<u64>,
    ) -> Result<Self, Broke> {
        let mut kept = BytesMut::new();
        let mut length = 0;
        let mut checksum = Checksum::default();
        let mut complete = body.is_end_stream();
        while !complete && read_only.is_none_or(|most| length < most) {
            let Some(frame) = body.as_mut().frame().await else {
                complete = true;
                break;
            };
            let Ok(mut data) = frame.map_err(|_| Broke)?.into_data() else { continue };
            while data.has_remaining() {
                let chunk = data.chunk();
                kept.extend_from_slice(&chunk[..chunk.len().min(keep - kept.len())]);
                checksum = checksum.update(chunk);
                length += chunk.len() as u64;
                let size = chunk.len();
                data.advance(size);
            }
        }
        Ok(Self { body: kept.freeze(), length, checksum: checksum.value(), complete })
    }

    /// Whether all of it was read and kept.
    pub(crate) fn is_whole(&self) -> bool {
        self.complete && self.body.len() as u64 == self.length
    }
}
