mod clients;
mod strict;

use std::cell::Cell;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

thread_local! {
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn looked_at(bytes: usize) {
    LOOKED_AT.set(LOOKED_AT.get() + bytes);
}

fn form() -> Form {
    announced("multipart/form-data; boundary=b").unwrap()
}

fn announced(content_type: &'static str) -> Option<Form> {
    Form::new(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]))
}

/// The model, and what stands where it is said to stand.
fn model(body: &str) -> Option<(String, String)> {
    let mut form = form();
    form.read(body.as_bytes()).unwrap();
    form.model().map(|(model, place)| (model.to_owned(), body[place].to_owned()))
}

fn part(name: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
}

#[test]
fn the_model_is_found_wherever_it_stands() {
    let other = part("other", "x");
    let named = part("model", "whisper-1");
    let file = "--b\r\ncontent-type: audio/wav\r\ncontent-disposition: form-data; filename=\"a;name=model\"; \
                name=file\r\n\r\n--b not\r\n--a\r\n\0\r\n";
    for body in [
        format!("{named}--b--\r\n"),
        format!("{other}{named}{file}--b--"),
        format!("{file}{named}--b--"),
        format!("preamble\r\n{other}{named}{other}--b--\r\nepilogue"),
        format!("{named}{file}--b--").replace("\r\n", "\n"),
        format!("{named}{file}"),
        format!("{}{named}--b--", part("empty", "").replace("\r\n\r\n\r\n", "\r\n\r\n")),
        named.replace("name=\"model\"", "NAME = mo\\del").replace("mo\\del", "\"mo\\del\"") + "--b",
    ] {
        assert_eq!(model(&body), Some(("whisper-1".to_owned(), "whisper-1".to_owned())), "{body}");
    }
}

#[test]
fn what_is_none_is_not_found() {
    let named = part("model", "whisper-1");
    for body in [
        String::new(),
        named.clone(),
        format!("x{named}--b--"),
        format!("{}--b--", part("models", "x")),
        format!("{}--b--", part("file", "name=\"model\"\r\n\r\nx")),
        format!("--b--\r\n{named}--b--"),
        format!("{}--b--", part("model", &"x".repeat(3000))),
        format!("--b\r\n{}\r\n\r\nx\r\n{named}--b--", "x".repeat(20_000)),
    ] {
        assert_eq!(model(&body), None, "{body}");
    }
    for content_type in ["application/json", "multipart/form-data", "multipart/mixed; boundary=b"] {
        assert!(announced(content_type).is_none(), "{content_type}");
    }
    assert!(announced("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"b b\"").is_some());
}

#[test]
fn a_second_one_is_refused() {
    let named = part("model", "whisper-1");
    let long_header = named.replace("\r\nContent", &format!("\r\nX: {}\r\nContent", "x".repeat(20_000)));
    for second in [
        named.clone(),
        named.replace("\r\n", "\n"),
        named.replace("\"model\"", "model"),
        part("model", &"x".repeat(3000)),
    ] {
        let refused = form().read(format!("{named}{second}--b--").as_bytes()).unwrap_err();
        assert_eq!((refused.code(), refused.param()), ("duplicate_key", Some("model")));
    }
    let refused = form().read(format!("{named}{long_header}--b--").as_bytes()).unwrap_err();
    assert_eq!(refused.code(), "invalid_form");
}

/// How many bytes are looked at for a body that comes in pieces of this length.
fn work(body: &[u8], piece: usize) -> usize {
    let before = LOOKED_AT.get();
    let mut form = form();
    for piece in body.chunks(piece) {
        form.read(piece).unwrap();
    }
    LOOKED_AT.get() - before
}

