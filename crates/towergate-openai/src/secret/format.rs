//! What a secret's file may hold: the bare key, a JSON object, or lines of an env file.

use secrecy::SecretString;

use super::Problem;

/// Finds the key in a file's text. `variable` is the name it has in JSON and env format.
pub(super) fn parse(text: &str, variable: &str) -> Result<SecretString, Problem> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.starts_with('{') {
        return from_json(text, variable);
    }
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // As in a shell, the last assignment counts.
    if let Some(value) = lines().filter_map(|line| assigned(line, variable)).next_back() {
        let value = unquote(value.trim());
        return if value.is_empty() { Err(Problem::Empty) } else { Ok(value.into()) };
    }
    let mut lines = lines();
    match (lines.next(), lines.next()) {
        (Some(only), None) if !assigns_another(only) => Ok(only.into()),
        _ => Err(Problem::NotThere),
    }
}

fn from_json(text: &str, variable: &str) -> Result<SecretString, Problem> {
    // The parser's own message may quote what it read.
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| Problem::BrokenJson)?;
    match object.get(variable) {
        Some(serde_json::Value::String(key)) if key.trim().is_empty() => Err(Problem::Empty),
        Some(serde_json::Value::String(key)) => Ok(key.as_str().into()),
        _ => Err(Problem::NotThere),
    }
}

/// The value that a line assigns to the variable.
fn assigned<'a>(line: &'a str, variable: &str) -> Option<&'a str> {
    without_export(line).strip_prefix(variable)?.trim_start().strip_prefix('=')
}

/// Whether a single line is an assignment to some other variable, and not a key that holds a `=`.
fn assigns_another(line: &str) -> bool {
    let Some((name, value)) = without_export(line).split_once('=') else { return false };
    let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.contains('_') && name.bytes().all(upper) && !value.trim_matches('=').is_empty()
}

fn without_export(line: &str) -> &str {
    match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    }
}

/// Takes off the quotes. In double quotes a backslash escapes; in single quotes nothing does;
/// without quotes a comment may follow.
fn unquote(value: &str) -> String {
    let mut chars = value.chars();
    match chars.next() {
        Some('\'') => chars.take_while(|c| *c != '\'').collect(),
        Some('"') => {
            let mut text = String::with_capacity(value.len());
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => match chars.next() {
                        Some('n') => text.push('\n'),
                        Some(escaped) => text.push(escaped),
                        None => {}
                    },
                    other => text.push(other),
                }
            }
            text
        }
        _ => value.split(" #").next().unwrap_or_default().trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    const NAME: &str = "OPENAI_API_KEY";

    fn key(text: &str) -> Result<String, Problem> {
        parse(text, NAME).map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn every_format_gives_the_key() {
        for text in [
            "sk-1",
            "sk-1\n",
            " sk-1\r\n\r\n",
            "\u{feff}sk-1\n",
            "# the key\nsk-1\n",
            r#"{"A": 1, "OPENAI_API_KEY": "sk-1"}"#,
            "\n{\n\"OPENAI_API_KEY\":\"sk-1\"\n}\n",
            "OPENAI_API_KEY=sk-1",
            "A=\"b\"\nOPENAI_API_KEY=\"sk-1\"\nZ='1'\n",
            "export OPENAI_API_KEY='sk-1' # mine",
            "OPENAI_API_KEY = sk-1 # mine",
            "OPENAI_API_KEY=old\nOPENAI_API_KEY=sk-1",
            "#OPENAI_API_KEY=old\r\n\texport\tOPENAI_API_KEY=\"sk-1\"\r\n",
        ] {
            assert_eq!(key(text).as_deref(), Ok("sk-1"), "{text:?}");
        }
        assert_eq!(key(r#"OPENAI_API_KEY="a\"b\\c\$d""#).as_deref(), Ok(r#"a"b\c$d"#));
        assert_eq!(key("dGVzdA==").as_deref(), Ok("dGVzdA=="));
        assert_eq!(key("OPENAI_API_KEY_OLD_TOKEN").as_deref(), Ok("OPENAI_API_KEY_OLD_TOKEN"));
    }

    #[test]
    fn what_holds_no_key_is_an_error() {
        for (text, problem) in [
            ("", Problem::Empty),
            (" \n\n", Problem::Empty),
            ("OPENAI_API_KEY=\"\"", Problem::Empty),
            (r#"{"OPENAI_API_KEY": " "}"#, Problem::Empty),
            ("# nothing here", Problem::NotThere),
            ("OTHER_KEY=sk-1", Problem::NotThere),
            ("OPENAI_API_KEY_OLD=sk-1\nX=1", Problem::NotThere),
            ("sk-1\nsk-2", Problem::NotThere),
            (r#"{"OTHER": "sk-1"}"#, Problem::NotThere),
            (r#"{"OPENAI_API_KEY": 1}"#, Problem::NotThere),
            (r#"{"OPENAI_API_KEY": "sk-1""#, Problem::BrokenJson),
        ] {
            assert_eq!(key(text).unwrap_err(), problem, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_bare_key_is_itself(text in "[!-~&&[^#={]][!-~&&[^=]]{0,80}") {
            prop_assert_eq!(key(&format!("{text}\n")).unwrap(), text);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = key(&text);
        }
    }
}
