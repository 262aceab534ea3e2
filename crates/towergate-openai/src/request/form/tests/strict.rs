//! What a form must be like where the client's key is restricted to models.

use http::HeaderName;

use super::{clients::FORMS, *};

const PLAIN: &str = "multipart/form-data; boundary=b";

fn read(content_type: &str, body: &[u8]) -> Result<Option<String>, Error> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())]);
    let Some(mut form) = Form::strict(&headers)? else { return Ok(None) };
    form.read(body)?;
    form.finish()?;
    Ok(form.model().map(|(model, _)| model.to_owned()))
}

fn why(content_type: &str, body: &str) -> String {
    let refused = read(content_type, body.as_bytes()).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::BadRequest, "ambiguous_form"), "{body}");
    assert_eq!(refused.setting(), Some("client_keys.allowed_models"));
    refused.to_string()
}

#[test]
fn what_clients_send_passes() {
    for (client, content_type, body) in FORMS {
        let model = read(content_type, body.as_bytes());
        assert_eq!(model.unwrap().as_deref(), Some("whisper-1"), "{client}");
    }
}

#[test]
fn a_content_type_that_readers_read_differently_is_refused() {
    let body = format!("{}--b--\r\n", part("model", "m"));
    for plain in
        [PLAIN, "multipart/form-data;BOUNDARY=\"b\"", "multipart/form-data; charset=utf-8; boundary=b"]
    {
        assert_eq!(read(plain, body.as_bytes()).unwrap().as_deref(), Some("m"), "{plain}");
    }
    for (content_type, expected) in [
        ("multipart/form-data; boundary=b; boundary=c", "parameter twice"),
        ("multipart/form-data; boundary=b; boundary*=utf-8''c", "other parameters"),
        ("multipart/form-data; boundary=b; boundary*0=c", "other parameters"),
        ("multipart/form-data; x=\"a; boundary=c\"; boundary=b", "other parameters"),
        ("Multipart/Form-Data; boundary=b", "lower case"),
        ("multipart/form-data; boundary=\"\\b\"", "escaped"),
        ("multipart/form-data; boundary=\"b c\"", "characters that no boundary has"),
        ("multipart/form-data; boundary=b,c", "malformed"),
        ("multipart/form-data; boundary= b", "malformed"),
        ("multipart/form-data; boundary =b", "malformed"),
        ("multipart/form-data; boundary=\"b", "malformed"),
        ("multipart/form-data; x; boundary=b", "malformed"),
        ("multipart/form-data; charset=utf-16; boundary=b", "charset"),
        ("multipart/form-data; charset*=utf-16; boundary=b", "other parameters"),
    ] {
        let why = why(content_type, &body);
        assert!(why.contains(expected), "{content_type}: {why}");
    }
    for none in [
        "multipart/mixed; boundary=b",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary*=b",
    ] {
        assert_eq!(read(none, body.as_bytes()).unwrap(), None, "{none}");
    }
    let both =
        [PLAIN, "multipart/form-data; boundary=c"].map(|one| (CONTENT_TYPE, HeaderValue::from_static(one)));
    let mut headers = HeaderMap::new();
    for (name, value) in both {
        headers.append::<HeaderName>(name, value);
    }
    assert!(Form::strict(&headers).unwrap_err().to_string().contains("more than one content type"));
}

