use proptest::prelude::*;

use super::*;

type Seen = (String, Option<String>, u64);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(frames: &[&[u8]]) -> Vec<Seen> {
    let mut reader = SseReader::new();
    let mut seen = Vec::new();
    for frame in frames {
        let mut at = 0;
        while let Some(event) = reader.next(frame, &mut at) {
            assert!(!event.is_cut);
            seen.push((text(event.name), event.data.map(text), event.len));
        }
        assert_eq!(at, frame.len());
    }
    seen
}

fn data(frames: &[&[u8]]) -> Vec<String> {
    read(frames).into_iter().filter_map(|(_, data, _)| data).collect()
}

/// The standard's algorithm, by the letter and slow: names and data of events that have data.
fn reference(stream: &[u8]) -> Vec<(String, String)> {
    let stream = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(Vec::new());
            }
            b'\n' => lines.push(Vec::new()),
            other => lines.last_mut().unwrap().push(other),
        }
    }
    lines.pop();
    let (mut events, mut name, mut data) = (Vec::new(), String::new(), None::<Vec<u8>>);
    for line in lines {
        if line.is_empty() {
            if let Some(data) = data.take() {
                events.push((std::mem::take(&mut name), text(&data)));
            }
            name.clear();
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => name = text(value),
            b"data" => match &mut data {
                Some(data) => data.extend([b"\n", value].concat()),
                none => *none = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    events
}

#[test]
fn every_line_end_ends_a_line() {
    for end in ["\n", "\r\n", "\r"] {
        let stream = format!("event: a{end}data: 1{end}data:2{end}{end}: c{end}{end}data{end}{end}");
        let seen = read(&[stream.as_bytes()]);
        assert_eq!(seen.len(), 3, "{end:?}");
        assert_eq!((seen[0].0.as_str(), seen[0].1.as_deref()), ("a", Some("1\n2")));
        assert_eq!(seen[1].1, None);
        assert_eq!(seen[2].1.as_deref(), Some(""));
    }
}

#[test]
fn an_event_is_seen_as_soon_as_it_has_ended() {
    let mut reader = SseReader::new();
    let mut at = 0;
    let event = reader.next(b"data: 1\r\n\r", &mut at).unwrap();
    assert_eq!(event.data, Some(&b"1"[..]));
    assert!(reader.next(b"data: 1\r\n\r", &mut at).is_none());
    assert_eq!(reader.pending_len(), 0);
    assert_eq!(data(&[b"data: 1\r\n\r", b"\ndata: 2\r\n\r\n"]), ["1", "2"]);
}

#[test]
fn one_space_and_a_mark_are_not_data() {
    assert_eq!(data(&[b"\xef\xbb", b"\xbfdata:  1 \n\ndata:{}\n\n"]), [" 1 ", "{}"]);
    assert_eq!(data(&["\u{feff}data: 1\n\n\u{feff}data: 2\n\n".as_bytes()]), ["1"]);
    assert_eq!(data(&[b"id: 1\nretry: 5\ndatax: 1\nother:data: 2\ndata: 3\n\n"]), ["3"]);
}

#[test]
fn a_large_event_is_seen_up_to_the_cap() {
    let line = [b"data: ", &vec![b'x'; 3 * EVENT_CAP][..]].concat();
    let mut reader = SseReader::new();
    for piece in line.chunks(5000) {
        assert!(reader.next(piece, &mut 0).is_none());
    }
    assert_eq!(reader.pending_len(), line.len() as u64);
    assert!(reader.pending.capacity() <= 2 * EVENT_CAP);
    let mut at = 0;
    let event = reader.next(b"\n\ndata: 2\n\n", &mut at).unwrap();
    assert!(event.is_cut);
    assert_eq!((event.len, at), (line.len() as u64 + 2, 2));
    assert_eq!(event.data.unwrap().len(), EVENT_CAP - 6);
    assert_eq!(reader.next(b"\n\ndata: 2\n\n", &mut at).unwrap().data, Some(&b"2"[..]));
    // In one frame nothing is kept, and so nothing is cut.
    let frame = [&line[..], b"\n\n"].concat();
    assert_eq!(data(&[&frame])[0].len(), 3 * EVENT_CAP);
}

#[test]
fn what_lacks_its_blank_line_comes_at_the_end() {
    let mut reader = SseReader::new();
    assert!(reader.next(b"data: [DO", &mut 0).is_none());
    assert!(reader.next(b"NE]\n", &mut 0).is_none());
    let event = reader.finish().unwrap();
    assert_eq!((event.data, event.len), (Some(&b"[DONE]"[..]), 13));
    assert_eq!(reader.finish(), None);
    assert_eq!(reader.take_bytes(), "data: [DONE]\n");
}

/// Streams with all that matters to the framing, and characters of several bytes.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("data:".to_owned()),
        Just("data: ".to_owned()),
        Just("event: x".to_owned()),
        Just("id: 1".to_owned()),
        Just(": c".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\r".to_owned()),
        Just("\n\n".to_owned()),
        Just("\u{feff}".to_owned()),
        "[a:{ü€]{1,4}",
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_split_gives_the_events_of_the_standard(
        stream in any_stream(),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<_> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let mut frames = Vec::new();
        let mut from = 0;
        for cut in cuts {
            frames.push(&stream[from..cut]);
            from = cut;
        }
        frames.push(&stream[from..]);
        let with_data = |seen: Vec<Seen>| -> Vec<_> {
            seen.into_iter().filter_map(|(name, data, _)| Some((name, data?))).collect()
        };
        let bytes: Vec<_> = stream.chunks(1).collect();
        prop_assert_eq!(with_data(read(&frames)), reference(&stream));
        prop_assert_eq!(with_data(read(&bytes)), reference(&stream));
    }

    #[test]
    fn lengths_add_up(stream in any_stream(), size in 1_usize..9) {
        let mut reader = SseReader::new();
        let mut total = 0;
        for frame in stream.chunks(size) {
            let mut at = 0;
            while let Some(event) = reader.next(frame, &mut at) {
                total += event.len;
            }
        }
        prop_assert_eq!(total + reader.pending_len(), stream.len() as u64);
    }
}
