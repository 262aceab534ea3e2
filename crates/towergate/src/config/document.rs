//! A YAML text as a tree of values, each with its place.

use std::{collections::HashMap, path::Path, time::Duration};

use marked_yaml::{LoadError, LoaderOptions, Marker, Node, types::MarkedScalarNode};
use serde_json::{Map, Number, Value};

use super::problem::{Place, Problem};

/// No configuration is larger.
const MAX_BYTES: usize = 1 << 20;
/// Nor nested more deeply.
const MAX_DEPTH: usize = 64;
/// How long a file may take to be read: a FIFO may have no writer.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// A parsed text. It may hold secrets, so it has no `Debug`.
pub(super) struct Document {
    pub(super) value: Value,
    places: HashMap<String, Place>,
}

/// Reads a file, within bounds.
pub(super) async fn read(path: &Path) -> Result<String, Problem> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        use std::io::Read as _;
        let mut text = Vec::new();
        std::fs::File::open(&path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).map(|_| text)
    });
    let bytes = match tokio::time::timeout(TIME_LIMIT, reading).await {
        Err(_) => {
            return Err(Problem::whole("nothing could be read within 10 s; is it a FIFO without a writer?"));
        }
        Ok(Err(_)) => return Err(Problem::whole("the file cannot be read")),
        Ok(Ok(Err(error))) => return Err(Problem::whole(format!("the file cannot be read: {error}"))),
        Ok(Ok(Ok(bytes))) => bytes,
    };
    if bytes.len() > MAX_BYTES {
        return Err(Problem::whole("the file is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| Problem::whole("the file is not UTF-8 text"))
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_BYTES {
            return Err(Problem::whole("the file is larger than 1 MiB"));
        }
        check_depth(text)?;
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
        LoadError::ScanError(at, error) => (Some(*at), format!("this is not YAML: {}", error.info())),
        LoadError::TopLevelMustBeSequence(at) => (Some(*at), error.to_string()),
    };
    Problem { place: marker.as_ref().map(place), ..Problem::whole(message) }
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
            ("a:\n\t- b\n", None, "not YAML"),
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
        assert!(refusal(&"a".repeat(MAX_BYTES + 1)).1.contains("1 MiB"));
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

    #[tokio::test]
    async fn files_that_cannot_be_read_say_so() {
        let read = async |path: &str| read(Path::new(path)).await.unwrap_err().message;
        assert!(read("/nonexistent/towergate.yaml").await.contains("cannot be read"));
        assert!(read("/").await.contains("cannot be read"));
        if cfg!(target_os = "linux") {
            assert!(read("/dev/zero").await.contains("1 MiB"));
        }
    }
}
