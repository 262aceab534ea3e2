//! The JSON Schema of the configuration, made from its types, and a document held against it.
//!
//! What the schema says is what is accepted: there is no second list of keys. The check knows the
//! keywords that occur in our own schema, which a test makes sure of, and reports all that is wrong at
//! once; no validator from the registry says where in a file, and what may have been meant.

use schemars::schema_for;
use serde_json::{Map, Value};

use super::{
    document::{Document, join},
    problem::{Problem, nearest},
    types::File,
    units::{parse_bytes, parse_duration},
};

/// A time: a number of seconds, or text such as `30s`.
pub(super) const DURATION: &str = "towergate-duration";
/// A size: a number of bytes, or text such as `64MiB`.
pub(super) const BYTES: &str = "towergate-bytes";

/// The JSON Schema of a configuration file.
#[must_use]
pub fn schema() -> Value {
    schema_for!(File).into()
}

/// Everything in which a document is not what the schema says.
pub(super) fn check(document: &Document) -> Vec<Problem> {
    let root = schema();
    let mut check = Check { root: &root, document, problems: Vec::new() };
    check.value(&root, &document.value, "");
    check.problems
}

struct Check<'a> {
    root: &'a Value,
    document: &'a Document,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn report(&mut self, path: &str, message: String, suggestion: Option<String>) {
        let place = self.document.place(path);
        self.problems.push(Problem { place, path: path.to_owned(), message, suggestion });
    }

    fn value(&mut self, schema: &'a Value, value: &Value, path: &str) {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            if let Some(schema) = self.root.pointer(target.trim_start_matches('#')) {
                self.value(schema, value, path);
            }
            return;
        }
        if let Some(branches) = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array()) {
            return self.branches(branches, value, path);
        }
        if !self.has_type(schema, value, path) {
            return;
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            return self.not_allowed(allowed.iter().filter_map(Value::as_str), value, path);
        }
        match value {
            Value::Object(object) => self.object(schema, object, path),
            Value::Array(list) => {
                if let Some(items) = schema.get("items") {
                    for (at, value) in list.iter().enumerate() {
                        self.value(items, value, &format!("{path}[{at}]"));
                    }
                }
            }
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(f64::NAN), path),
            Value::String(text) => self.text(schema, text, path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// An enumeration whose values have descriptions, or a value that may be null.
    fn branches(&mut self, branches: &'a [Value], value: &Value, path: &str) {
        let constants: Vec<&str> =
            branches.iter().filter_map(|branch| branch.get("const")?.as_str()).collect();
        if !constants.is_empty() {
            if !value.as_str().is_some_and(|text| constants.contains(&text)) {
                self.not_allowed(constants.into_iter(), value, path);
            }
            return;
        }
        let before = self.problems.len();
        let mut fewest: Option<Vec<Problem>> = None;
        for branch in branches {
            self.value(branch, value, path);
            let found = self.problems.split_off(before);
            if found.is_empty() {
                return;
            }
            // What is wrong further inside shows that this branch was meant.
            let inside = |found: &[Problem]| found.iter().all(|problem| problem.path != path);
            if fewest.as_ref().is_none_or(|fewest| inside(&found) && !inside(fewest)) {
                fewest = Some(found);
            }
        }
        self.problems.extend(fewest.unwrap_or_default());
    }

    fn not_allowed<'b>(&mut self, allowed: impl Iterator<Item = &'b str>, value: &Value, path: &str) {
        let allowed: Vec<&str> = allowed.collect();
        let suggestion = value.as_str().and_then(|text| nearest(text, allowed.iter().copied()));
        let message = format!("{} is not one of {}", shown(value), allowed.join(", "));
        self.report(path, message, suggestion);
    }

    fn has_type(&mut self, schema: &Value, value: &Value, path: &str) -> bool {
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return true,
        };
        let is = |name: &&str| match *name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => value.is_null(),
        };
        // A key without a value is as good as none, where everything in it may be absent.
        if types.iter().any(is) || (value.is_null() && schema.get("required").is_none() && !path.is_empty()) {
            return true;
        }
        let expected: Vec<&str> = types.into_iter().filter(|name| *name != "null").map(described).collect();
        let mut message = format!("{} is not {}", shown(value), expected.join(" or "));
        let names_a_setting = |text: &str| text.split_once(':').is_some_and(|(name, _)| !name.contains(' '));
        if expected == ["a mapping"] && value.as_str().is_some_and(names_a_setting) {
            message.push_str("; a space is missing behind the colon");
        } else if expected == ["a mapping"] && value.is_array() {
            message.push_str("; write each with a colon behind its name, and no dash");
        } else if let Some(example) = schema.get("examples").and_then(|all| all.get(0)?.as_str()) {
            message.push_str(&format!(" such as {example}"));
        }
        self.report(path, message, None);
        false
    }

    fn object(&mut self, schema: &'a Value, object: &Map<String, Value>, path: &str) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(name) = required.as_str().filter(|name| !object.contains_key(*name)) {
                self.report(path, format!("{name} is missing"), None);
            }
        }
        for (key, value) in object {
            let below = join(path, key);
            if let Some(property) = properties.and_then(|properties| properties.get(key)) {
                self.value(property, value, &below);
                continue;
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let known: Vec<&str> =
                        properties.into_iter().flat_map(|all| all.keys().map(String::as_str)).collect();
                    let suggestion = nearest(key, known.iter().copied());
                    let message = match &suggestion {
                        Some(_) => "there is no such setting".to_owned(),
                        None => format!("there is no such setting; there are {}", known.join(", ")),
                    };
                    self.report(&below, message, suggestion);
                }
                Some(other) => self.value(other, value, &below),
                None => {}
            }
        }
    }

    fn number(&mut self, schema: &Value, number: f64, path: &str) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let below =
            bound("minimum").filter(|least| number < *least).map(|least| format!("less than {least}"));
        let above = bound("maximum").filter(|most| number > *most).map(|most| format!("more than {most}"));
        let zero = bound("exclusiveMinimum")
            .filter(|least| number <= *least)
            .map(|least| format!("not more than {least}"));
        if let Some(why) = below.or(above).or(zero) {
            self.report(path, format!("{number} is {why}"), None);
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        let error = match schema.get("format").and_then(Value::as_str) {
            Some(DURATION) => parse_duration(text).err(),
            Some(BYTES) => parse_bytes(text).err(),
            _ => None,
        };
        if let Some(error) = error {
            self.report(path, error, None);
        }
    }
}

