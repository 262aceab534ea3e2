//! A YAML text as a tree of values, each with its place.

use std::{collections::HashMap, io, path::Path, time::Duration};

use marked_yaml::{LoadError, LoaderOptions, Marker, Node, types::MarkedScalarNode};
use serde_json::{Map, Number, Value};
use tokio::{io::AsyncReadExt as _, time::timeout};

use super::problem::{Place, Problem};

/// No configuration is larger: 100,000 client keys, each restricted to a few models, have 16 MB.
pub(super) const MAX_BYTES: usize = 32 << 20;
/// Nor nested more deeply.
const MAX_DEPTH: usize = 64;
/// How long a file may take to be read: a FIFO may have no writer.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How often a FIFO is asked whether a writer has come.
#[cfg(unix)]
const AGAIN: Duration = Duration::from_millis(10);

/// A parsed text. It may hold secrets, so it has no `Debug`.
pub(super) struct Document {
    pub(super) value: Value,
    places: HashMap<String, Place>,
}

/// Reads a file, within bounds.
pub(super) async fn read(path: &Path) -> Result<String, Problem> {
    let bytes = match timeout(TIME_LIMIT, read_bytes(path)).await {
        Err(_) => {
            return Err(Problem::whole("nothing could be read within 10 s; is it a FIFO without a writer?"));
        }
        Ok(Err(error)) => return Err(Problem::whole(format!("the file cannot be read: {error}"))),
        Ok(Ok(bytes)) => bytes,
    };
    if bytes.len() > MAX_BYTES {
        return Err(Problem::whole("the file is larger than 32 MiB"));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(Problem::whole("the file is UTF-16; write it as UTF-8"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let before =
            good.iter().rev().take_while(|byte| **byte != b'\n').filter(|byte| **byte & 0xc0 != 0x80);
        let place = Some(Place { line, column: before.count() + 1 });
        Problem { place, ..Problem::whole("this is not UTF-8; write the file as UTF-8") }
    })
}

async fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&tokio::fs::metadata(path).await?.file_type()) {
        // Opened without waiting for a writer: what waits holds no thread, and ends with the time limit. Until
        // one has come, a read finds the end, too.
        let mut pipe = tokio::net::unix::pipe::OpenOptions::new().open_receiver(path)?;
        while bytes.is_empty() {
            (&mut pipe).take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).await?;
            if bytes.is_empty() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        return Ok(bytes);
    }
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_BYTES {
            return Err(Problem::whole("the file is larger than 32 MiB"));
        }
        check_depth(text)?;
        check_end(text)?;
        let mut document = Self { value: Value::Object(Map::new()), places: HashMap::new() };
        if text
            .lines()
            .all(|line| matches!(line.trim(), "" | "---" | "...") || line.trim_start().starts_with('#'))
        {
            return Ok(document);
        }
        let options = LoaderOptions::default().error_on_duplicate_keys(true).prevent_coercion(true);
        let node = marked_yaml::parse_yaml_with_options(0, text, options).map_err(|error| refused(&error))?;
        document.value = document.convert(&node, "");
        Ok(document)
    }

    /// Where a setting stands; for one that is absent, what it would stand in.
    pub(super) fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Whether a setting is written at all.
    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    fn convert(&mut self, node: &Node, path: &str) -> Value {
        if let Some(start) = node.span().start() {
            self.places.entry(path.to_owned()).or_insert(place(start));
        }
        match node {
            Node::Scalar(scalar) => value(scalar),
            Node::Sequence(list) => {
                let values = list.iter().enumerate();
                Value::Array(values.map(|(at, node)| self.convert(node, &format!("{path}[{at}]"))).collect())
            }
            Node::Mapping(map) => {
                // The parser puts a mapping behind its first key.
                if let Some(first) = map.keys().next().and_then(|key| key.span().start()) {
                    let begins = place(first);
                    self.places.entry(path.to_owned()).and_modify(|at| *at = begins.min(*at));
                }
                let mut object = Map::new();
                for (key, node) in map.iter() {
                    let below = join(path, key.as_str());
                    if let Some(start) = key.span().start() {
                        self.places.insert(below.clone(), place(start));
                    }
                    let value = self.convert(node, &below);
                    object.insert(key.as_str().to_owned(), value);
                }
                Value::Object(object)
            }
        }
    }
}

