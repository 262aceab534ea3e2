//! Where a request ends, in the bytes of a connection (RFC 9112, section 6).

use memchr::memmem::find;

/// The length of the head that the bytes begin with, the empty line included.
pub(super) fn head(bytes: &[u8]) -> Option<usize> {
    find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The length of the request that the bytes begin with, so soon as all of it is there.
pub(super) fn request(bytes: &[u8]) -> Option<usize> {
    let head = head(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let field =
        |name: &str| text.lines().filter_map(|line| line.split_once(':')).find(|(field, _)| *field == name);
    let end = if field("transfer-encoding").is_some() {
        head + chunked(&bytes[head..])?
    } else {
        let length = field("content-length").and_then(|(_, value)| value.trim().parse().ok());
        head.checked_add(length.unwrap_or(0))?
    };
    (end <= bytes.len()).then_some(end)
}

/// The length of a chunked body, its trailers included.
fn chunked(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        let size = line(bytes.get(at..)?)?;
        let text = std::str::from_utf8(&bytes[at..at + size - 2]).ok()?;
        let chunk = usize::from_str_radix(text.split(';').next()?.trim(), 16).ok()?;
        at += size;
        if chunk == 0 {
            break;
        }
        at = at.checked_add(chunk)?.checked_add(2)?;
    }
    // Trailers, to the empty line.
    loop {
        let size = line(bytes.get(at..)?)?;
        at += size;
        if size == 2 {
            return Some(at);
        }
    }
}

/// The length of the line that the bytes begin with, its end included.
fn line(bytes: &[u8]) -> Option<usize> {
    find(bytes, b"\r\n").map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_where_its_framing_says() {
        for whole in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n",
        ] {
            for end in 0..whole.len() {
                assert_eq!(request(&whole.as_bytes()[..end]), None, "{:?}", &whole[..end]);
            }
            let more = format!("{whole}GET / HTTP/1.1\r\n");
            assert_eq!(request(more.as_bytes()), Some(whole.len()));
        }
    }

    #[test]
    fn what_is_no_request_never_ends() {
        for bad in ["\r\n\r\n", "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n0\r\n\r\n"] {
            let _ = request(bad.as_bytes());
        }
        let huge = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", usize::MAX);
        assert_eq!(request(huge.as_bytes()), None);
    }
}
