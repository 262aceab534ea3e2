//! Where a WebSocket's frames begin and end (RFC 6455, section 5.2), and the one frame that a tunnel
//! makes itself.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

const CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Follows one direction of a WebSocket, in whatever pieces it comes.
///
/// It looks at the heads of frames alone. What is in them is the business of the two ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    /// The head of a frame, without its mask, as far as it has come.
    head: [u8; 10],
    filled: usize,
    /// Bytes of the mask and the payload that are still to come.
    rest: u64,
    in_close: bool,
    closed: bool,
}

/// What a close frame says (RFC 6455, section 7.4).
#[derive(Debug, Clone, Copy)]
pub(super) struct Close {
    pub(super) code: u16,
    /// At most 123 bytes.
    pub(super) reason: &'static str,
}

// === impl Frames ===

impl Frames {
    /// Takes in what has passed.
    pub(super) fn pass(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let used = self.step(data);
            data = data.get(used..).unwrap_or_default();
        }
    }

    /// How many of the next bytes belong to the frame that has begun; 0 between two frames.
    pub(super) fn left_of_frame(&self, data: &[u8]) -> usize {
        if self.is_between() { 0 } else { self.clone().step(data) }
    }

    /// Whether a frame may be put in here.
    pub(super) fn is_between(&self) -> bool {
        self.filled == 0 && self.rest == 0
    }

    /// Whether a whole close frame has passed: no other frame may follow it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes in what comes until the end of one frame, and says how much that was.
    fn step(&mut self, data: &[u8]) -> usize {
        let mut used = 0;
        while self.rest == 0 {
            let (Some(byte), Some(place)) = (data.get(used), self.head.get_mut(self.filled)) else {
                return used;
            };
            *place = *byte;
            self.filled += 1;
            used += 1;
            if let Some(rest) = self.after_head() {
                self.in_close = self.head[0] & 0x0f == CLOSE;
                self.filled = 0;
                self.rest = rest;
                if rest == 0 {
                    break;
                }
            }
        }
        let available = data.len() - used;
        let taken = usize::try_from(self.rest).map_or(available, |rest| rest.min(available));
        self.rest -= taken as u64;
        if self.is_between() {
            self.closed |= self.in_close;
        }
        used + taken
    }

    /// What follows the head, once that is whole.
    fn after_head(&self) -> Option<u64> {
        let [_, second, long @ ..] = self.head;
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.filled < 2 + extended {
            return None;
        }
        let payload = match extended {
            0 => u64::from(second & !MASKED),
            2 => u64::from(u16::from_be_bytes([long[0], long[1]])),
            _ => u64::from_be_bytes(long),
        };
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        Some(payload.saturating_add(mask))
    }
}

// === impl Close ===

impl Close {
    /// The frame; what a client sends, towards the upstream, is masked.
    pub(super) fn frame(self, masked: bool) -> Vec<u8> {
        let mut payload = self.code.to_be_bytes().to_vec();
        payload.extend_from_slice(self.reason.as_bytes());
        let length = u8::try_from(payload.len()).unwrap_or_default() & !MASKED;
        let mut frame = vec![FINAL | CLOSE, length];
        if masked {
            frame[1] |= MASKED;
            // The standard library's own source of randomness; nothing of it is secret.
            let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
            let key = [a, b, c, d];
            frame.extend_from_slice(&key);
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        frame.extend_from_slice(&payload);
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![FINAL | opcode];
        match payload {
            0..=125 => frame.push(mask | payload as u8),
            126..=65535 => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        // Payloads that look like heads.
        frame.extend(std::iter::repeat_n(0x88, payload + if masked { 4 } else { 0 }));
        frame
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let length = prop_oneof![0usize..10, 120usize..130, 65530usize..65540];
        (prop_oneof![Just(0u8), Just(1), Just(2), Just(9), Just(10)], length, any::<bool>())
            .prop_map(|(opcode, length, masked)| frame(opcode, length, masked))
    }

    #[test]
    fn a_frame_of_ours_is_a_frame() {
        for masked in [false, true] {
            let bytes = Close { code: 1001, reason: "the gateway is shutting down" }.frame(masked);
            let mut frames = Frames::default();
            frames.pass(&bytes[..bytes.len() - 1]);
            assert!(!frames.is_between() && !frames.is_closed());
            frames.pass(&bytes[bytes.len() - 1..]);
            assert!(frames.is_between() && frames.is_closed());
            if masked {
                let (key, payload) = bytes[2..].split_at(4);
                let plain: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect();
                assert_eq!(plain[..2], 1001u16.to_be_bytes());
                assert_eq!(&plain[2..], b"the gateway is shutting down");
            }
        }
    }

    #[test]
    fn the_longest_frame_that_can_be_said_does_not_overflow() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
        assert!(!frames.is_between());
        assert_eq!(frames.left_of_frame(&[0; 100]), 100);
    }

    proptest! {
        #[test]
        fn ends_are_found_in_any_split(
            frames in prop::collection::vec(any_frame(), 1..5),
            sizes in prop::collection::vec(1usize..70_000, 1..8),
        ) {
            let ends: Vec<usize> = frames
                .iter()
                .scan(0, |end, frame| { *end += frame.len(); Some(*end) })
                .collect();
            let bytes = frames.concat();
            let mut follower = Frames::default();
            let mut at = 0;
            for size in sizes.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let upto = bytes.len().min(at + size);
                follower.pass(&bytes[at..upto]);
                at = upto;
                prop_assert_eq!(follower.is_between(), ends.contains(&at));
                let next = ends.iter().find(|end| **end >= at).unwrap();
                let left = if follower.is_between() { 0 } else { next - at };
                prop_assert_eq!(follower.left_of_frame(&bytes[at..]), left);
                prop_assert!(!follower.is_closed());
            }
            follower.pass(&frame(CLOSE, 2, true));
            prop_assert!(follower.is_closed());
        }
    }
}