/// A setting's path, one level down.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn place(marker: &Marker) -> Place {
    Place { line: marker.line(), column: marker.column() }
}

/// A plain scalar as YAML's core schema reads it (YAML 1.2.2, section 10.3.2); a quoted one is text.
fn value(scalar: &MarkedScalarNode) -> Value {
    let text = scalar.as_str();
    if !scalar.may_coerce() {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    let number = text.parse().ok().filter(|_| is_number).and_then(Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn refused(error: &LoadError) -> Problem {
    let (marker, message) = match error {
        LoadError::TopLevelMustBeMapping(at) => {
            (Some(*at), "the file is not a mapping; it begins with a key such as providers:".to_owned())
        }
        LoadError::UnexpectedAnchor(at) => (
            Some(*at),
            "anchors and aliases (& and *) are not supported; shared settings go under defaults:".to_owned(),
        ),
        LoadError::UnexpectedTag(at) => (Some(*at), "tags (!) are not supported".to_owned()),
        LoadError::MappingKeyMustBeScalar(at) => (Some(*at), "a key must be plain text".to_owned()),
        LoadError::DuplicateKey(keys) => {
            (keys.key.span().start().copied(), format!("the key {:?} is there twice", keys.key.as_str()))
        }
        LoadError::ScanError(at, error) if error.info().contains("tabs") => {
            (Some(*at), "this is indented with a tab; YAML wants spaces".to_owned())
        }
        LoadError::ScanError(at, error) => (Some(*at), format!("this is not YAML: {}", error.info())),
        LoadError::TopLevelMustBeSequence(at) => (Some(*at), error.to_string()),
    };
    Problem { place: marker.as_ref().map(place), ..Problem::whole(message) }
}

/// What the parser takes for the end, and would leave out what follows without a word.
fn check_end(text: &str) -> Result<(), Problem> {
    let mut begun = false;
    for (at, line) in text.lines().enumerate() {
        if let Some(column) = line.chars().position(|char| char.is_control() && char != '\t') {
            let place = Some(Place { line: at + 1, column: column + 1 });
            return Err(Problem {
                place,
                ..Problem::whole("there is a control character; is this a text file?")
            });
        }
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if marker && begun {
            let place = Some(Place { line: at + 1, column: 1 });
            let message = "a second document begins here (---); a configuration is one";
            return Err(Problem { place, ..Problem::whole(message) });
        }
        // Directives (%) stand before the first marker.
        begun |= marker
            || !(line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%'));
    }
    Ok(())
}

/// Before it is parsed: a tree that is too deep would not only be refused, it could not even be dropped.
fn check_depth(text: &str) -> Result<(), Problem> {
    let mut brackets = 0_usize;
    for (at, line) in text.lines().enumerate() {
        let too_deep = |column: usize| {
            let place = Some(Place { line: at + 1, column });
            Err(Problem {
                place,
                ..Problem::whole(format!("this is nested more than {MAX_DEPTH} levels deep"))
            })
        };
        let markers = line.split_ascii_whitespace().take_while(|word| matches!(*word, "-" | "?" | ":"));
        let indent = line.len() - line.trim_start().len();
        if markers.count() > MAX_DEPTH || indent > 16 * MAX_DEPTH {
            return too_deep(1);
        }
        for (column, byte) in line.bytes().enumerate() {
            match byte {
                b'[' | b'{' => brackets += 1,
                b']' | b'}' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            if brackets > MAX_DEPTH {
                return too_deep(column + 1);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(text).unwrap()
    }

    fn refusal(text: &str) -> (Option<(usize, usize)>, String) {
        let problem = Document::parse(text).err().unwrap();
        (problem.place.map(|place| (place.line, place.column)), problem.message)
    }

    #[test]
    fn scalars_are_what_yaml_says() {
        let document =
            parse("a: 1\nb: 0.7\nc: true\nd: '1'\ne: text\nf: ~\ng:\nh: 1.2.3\ni: -3\nj: 1e3\nk: inf\n");
        let expected = json!({
            "a": 1, "b": 0.7, "c": true, "d": "1", "e": "text", "f": null, "g": null, "h": "1.2.3", "i": -3,
            "j": 1000.0, "k": "inf",
        });
        assert_eq!(document.value, expected);
    }

    #[test]
    fn byte_order_marks_line_ends_and_empty_files_are_read() {
        assert_eq!(parse("\u{feff}a: 1\r\nb:\r\n  - x\r\n").value, json!({"a": 1, "b": ["x"]}));
        for empty in ["", "\n", "# nothing\n", "---\n# nothing\n"] {
            assert_eq!(parse(empty).value, json!({}), "{empty:?}");
        }
    }

    #[test]
    fn every_value_knows_its_place() {
        let document = parse("providers:\n  main: {weight: 2}\n  other:\n    keys:\n      - name: a\n");
        let place = |path| document.place(path).map(|place| (place.line, place.column));
        assert_eq!(place("providers.main.weight"), Some((2, 10)));
        assert_eq!(place("providers.other.keys[0].name"), Some((5, 9)));
        assert_eq!(place("providers.other.keys[0]"), Some((5, 9)), "where its first key is");
        assert_eq!(place("providers.other.base_url"), Some((3, 3)), "where it would stand");
    }

    #[test]
    fn what_is_refused_says_where_and_why() {
        for (text, place, says) in [
            ("a: 1\na: 2\n", Some((2, 1)), "twice"),
            ("- a\n", Some((1, 1)), "mapping"),
            ("a: &x 1\nb: *x\n", Some((1, 7)), "anchors"),
            ("a: !!str 1\n", None, "tags"),
            ("a:\n\t- b\n", None, "indented with a tab"),
            ("a: 1\n---\nb: 2\n", Some((2, 1)), "second document"),
            ("a: 1\nb: x\0\nc: 3\n", Some((2, 5)), "control character"),
            ("a: [1, 2\n", None, "not YAML"),
            ("a: \"open\n", None, "not YAML"),
        ] {
            let (at, message) = refusal(text);
            assert!(message.contains(says), "{text:?}: {message}");
            assert!(at.is_some(), "{text:?}");
            if place.is_some() {
                assert_eq!(at, place, "{text:?}");
            }
        }
    }

    #[test]
    fn bombs_are_refused_in_time() {
        assert!(refusal(&"a".repeat(MAX_BYTES + 1)).1.contains("32 MiB"));
        for deep in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(100_000)]
        {
            assert!(
                refusal(&format!("a: {deep}")).1.contains("nested") || refusal(&deep).1.contains("nested")
            );
        }
        let steps: String = (0..1200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(refusal(&steps).1.contains("nested"));
        let laughs = "a: &a [x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\n";
        assert!(refusal(laughs).1.contains("anchors"));
    }

    #[test]
    fn one_document_may_have_its_marks() {
        for text in ["---\na: 1\n", "# x\n\n--- # y\na: 1\n...\n", "%YAML 1.2\n---\na: 1\n"] {
            assert_eq!(parse(text).value, json!({"a": 1}), "{text:?}");
        }
        assert_eq!(parse("a: |\n  ---x\n").value, json!({"a": "---x\n"}));
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_fifo_is_read_once_somebody_writes_and_nobody_waits_for_ever() {
        let path = std::env::temp_dir().join(format!("towergate-document-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let problem = read(&path).await.unwrap_err();
        assert!(problem.message.contains("without a writer"), "{}", problem.message);
        tokio::time::resume();
        let writing = tokio::task::spawn_blocking({
            let path = path.clone();
            move || std::fs::write(path, "a: 1\n")
        });
        assert_eq!(read(&path).await.unwrap(), "a: 1\n");
        writing.await.unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn text_of_another_encoding_says_where() {
        let path = std::env::temp_dir().join(format!("towergate-encoding-{}", std::process::id()));
        for (bytes, place, says) in
            [(&b"a: 1\n\xc3\xa4: \xe4\n"[..], Some((2, 4)), "not UTF-8"), (b"\xff\xfea\0", None, "UTF-16")]
        {
            std::fs::write(&path, bytes).unwrap();
            let problem = read(&path).await.unwrap_err();
            assert_eq!(problem.place.map(|place| (place.line, place.column)), place);
            assert!(problem.message.contains(says), "{}", problem.message);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn files_that_cannot_be_read_say_so() {
        let read = async |path: &str| read(Path::new(path)).await.unwrap_err().message;
        assert!(read("/nonexistent/towergate.yaml").await.contains("cannot be read"));
        assert!(read("/").await.contains("cannot be read"));
        if cfg!(target_os = "linux") {
            assert!(read("/dev/zero").await.contains("32 MiB"));
        }
    }
}
