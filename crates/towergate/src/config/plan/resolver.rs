//! [`Resolver`]: looks the values of one provider up, by the one rule of precedence.

use std::time::Duration;

use super::super::{
    Config,
    problem::Problem,
    setting::{Origin, Setting, Variables},
    types::{ProviderSection, Time},
};

/// Looks the values of one provider up.
pub(super) struct Resolver<'a> {
    pub(super) config: &'a Config,
    pub(super) name: &'a str,
    pub(super) section: &'a ProviderSection,
    pub(super) variables: &'a Variables,
    /// Whether the `OPENAI_*` variables are about it.
    pub(super) openai: bool,
    pub(super) problems: Vec<Problem>,
}

/// Takes the first of the provider's own, the default's and what is built in.
macro_rules! resolve {
    ($resolver:ident, $($field:ident).+, $path:literal, $map:expr, $built_in:expr) => {{
        let own = $resolver.section.$($field).+.clone().map($map);
        let default = $resolver.config.file.defaults.$($field).+.clone().map($map);
        $resolver.pick($path, own, default, None).unwrap_or_else(|| Setting::built_in($built_in))
    }};
}

pub(super) use resolve;

impl Resolver<'_> {
    pub(super) fn own_path(&self, path: &str) -> String {
        format!("providers.{}.{path}", self.name)
    }

    pub(super) fn in_file(&self, path: &str) -> Origin {
        self.config.place(path).map_or(Origin::BuiltIn, Origin::File)
    }

    pub(super) fn pick<T>(
        &self,
        path: &str,
        own: Option<T>,
        default: Option<T>,
        variable: Option<(T, Origin)>,
    ) -> Option<Setting<T>> {
        if let Some(value) = own {
            return Some(Setting { value, origin: self.in_file(&self.own_path(path)) });
        }
        if let Some(value) = default {
            return Some(Setting { value, origin: self.in_file(&format!("defaults.{path}")) });
        }
        variable.map(|(value, origin)| Setting { value, origin })
    }

    pub(super) fn variable(&self, name: &'static str) -> Option<(String, Origin)> {
        let value = self.variables.get(name).filter(|_| self.openai)?;
        Some((value, Origin::Variable(name)))
    }

    /// A text with its variables put in.
    pub(super) fn text(&mut self, path: &str, text: &str) -> String {
        match self.variables.expand(text) {
            Ok(expanded) => expanded,
            Err(missing) => {
                let path = self.own_path(path);
                let message = format!(
                    "the variable {} is not set; give it a default: ${{{}:-...}}",
                    missing.0, missing.0
                );
                self.problems.push(Problem {
                    place: self.config.place(&path),
                    path,
                    message,
                    suggestion: None,
                });
                text.to_owned()
            }
        }
    }

    /// One of head, first event and idle: a clock of its own before `timeout`, in each section.
    pub(super) fn clock(
        &self,
        path: &str,
        own: Option<Time>,
        default: Option<Time>,
    ) -> Setting<Option<Duration>> {
        let defaults = &self.config.file.defaults;
        let steps = [
            (own, self.own_path(path)),
            (self.section.timeout, self.own_path("timeout")),
            (default, format!("defaults.{path}")),
            (defaults.timeout, "defaults.timeout".to_owned()),
        ];
        for (value, path) in steps {
            if let Some(Time(value)) = value {
                return Setting { value: Some(value), origin: self.in_file(&path) };
            }
        }
        let variable = self.variable("OPENAI_TIMEOUT").and_then(|(text, origin)| {
            let seconds = text.trim().parse::<f64>().ok()?;
            Some((Some(Duration::try_from_secs_f64(seconds).ok()?), origin))
        });
        Setting::built_in(None).overridden(variable)
    }
}
