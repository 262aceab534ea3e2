//! The fields of one event.

use memchr::{memchr, memchr2};

/// The name and the data of an event, and whether it has an `id`. `joined` holds data of several lines.
pub(super) fn parse<'a>(
    bytes: &'a [u8],
    first: bool,
    joined: &'a mut Vec<u8>,
) -> (&'a [u8], Option<&'a [u8]>, bool) {
    let mut rest = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) if first => rest,
        _ => bytes,
    };
    let (mut name, mut data, mut lines): (&[u8], &[u8], usize) = (b"", b"", 0);
    let mut has_id = false;
    while !rest.is_empty() {
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, behind) = rest.split_at(length);
        rest = behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..)).unwrap_or_default();
        let (field, value) = split(line);
        match field {
            b"event" => name = value,
            b"id" => has_id = true,
            b"data" => {
                match lines {
                    0 => data = value,
                    1 => {
                        joined.clear();
                        joined.extend_from_slice(data);
                        join(joined, value);
                    }
                    _ => join(joined, value),
                }
                lines += 1;
            }
            _ => {}
        }
    }
    let data = match lines {
        0 => None,
        1 => Some(data),
        _ => Some(&joined[..]),
    };
    (name, data, has_id)
}

fn join(joined: &mut Vec<u8>, value: &[u8]) {
    joined.push(b'\n');
    joined.extend_from_slice(value);
}

/// Field name and value; one space after the colon is not part of the value.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    // Field names are short: a long line is not searched to its end for a colon.
    match memchr(b':', &line[..line.len().min(16)]) {
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, b""),
    }
}
