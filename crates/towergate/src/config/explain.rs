//! What would become of a request, without sending it: who is asked, in which order, with which settings.

use std::fmt::Write as _;

use http::HeaderMap;
use towergate_core::headers::{X_TOWERGATE_FALLBACK_MODELS, X_TOWERGATE_PROVIDER};

use super::{
    Config, Origin, ProviderPlan, ServerPlan,
    setting::{Row, seconds},
    types::{ModelSection, RoutingStrategy, Time},
};
use crate::router::MAX_CLIENT_FALLBACKS;

/// One that would be asked.
#[derive(Debug)]
struct Step<'a> {
    plan: &'a ProviderPlan,
    /// The name that it knows the model by.
    sent_as: &'a str,
    settings: Option<&'a ModelSection>,
}

// Writing to a string cannot fail.
impl Config {
    /// Says in words who would be asked for `model`, in which order, with every setting and where it comes from.
    /// `headers` are those of the request: `x-towergate-provider` and `x-towergate-fallback-models` decide. Needs no
    /// secret and sends nothing.
    #[must_use]
    pub fn explain(&self, model: &str, headers: &HeaderMap) -> String {
        let mut text = String::new();
        let asked = headers.get(X_TOWERGATE_PROVIDER).map(|name| String::from_utf8_lossy(name.as_bytes()));
        let steps = match &asked {
            Some(name) => self
                .providers
                .iter()
                .filter(|plan| plan.name == **name)
                .map(|plan| step(plan, model))
                .collect(),
            None => self.candidates(model),
        };
        if steps.is_empty() {
            let _ = match asked {
                Some(name) => writeln!(text, "{name:?} is no provider of this file: 400 unknown_provider"),
                None => writeln!(text, "no provider serves {model:?}: 404 model_not_found"),
            };
            return text;
        }
        self.explain_order(&mut text, model, &steps, asked.is_some());
        if asked.is_none() {
            self.explain_fallbacks(&mut text, model, headers);
        }
        for name in headers.keys().filter(|name| **name != X_TOWERGATE_PROVIDER) {
            if *name != X_TOWERGATE_FALLBACK_MODELS || asked.is_some() {
                let _ = writeln!(text, "  (the header {name} does not decide who is asked)");
            }
        }
        for Step { plan, settings, .. } in &steps {
            self.explain_provider(&mut text, plan);
            if let Some(settings) = settings {
                self.explain_rows(&mut text, self.model_rows(plan, model, settings));
            }
        }
        text
    }

    /// Every provider with every setting, and where it comes from.
    #[must_use]
    pub fn explain_providers(&self) -> String {
        let mut text = String::new();
        for plan in &self.providers {
            self.explain_provider(&mut text, plan);
        }
        text
    }

    /// The settings that belong to no provider, and where they come from: routing, client keys, and the listener
    /// as `server` has it.
    #[must_use]
    pub fn explain_settings(&self, server: &ServerPlan) -> String {
        let mut text = "\nrouting:\n".to_owned();
        self.explain_rows(&mut text, self.routing_plan().rows());
        for (name, key) in &self.file.client_keys {
            let reached = match (&key.allowed_models, &key.allowed_endpoints) {
                (None, None) => "everything".to_owned(),
                (Some(models), None) => format!("the models {}", models.join(", ")),
                (None, Some(endpoints)) => format!("the endpoints {}", endpoints.join(", ")),
                (Some(models), Some(endpoints)) => {
                    format!("the models {} at {}", models.join(", "), endpoints.join(", "))
                }
            };
            let at = self.place(&format!("client_keys.{name}")).map_or(Origin::BuiltIn, Origin::File);
            let _ = writeln!(text, "\nclient key {name}: reaches {reached}  {}", self.shown(&at));
        }
        text.push_str("\nserver:\n");
        self.explain_rows(&mut text, server.rows());
        text
    }

