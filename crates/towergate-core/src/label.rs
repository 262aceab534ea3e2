//! Metric labels from a closed set.
//!
//! What a client can choose freely (a model, a path) must never become a label as it is: every typo
//! would be a new time series. A [`Label`] is made from the configuration, or it is
//! [`other`](Labels::other).

use std::{collections::HashSet, fmt, sync::Arc};

/// A shared name that is safe as a metric label. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(Arc<str>);

/// The names that may become labels; all else is `other`.
#[derive(Debug, Clone)]
pub struct Labels {
    known: Arc<HashSet<Label>>,
    other: Label,
}

// === impl Label ===

impl Label {
    /// Makes a label. Call it with names from the configuration or the code, never with what came
    /// over the network.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl std::borrow::Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

// === impl Labels ===

impl Labels {
    /// The label of everything unknown.
    pub const OTHER: &'static str = "other";

    /// The set of known names.
    pub fn new<'a>(known: impl IntoIterator<Item = &'a str>) -> Self {
        Self { known: Arc::new(known.into_iter().map(Label::new).collect()), other: Label::new(Self::OTHER) }
    }

    /// The label of a name: itself where it is known, else `other`.
    #[must_use]
    pub fn of(&self, name: &str) -> &Label {
        self.known.get(name).unwrap_or(&self.other)
    }

    /// The label of everything unknown.
    #[must_use]
    pub fn other(&self) -> &Label {
        &self.other
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::new([])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_one_label() {
        let labels = Labels::new(["gpt-4o"]);
        assert_eq!(labels.of("gpt-4o").as_str(), "gpt-4o");
        let junk: HashSet<_> = (0..10_000).map(|n| labels.of(&format!("gpt-{n}")).clone()).collect();
        assert_eq!(junk.len(), 1);
    }
}