#[test]
fn a_part_that_readers_read_differently_is_refused() {
    let named = |header: &str| format!("--b\r\n{header}\r\n\r\nm\r\n--b--\r\n");
    let disposition = |parameters: &str| named(&format!("Content-Disposition: form-data; {parameters}"));
    let with = |field: &str| disposition(&format!("name=\"model\"\r\n{field}"));
    let other = |parameters: &str| {
        format!(
            "{}--b\r\nContent-Disposition: form-data; {parameters}\r\n\r\nx\r\n--b--\r\n",
            part("model", "m")
        )
    };
    for (body, expected) in [
        // Its name.
        (disposition("name*=utf-8''model"), "extended parameter"),
        (disposition("name=\"file\"; name*=utf-8''model"), "extended parameter"),
        (disposition("name*0=\"mod\"; name*1=\"el\""), "extended parameter"),
        (disposition("name=\"file\"; name=\"model\""), "parameter twice"),
        (disposition("name=\"file\"; NAME=\"model\""), "parameter twice"),
        (disposition("name=\"mo\\del\""), "escaped"),
        (disposition("name=\"Model\""), "names a model"),
        (disposition("name=\"model[]\""), "names a model"),
        (disposition("name=\"models\""), "names a model"),
        (other("name=\"svg[model]\""), "names a model"),
        (other("name=\"fallbacks\""), "names a model"),
        (disposition("name=\"model \""), "characters"),
        (disposition("name=\"mod%65l\""), "characters"),
        (disposition("name=\"=?utf-8?q?model?=\""), "characters"),
        (disposition("name=\"m\u{f6}del\""), "characters"),
        (disposition("name=\"\""), "characters"),
        (disposition("name = \"model\""), "malformed"),
        (disposition("name=\"model"), "malformed"),
        (disposition("name=\"model\"x"), "malformed"),
        (disposition("x; name=\"model\""), "malformed"),
        (disposition("filename=\"x\""), "no name"),
        (named("X: y"), "no name"),
        (named("Content-Disposition: attachment; name=\"model\""), "another disposition"),
        (
            named(
                "Content-Disposition: form-data; name=\"file\"\r\nContent-Disposition: form-data; name=\"model\"",
            ),
            "field twice",
        ),
        // Its file name.
        (disposition("name=\"model\"; filename=\"x\""), "is a file"),
        (disposition("name=\"model\"; filename*=utf-8''x"), "is a file"),
        (other("name=\"f\"; filename=\"x\\\"; name=\\\"model\""), "file name"),
        (other("name=\"f\"; filename=\"x; name=model\""), "file name"),
        (other("name=\"f\"; filename*0=\"x\""), "extended parameter"),
        // Its header.
        (named("Content-Disposition: form-data\r\n ; name=\"model\""), "folded"),
        (named("X: y\r\n\tz\r\nContent-Disposition: form-data; name=\"model\""), "folded"),
        (named("Content-Disposition : form-data; name=\"model\""), "proper name"),
        (named("Content-Disposition; form-data; name=\"model\""), "no field"),
        (with("X: y\rz"), "control character"),
        (with("X: y\0"), "control character"),
        (with("X: y\nY: z"), "line feed alone"),
        ("--b\nContent-Disposition: form-data; name=\"model\"\n\nm\n--b--".to_owned(), "behind a delimiter"),
        (
            "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\nm\r\n--b--".to_owned(),
            "line feed alone",
        ),
        // Its content.
        (with("Content-Type: text/plain; charset=utf-16"), "charset"),
        (with("Content-Type: text/plain; charset=utf-7"), "charset"),
        (with("Content-Type: text/plain; charset=utf-8; charset=utf-7"), "charset"),
        (with("Content-Type: text/plain; charset*=utf-7"), "charset"),
        (with("Content-Type: application/json"), "no plain text"),
        (with("Content-Transfer-Encoding: base64"), "encoded"),
        (with("Content-Transfer-Encoding: quoted-printable"), "encoded"),
        (with("Content-Length: 2"), "another length"),
        (with("Content-Length: +1"), "no number"),
        (with("Content-Length: 1\r\nContent-Length: 1"), "field twice"),
        (part("_charset_", "utf-7") + "--b--", "which charset"),
        (
            named("Content-Disposition: form-data; name=\"f\"\r\nContent-Type: multipart/mixed; boundary=c"),
            "form itself",
        ),
        (part("model", &"m".repeat(2000)) + "--b--", "too long"),
    ] {
        let why = why(PLAIN, &body);
        assert!(why.contains(expected), "{body:?}: {why}");
    }
    let latin =
        ["--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm".as_bytes(), b"\xe4\r\n--b--"]
            .concat();
    assert!(read(PLAIN, &latin).unwrap_err().to_string().contains("charset"));
    let latin = with("Content-Type: text/plain; charset=latin1").replace("\r\nm\r\n", "\r\n\u{e4}\r\n");
    assert!(why(PLAIN, &latin).contains("charset"));
}

#[test]
fn delimiters_that_readers_read_differently_are_refused() {
    let named = part("model", "m");
    let file = "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
    for (body, expected) in [
        (format!("\r\n{named}--b--"), "in front of its first"),
        (format!("preamble\r\n{named}--b--"), "in front of its first"),
        (format!("x{named}--b--"), "in front of its first"),
        (format!("{named}--b--\r\n{named}--b--"), "behind its last"),
        (format!("{named}--b--\n"), "behind its last"),
        (format!("{named}--b--\r\n\r\n"), "behind its last"),
        (format!("{named}--b-- "), "behind its last"),
        (format!("{named}--b--x"), "behind its last"),
        (format!("{named}--b \r\nX: y\r\n\r\n\r\n--b--"), "in its line"),
        (format!("{named}--bx\r\n--b--"), "in its line"),
        (format!("{named}--b-x\r\n--b--"), "in its line"),
        (format!("{file}x\n{named}--b--"), "line break of its own"),
        (format!("{file}x\r{named}--b--"), "line break of its own"),
        (format!("{file}x{named}--b--"), "line break of its own"),
        (format!("{file}\n{named}--b--"), "line break of its own"),
        (format!("{file}{named}--b--"), "line break of its own"),
        (named.clone(), "last delimiter"),
        (format!("{named}--b"), "last delimiter"),
        (format!("{named}--b-"), "last delimiter"),
        (format!("{named}--b\r\n"), "last delimiter"),
        (String::new(), "last delimiter"),
    ] {
        let why = why(PLAIN, &body);
        assert!(why.contains(expected), "{body:?}: {why}");
    }
    for body in [format!("{named}--b--"), format!("{named}{file}\r\n--b--\r\n")] {
        assert_eq!(read(PLAIN, body.as_bytes()).unwrap().as_deref(), Some("m"), "{body:?}");
    }
}

#[test]
fn a_second_model_is_refused_at_its_name() {
    let named = part("model", "m");
    for second in [named.clone(), "--b\r\nContent-Disposition: form-data; name=model\r\n\r\n".to_owned()] {
        let refused = read(PLAIN, format!("{named}{second}").as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "duplicate_key");
    }
    let long = format!("{named}--b\r\nX: {}", "x".repeat(MAX_STRICT_HEADER));
    assert_eq!(read(PLAIN, long.as_bytes()).unwrap_err().code(), "invalid_form");
}
