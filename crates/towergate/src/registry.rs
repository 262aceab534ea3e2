//! [`Registry`]: the providers, by name.

use std::sync::Arc;

use crate::{Provider, health::Vitals};

/// The providers that a gateway knows, by name, in the order in which they were registered.
///
/// ```
/// use towergate::{OpenAiProvider, Registry};
///
/// # fn main() -> Result<(), towergate::BuildError> {
/// let mut registry = Registry::new();
/// registry.register("ollama", OpenAiProvider::builder().base_url("http://localhost:11434/v1").build()?);
/// assert!(registry.get("ollama").is_some());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Registry {
    entries: Vec<Entry>,
}

/// A provider under its name, with what is known of its health.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) vitals: Arc<Vitals>,
}

// === impl Registry ===

impl Registry {
    /// No provider yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a provider, and gives back the one that had this name before.
    pub fn register(
        &mut self,
        name: impl Into<String>,
        provider: impl Provider,
    ) -> Option<Arc<dyn Provider>> {
        self.register_shared(name, Arc::new(provider))
    }

    /// Adds a provider that is shared already, and gives back the one that had this name before.
    pub fn register_shared(
        &mut self,
        name: impl Into<String>,
        provider: Arc<dyn Provider>,
    ) -> Option<Arc<dyn Provider>> {
        let entry = Entry { name: name.into(), provider, vitals: Arc::default() };
        self.insert(entry).map(|before| before.provider)
    }

    /// Adds a provider with what is known of its health.
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<Entry> {
        match self.entries.iter_mut().find(|known| known.name == entry.name) {
            Some(place) => Some(std::mem::replace(place, entry)),
            None => {
                self.entries.push(entry);
                None
            }
        }
    }

    /// Knows nothing of the health of these any more. A check of them that is still under way tells nobody.
    pub(crate) fn forget_vitals(&mut self, of: impl Fn(&str) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| of(&entry.name)) {
            entry.vitals = Arc::default();
        }
    }

    /// The provider of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, provider)| provider)
    }

    /// Takes a provider out; what is under way on it goes on.
    pub fn remove(&mut self, name: &str) -> Option<Arc<dyn Provider>> {
        let place = self.entries.iter().position(|known| known.name == name)?;
        Some(self.entries.remove(place).provider)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<dyn Provider>)> {
        self.entries.iter().map(|entry| (entry.name.as_str(), &entry.provider))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use towergate_core::{Body, BoxError};

    use super::*;
    use crate::ServiceProvider;

    fn provider(name: &str) -> ServiceProvider {
        ServiceProvider::new(
            name,
            tower::service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Body::empty()))),
        )
    }

    #[test]
    fn names_are_unique_and_keep_their_order() {
        let mut registry = Registry::new();
        assert!(registry.is_empty());
        assert!(registry.register("b", provider("first")).is_none());
        assert!(registry.register("a", provider("second")).is_none());
        let before = registry.register("b", provider("third")).unwrap();
        assert_eq!(before.name().as_str(), "first");
        let names: Vec<_> =
            registry.iter().map(|(name, provider)| (name, provider.name().as_str())).collect();
        assert_eq!(names, [("b", "third"), ("a", "second")]);
        assert_eq!(registry.get("a").unwrap().name().as_str(), "second");
        assert_eq!(registry.remove("b").unwrap().name().as_str(), "third");
        assert!(registry.get("b").is_none() && registry.remove("b").is_none());
        assert_eq!(registry.len(), 1);
    }
}