    fn explain_order(&self, text: &mut String, model: &str, steps: &[Step<'_>], pinned: bool) {
        let _ = writeln!(text, "{model:?} is asked for in this order:");
        for (at, Step { plan, sent_as, .. }) in steps.iter().enumerate() {
            let (priority, weight) = (plan.priority.value, plan.weight.value);
            let _ = write!(text, "  {}. {} (priority {priority}, weight {weight})", at + 1, plan.name);
            let url = plan.base_url.value.trim_end_matches('/');
            let _ = writeln!(text, ": POST {url}/chat/completions as {sent_as:?}");
        }
        let equals = steps.windows(2).any(|two| two[0].plan.priority.value == two[1].plan.priority.value);
        if !pinned && equals {
            let _ = writeln!(
                text,
                "  (those of one priority {})",
                match self.routing_plan().strategy.value {
                    RoutingStrategy::Weighted => "take turns by weight",
                    RoutingStrategy::LeastInFlight => "are chosen by their requests under way",
                    RoutingStrategy::PeakEwma => "are chosen by how soon they are expected to answer",
                }
            );
        }
    }

    /// Who takes over where nobody answers, or where the model refuses.
    fn explain_fallbacks(&self, text: &mut String, model: &str, headers: &HeaderMap) {
        let routing = &self.file.routing;
        let values = headers.get_all(X_TOWERGATE_FALLBACK_MODELS).iter();
        let texts: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let named =
            texts.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty());
        let named: Vec<&str> = named.collect();
        let configured = |list: &'_ std::collections::BTreeMap<String, Vec<String>>| -> Vec<String> {
            list.get(model).into_iter().flatten().cloned().collect()
        };
        let first = if texts.is_empty() {
            configured(&routing.fallback_models)
        } else {
            named.iter().filter(|name| **name != model).map(|name| (*name).to_owned()).collect()
        };
        if named.len() > MAX_CLIENT_FALLBACKS {
            let _ = writeln!(
                text,
                "  x-towergate-fallback-models names more than {MAX_CLIENT_FALLBACKS} models: 400 invalid_fallback_models"
            );
        }
        for (what, others) in [
            ("where none of these answers", first),
            ("where it is too long", configured(&routing.context_length_fallbacks)),
            ("where its content is refused", configured(&routing.content_policy_fallbacks)),
        ] {
            for other in others {
                let names: Vec<&str> =
                    self.candidates(&other).iter().map(|step| step.plan.name.as_str()).collect();
                let _ = match names[..] {
                    [] => writeln!(text, "  {what}: {other:?}, which nobody serves: 404 model_not_found"),
                    _ => writeln!(text, "  {what}: {other:?} at {}", names.join(", ")),
                };
            }
        }
    }

    fn explain_provider(&self, text: &mut String, plan: &ProviderPlan) {
        let _ = writeln!(text, "\nprovider {}:", plan.name);
        self.explain_rows(text, plan.rows());
    }

    fn explain_rows(&self, text: &mut String, rows: Vec<Row>) {
        for (name, value, origin) in rows {
            let _ = writeln!(text, "  {name:<30} {value:<40} {}", self.shown(&origin));
        }
    }

    /// What a model has in place of its provider's.
    fn model_rows(&self, plan: &ProviderPlan, model: &str, settings: &ModelSection) -> Vec<Row> {
        let time = |name, time: Option<Time>| time.map(|Time(time)| (name, seconds(&time)));
        let set = [
            time("head", settings.head),
            time("first_event", settings.first_event),
            time("idle", settings.idle),
            time("failover_after", settings.failover_after),
            settings.thinks.map(|thinks| ("thinks", thinks.to_string())),
        ];
        let rows = set.into_iter().flatten().map(|(name, value)| {
            let path = format!("providers.{}.models.{model}.{name}", plan.name);
            (name, format!("{value} for this model"), self.place(&path).map_or(Origin::BuiltIn, Origin::File))
        });
        rows.collect()
    }

    /// Who is asked for a model, by priority and then by weight.
    fn candidates<'a>(&'a self, model: &'a str) -> Vec<Step<'a>> {
        let serves = |plan: &&ProviderPlan| {
            plan.models.is_empty() || plan.models.iter().any(|(name, _)| name == model)
        };
        let mut plans: Vec<&ProviderPlan> = self.providers.iter().filter(serves).collect();
        plans.sort_by(|a, b| {
            let by_weight = || b.weight.value.total_cmp(&a.weight.value);
            a.priority.value.cmp(&b.priority.value).then_with(by_weight)
        });
        plans.into_iter().map(|plan| step(plan, model)).collect()
    }

    /// An origin, with the file's name.
    #[must_use]
    pub fn shown(&self, origin: &Origin) -> String {
        match origin {
            Origin::File(place) => format!("{}:{}:{}", self.source.display(), place.line, place.column),
            other => other.to_string(),
        }
    }
}