/// A value in a message. No text that is long enough for a key: it may stand in the wrong place.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.chars().count() > 16 => "a text".to_owned(),
        other => other.to_string(),
    }
}

fn described(name: &str) -> &str {
    match name {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn keywords(schema: &Value, found: &mut BTreeSet<String>) {
        let Some(object) = schema.as_object() else { return };
        for (key, value) in object {
            found.insert(key.clone());
            match key.as_str() {
                "properties" | "$defs" => {
                    value.as_object().into_iter().flatten().for_each(|(_, schema)| keywords(schema, found));
                }
                "anyOf" | "oneOf" => {
                    value.as_array().into_iter().flatten().for_each(|schema| keywords(schema, found))
                }
                "items" | "additionalProperties" => keywords(value, found),
                _ => {}
            }
        }
    }

    #[test]
    fn every_keyword_of_the_schema_is_one_that_the_check_knows() {
        let mut found = BTreeSet::new();
        keywords(&schema(), &mut found);
        let known = [
            "$defs",
            "$ref",
            "$schema",
            "additionalProperties",
            "anyOf",
            "const",
            "default",
            "description",
            "enum",
            "examples",
            "exclusiveMinimum",
            "format",
            "items",
            "maximum",
            "minimum",
            "oneOf",
            "properties",
            "required",
            "title",
            "type",
        ];
        let unknown: Vec<_> = found.iter().filter(|key| !known.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
