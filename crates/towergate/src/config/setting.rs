//! A value with where it comes from, and variables in texts.

use std::{fmt, sync::Arc, time::Duration};

use super::problem::Place;

/// A value, and where it comes from. Two are equal if their values are.
#[derive(Debug, Clone)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Where it was said.
    pub origin: Origin,
}

/// Where a value was said. In this order each overrides those after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A place in the file.
    File(Place),
    /// What is built in.
    BuiltIn,
}

/// A setting's name, its value as text, and where it was said.
pub type Row = (&'static str, String, Origin);

/// A setting as text.
pub(super) fn row<T>(name: &'static str, setting: &Setting<T>, text: impl Fn(&T) -> String) -> Row {
    (name, text(&setting.value), setting.origin.clone())
}

/// A time as text.
pub(super) fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// Reads variables of the environment.
#[derive(Clone)]
pub struct Variables(Arc<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A variable without which a text cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub String);

// === impl Setting ===

impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> Setting<T> {
    /// What is built in.
    pub fn built_in(value: T) -> Self {
        Self { value, origin: Origin::BuiltIn }
    }

    /// Takes a value that is stronger, where there is one.
    pub fn overridden(self, stronger: Option<(T, Origin)>) -> Self {
        match stronger {
            Some((value, origin)) => Self { value, origin },
            None => self,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "{name}"),
            Self::Variable(name) => write!(f, "${name}"),
            Self::File(Place { line, column }) => write!(f, "line {line}:{column}"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
}

// === impl Variables ===

impl Variables {
    /// Those of the process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// Those that a function gives.
    pub fn new(variables: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(variables))
    }

    /// A variable; an empty one counts as unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// A text with each `${NAME}` and `${NAME:-default}` replaced; `$$` is a dollar sign.
    ///
    /// # Errors
    ///
    /// The first variable that is not set and has no default.
    pub fn expand(&self, text: &str) -> Result<String, Missing> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                expanded.push('$');
                rest = after;
            } else if let Some((inside, after)) =
                rest.strip_prefix("${").and_then(|after| after.split_once('}'))
            {
                let (name, default) = match inside.split_once(":-") {
                    Some((name, default)) => (name, Some(default)),
                    None => (inside, None),
                };
                match self.get(name).or_else(|| default.map(str::to_owned)) {
                    Some(value) => expanded.push_str(&value),
                    None => return Err(Missing(name.to_owned())),
                }
                rest = after;
            } else {
                expanded.push('$');
                rest = &rest[1..];
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}

/// The variables that a text names, as [`Variables::expand`] reads it.
pub(super) fn references(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find('$')?..];
            if let Some(after) = rest.strip_prefix("$$") {
                rest = after;
                continue;
            }
            let Some((inside, after)) = rest.strip_prefix("${").and_then(|after| after.split_once('}'))
            else {
                rest = &rest[1..];
                continue;
            };
            rest = after;
            return Some(inside.split_once(":-").map_or(inside, |(name, _)| name));
        }
    })
}

/// Whether a text is nothing but one `${NAME}`, with or without a default.
pub(super) fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inside| !inside.contains(['{', '}', '$']) && !inside.contains(":-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in() {
        let variables = Variables::new(|name| match name {
            "A" => Some("x".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        });
        for (text, expected) in [
            ("plain", "plain"),
            ("${A}", "x"),
            ("<${A}${A}>", "<xx>"),
            ("${B:-y}", "y"),
            ("${EMPTY:-y}", "y"),
            ("${B:-}", ""),
            ("$$${A}$", "$x$"),
            ("$A", "$A"),
            ("${A", "${A"),
        ] {
            assert_eq!(variables.expand(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(variables.expand("${B}"), Err(Missing("B".into())));
        assert_eq!(variables.expand("${EMPTY}"), Err(Missing("EMPTY".into())));
    }

    #[test]
    fn references_are_found() {
        let found: Vec<&str> = references("$$${A}$$ {} $B ${C:-${D} ${E").collect();
        assert_eq!(found, ["A", "C"]);
    }

    #[test]
    fn a_reference_is_nothing_else() {
        assert!(is_reference("${KEY}"));
        for text in ["sk-1", "${KEY:-sk-1}", "x${KEY}", "${A}${B}"] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
