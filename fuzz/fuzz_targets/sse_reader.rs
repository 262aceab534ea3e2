//! However a stream is split, the reader finds the same events in it, and their lengths add up to it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use towergate_openai::sse::{EVENT_CAP, SseReader};

/// Name, data, and whether it has an id, of each event that carries data.
type Seen = Vec<(Vec<u8>, Vec<u8>, bool)>;

fn read<'a>(frames: impl Iterator<Item = &'a [u8]>) -> (Seen, u64) {
    let (mut reader, mut seen, mut length) = (SseReader::new(), Vec::new(), 0);
    for frame in frames {
        let mut at = 0;
        while let Some(event) = reader.next(frame, &mut at) {
            length += event.len;
            seen.extend(event.data.map(|data| (event.name.to_vec(), data.to_vec(), event.has_id)));
        }
        assert_eq!(at, frame.len());
    }
    (seen, length + reader.pending_len())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    // What is over the cap is seen up to it, and that depends on the split.
    if stream.len() > EVENT_CAP {
        return;
    }
    let whole = read(std::iter::once(stream));
    assert_eq!(whole.1, stream.len() as u64);
    assert_eq!(read(stream.chunks(usize::from(size).max(1))), whole);
    assert_eq!(read(stream.chunks(1)), whole);
});
