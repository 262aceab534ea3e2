//! Just enough of multipart/form-data (RFC 7578) to find fields by their names.

use http::{HeaderMap, header::CONTENT_TYPE};
use memchr::memmem::find;

/// One field of a form.
pub(super) struct Field<'a> {
    name: &'a str,
    pub(super) filename: Option<&'a str>,
    pub(super) content: &'a [u8],
}

/// The fields of a form, so far as the body holds them whole.
pub(super) struct Form<'a>(Vec<Field<'a>>);

impl<'a> Form<'a> {
    pub(super) fn read(headers: &HeaderMap, body: &'a [u8]) -> Self {
        let fields = boundary(headers).map(|boundary| {
            let mark = format!("--{boundary}");
            split(body, mark.as_bytes()).filter_map(field).collect()
        });
        Self(fields.unwrap_or_default())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Field<'a>> {
        self.0.iter().find(|field| field.name == name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|field| std::str::from_utf8(field.content).ok())
    }
}

fn boundary(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (_, boundary) = value.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    (!boundary.is_empty()).then(|| boundary.to_owned())
}

/// What stands between two marks.
fn split<'a>(body: &'a [u8], mark: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = find(body, mark).map(|at| &body[at + mark.len()..]);
    std::iter::from_fn(move || {
        let begin = rest?;
        let end = find(begin, mark)?;
        rest = Some(&begin[end + mark.len()..]);
        Some(&begin[..end])
    })
}

fn field(part: &[u8]) -> Option<Field<'_>> {
    let head = find(part, b"\r\n\r\n")?;
    let text = std::str::from_utf8(&part[..head]).ok()?;
    let content = part[head + 4..].strip_suffix(b"\r\n")?;
    Some(Field { name: parameter(text, " name=")?, filename: parameter(text, "filename="), content })
}

fn parameter<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = head.split_once(name)?;
    value.strip_prefix('"').and_then(|value| value.split('"').next())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn fields_are_found() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
            --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
            Content-Type: audio/wav\r\n\r\n\r\n--\r\n--B--\r\n";
        let value = HeaderValue::from_static("multipart/form-data; boundary=\"B\"");
        let form = Form::read(&HeaderMap::from_iter([(CONTENT_TYPE, value)]), body);
        assert_eq!(form.text("model"), Some("whisper-1"));
        let file = form.get("file").unwrap();
        assert_eq!((file.filename, file.content), (Some("a.wav"), b"\r\n--".as_slice()));
        assert!(form.get("purpose").is_none());
    }

    #[test]
    fn what_is_no_form_has_no_fields() {
        let form = Form::read(&HeaderMap::new(), b"--B\r\n\r\n");
        assert!(form.get("file").is_none());
        let value = HeaderValue::from_static("multipart/form-data; boundary=B");
        for body in [b"".as_slice(), b"--B", b"--B--B--B", b"--B\r\n\r\n--B", b"--B\r\n\r\n\r\n"] {
            Form::read(&HeaderMap::from_iter([(CONTENT_TYPE, value.clone())]), body);
        }
    }
}