fn step<'a>(plan: &'a ProviderPlan, model: &'a str) -> Step<'a> {
    let settings = plan.models.iter().find(|(name, _)| name == model).map(|(_, settings)| settings);
    let sent_as = settings.and_then(|settings| settings.upstream.as_deref()).unwrap_or(model);
    Step { plan, sent_as, settings }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use crate::config::{Config, Origin, Variables};

    const TEXT: &str = "\
providers:
  spare: {base_url: 'http://b', priority: 2}
  main: {base_url: 'http://a/v1/', api_key: '${KEY}', models: {fast: {upstream: small, idle: 7}}, timeout: 5}
routing: {fallback_models: {fast: [other]}, content_policy_fallbacks: {fast: [soft]}, strategy: peak_ewma}
client_keys: {me: {key: '${ME}', allowed_models: [fast]}}
server: {max_body: 1KiB, drain_delay: 2}
";

    fn config() -> Config {
        Config::parse("t.yaml", TEXT, &Variables::new(|_| None)).unwrap()
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// Whether the parts are there, in this order.
    #[track_caller]
    fn has(said: &str, parts: &[&str]) {
        let mut rest = said;
        for part in parts {
            let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in\n{said}"));
            rest = &rest[at + part.len()..];
        }
    }

    #[test]
    fn the_order_and_every_origin_are_said() {
        let said = config().explain("fast", &headers(&[]));
        has(
            &said,
            &[
                "1. main (priority 1, weight 1): POST http://a/v1/chat/completions as \"small\"",
                "2. spare",
                "where none of these answers: \"other\" at spare",
                "where its content is refused: \"soft\" at spare",
                "provider main:",
                "${KEY}",
                "t.yaml:3:99",
                "built in",
                "7 s for this model",
                "t.yaml:3:88",
            ],
        );
        assert!(!said.contains("those of one priority"), "{said}");
        let named = Config::parse("t.yaml", "providers: {a: {model: m}}", &Variables::new(|_| None)).unwrap();
        assert!(named.explain("n", &headers(&[])).contains("model_not_found"));
    }

    #[test]
    fn headers_decide_as_they_do_in_earnest() {
        let config = config();
        let pinned = config.explain("fast", &headers(&[("x-towergate-provider", "spare"), ("x-other", "x")]));
        has(&pinned, &["1. spare", "the header x-other does not decide"]);
        assert!(!pinned.contains("where none") && !pinned.contains("main"), "nobody takes over: {pinned}");
        let nobody = config.explain("fast", &headers(&[("x-towergate-provider", "nobody")]));
        assert!(nobody.contains("unknown_provider"));
        let named = config.explain("fast", &headers(&[("x-towergate-fallback-models", "a, fast, b")]));
        has(
            &named,
            &["where none of these answers: \"a\" at spare", "where none of these answers: \"b\" at spare"],
        );
        assert!(!named.contains("\"other\""), "{named}");
        let many = config.explain("fast", &headers(&[("x-towergate-fallback-models", "1,2,3,4,5,6,7,8,9")]));
        assert!(many.contains("400 invalid_fallback_models"), "{many}");
    }

    #[test]
    fn settings_of_the_whole_have_their_origins_too() {
        let config = config();
        let mut server = config.server();
        server.listen = server
            .listen
            .overridden(Some(([0, 0, 0, 0], 80).into()).map(|it| (it, Origin::Flag("--listen"))));
        let said = config.explain_settings(&server);
        has(
            &said,
            &[
                "routing:",
                "max_attempts",
                "4 ",
                "built in",
                "strategy",
                "peak_ewma",
                "t.yaml:4:",
                "default_provider",
                "main",
                "built in",
                "client key me: reaches the models fast  t.yaml:5:",
                "server:",
                "server.listen",
                "0.0.0.0:80",
                "--listen",
                "server.max_body",
                "1KiB",
                "t.yaml:6:10",
                "server.max_upload",
                "1GiB",
                "built in",
                "server.stream_keep_alive",
                "15 s",
                "server.drain_delay",
                "2 s",
                "t.yaml:6:",
                "logging.format",
                "text",
                "built in",
            ],
        );
        has(&config.explain_providers(), &["provider spare:", "provider main:"]);
    }
}