#[test]
fn the_work_is_that_of_the_bytes_in_whatever_pieces_they_come() {
    const LENGTH: usize = 1 << 17;
    let file = |content: &[u8]| {
        let start = b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
        [part("prompt", "x").as_bytes(), start, content, b"\r\n", part("model", "m").as_bytes(), b"--b--\r\n"]
            .concat()
    };
    let repeated = |text: &str| file(text.repeat(LENGTH / text.len()).as_bytes());
    let header =
        format!("--b\r\nX: {}\r\n\r\n\r\n", "x".repeat(MAX_HEADER - 100)).repeat(LENGTH / MAX_HEADER);
    let lines = format!("--b\r\n{}\r\n", "X: y\r\n".repeat(2000)).repeat(LENGTH / 12_000);
    let parts = part("a", "").repeat(LENGTH / 50);
    for (what, body) in [
        ("a file", repeated("some bytes of a file")),
        ("dashes", repeated("-")),
        ("beginnings of delimiters", repeated("\r\n--")),
        ("half delimiters", repeated("\n--a\n-")),
        ("a long line", format!("--b{}", "x".repeat(LENGTH)).into_bytes()),
        ("long headers", header.into_bytes()),
        ("many lines", lines.into_bytes()),
        ("many parts", parts.into_bytes()),
        ("no form", "x".repeat(LENGTH).into_bytes()),
    ] {
        let whole = work(&body, body.len());
        assert!(whole <= 2 * body.len(), "{what}: {whole}");
        for piece in [1, 2, 7, 1000] {
            let pieces = work(&body, piece);
            assert!(pieces <= 2 * body.len(), "{what} in pieces of {piece}: {pieces} of {}", body.len());
        }
    }
}

proptest! {
    #[test]
    fn it_is_the_same_however_it_comes(
        before in ".{0,40}", name in "[a-z0-9./-]{0,30}", file in prop::collection::vec(any::<u8>(), 0..300),
        cut in 1_usize..50,
    ) {
        let body = [
            part("prompt", &before).as_bytes(), part("model", &name).as_bytes(),
            b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n", &file, b"\r\n--b--\r\n",
        ].concat();
        let mut form = form();
        for piece in body.chunks(cut) {
            form.read(piece).unwrap();
            prop_assert!(form.kept.len() <= MAX_HEADER);
        }
        let (found, place) = form.model().unwrap();
        prop_assert_eq!(found, &name);
        prop_assert_eq!(&body[place], name.as_bytes());
    }

    /// Also of what is not a proper form: each reader finds the same, and fails at the same place or at none.
    #[test]
    fn any_pieces_give_the_same(
        body in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(vec!["\r\n", "\n", "\r", "--b", "--", "-", "b", "\r\n--b\r\n", "x", ""]),
            2 => prop::sample::select(vec![
                "Content-Disposition: form-data; name=\"model\"", "content-disposition: form-data; name=file", ": ", "m",
                "\r\n\r\n", "\r\n--b--\r\n", " ",
            ]),
        ], 0..40),
        cuts in prop::collection::vec(0_usize..30, 0..60),
        strict: bool,
    ) {
        let body = body.concat().into_bytes();
        let begin = || {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=b"))]);
            if strict { Form::strict(&headers).unwrap().unwrap() } else { form() }
        };
        let end = |form: &Form| {
            let finished = form.finish().map_err(|error| error.to_string());
            (form.model().map(|(model, place)| (model.to_owned(), place)), form.is_over(), finished)
        };
        let mut whole = begin();
        let expected = whole.read(&body).map(|()| end(&whole)).map_err(|error| error.to_string());
        let mut pieced = begin();
        let mut rest = &*body;
        let mut read = Ok(());
        for cut in cuts.into_iter().chain([body.len()]) {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            rest = behind;
            read = read.and_then(|()| pieced.read(piece));
        }
        let got = read.map(|()| end(&pieced)).map_err(|error| error.to_string());
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'-'), Just(b'b'), any::<u8>()], 0..400), cut in 1_usize..30) {
        let mut form = form();
        for piece in body.chunks(cut) {
            let _ = form.read(piece);
        }
    }
}
