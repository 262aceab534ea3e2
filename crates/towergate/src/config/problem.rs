//! What is wrong with a configuration: everything at once, each with its place.

use std::{fmt, path::PathBuf};

/// A place in a file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; none where the file as a whole is meant.
    pub place: Option<Place>,
    /// Which setting, such as `providers.main.weight`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// Everything that is wrong, by place.
    pub problems: Vec<Problem>,
}

impl Problem {
    /// Something about the file as a whole.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self { place: None, path: String::new(), message: message.into(), suggestion: None }
    }
}

impl ConfigErrors {
    pub(super) fn new(file: impl Into<PathBuf>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
        problems.dedup();
        Self { file: file.into(), problems }
    }
}

impl fmt::Display for Problem {
    /// `line:column: path: message (did you mean ...?)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column }) = self.place {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean {suggestion}?")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigErrors {
    /// `file:line:column: path: message (did you mean ...?)`, one a line, as editors and CI find it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, problem) in self.problems.iter().enumerate() {
            if count > 0 {
                writeln!(f)?;
            }
            let between = if problem.place.is_some() { ":" } else { ": " };
            write!(f, "{}{between}{problem}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Of what is known, what comes nearest to what was written; nothing where nothing is near.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let normal = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let written = normal(written);
    let most = written.len() / 3;
    known
        .into_iter()
        .filter_map(|name| {
            let normal = normal(name);
            let distance = strsim::damerau_levenshtein(&written, &normal);
            let begins = written.len() >= 3 && normal.starts_with(&written);
            (distance <= most || begins).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| format!("{name:?}"))
}
