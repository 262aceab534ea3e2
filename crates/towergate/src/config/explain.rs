//! What would become of a request, without sending it: who is asked, in which order, with which settings.

use std::fmt::Write as _;

use super::{Config, Origin, ProviderPlan};

/// One that would be asked.
#[derive(Debug)]
struct Step<'a> {
    plan: &'a ProviderPlan,
    /// The name that it knows the model by.
    sent_as: &'a str,
}

impl Config {
    /// Says in words who would be asked for `model`, in which order, with every setting and where it comes from.
    /// `provider` is what the header `x-towergate-provider` names. Needs no secret and sends nothing.
    #[must_use]
    pub fn explain(&self, model: &str, provider: Option<&str>) -> String {
        let mut text = String::new();
        let steps = match provider {
            Some(name) => {
                self.providers.iter().filter(|plan| plan.name == name).map(|plan| step(plan, model)).collect()
            }
            None => self.candidates(model),
        };
        // Writing to a string cannot fail.
        if steps.is_empty() {
            let _ = match provider {
                Some(name) => writeln!(text, "{name:?} is no provider of this file: 400 unknown_provider"),
                None => writeln!(text, "no provider serves {model:?}: 404 model_not_found"),
            };
            return text;
        }
        let _ = writeln!(text, "{model:?} is asked for in this order:");
        for (at, step) in steps.iter().enumerate() {
            let Step { plan, sent_as } = step;
            let _ = write!(
                text,
                "  {}. {} (priority {}, weight {})",
                at + 1,
                plan.name,
                plan.priority.value,
                plan.weight.value
            );
            let _ = writeln!(
                text,
                ": POST {}/chat/completions as {sent_as:?}",
                plan.base_url.value.trim_end_matches('/')
            );
        }
        let same =
            steps.iter().filter(|step| step.plan.priority.value == steps[0].plan.priority.value).count();
        if provider.is_none() && same > 1 {
            let _ = writeln!(text, "  (those of one priority take turns by weight)");
        }
        let routing = &self.file.routing;
        for (what, list) in [
            ("where none of these answers", &routing.fallback_models),
            ("where it is too long", &routing.context_length_fallbacks),
            ("where its content is refused", &routing.content_policy_fallbacks),
        ] {
            for other in list.get(model).into_iter().flatten() {
                let names: Vec<&str> =
                    self.candidates(other).iter().map(|step| step.plan.name.as_str()).collect();
                let _ = writeln!(text, "  {what}: {other:?} at {}", names.join(", "));
            }
        }
        let mut told = Vec::new();
        for Step { plan, .. } in &steps {
            if told.contains(&&plan.name) {
                continue;
            }
            told.push(&plan.name);
            let _ = writeln!(text, "\nprovider {}:", plan.name);
            for (name, value, origin) in plan.rows() {
                let _ = writeln!(text, "  {name:<30} {value:<40} {}", self.shown(&origin));
            }
        }
        text
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
    Step { plan, sent_as }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Variables};

    #[test]
    fn the_order_and_every_origin_are_said() {
        let text = "providers:\n  spare: {base_url: 'http://b', priority: 2}\n  main: {base_url: 'http://a/v1/', api_key: '${KEY}', models: {fast: small}, timeout: 5}\n\
                    routing: {fallback_models: {fast: [other]}}\n";
        let config = Config::parse("t.yaml", text, &Variables::new(|_| None)).unwrap();
        let said = config.explain("fast", None);
        let at = |part: &str| said.find(part).unwrap_or_else(|| panic!("{part:?} is not in\n{said}"));
        assert!(
            at("1. main (priority 1, weight 1): POST http://a/v1/chat/completions as \"small\"")
                < at("2. spare")
        );
        at("where none of these answers: \"other\" at spare");
        at("t.yaml:3:78");
        at("${KEY}");
        at("built in");
        assert!(config.explain("fast", Some("spare")).contains("1. spare"));
        assert!(config.explain("fast", Some("nobody")).contains("unknown_provider"));
        let named = Config::parse("t.yaml", "providers: {a: {model: m}}", &Variables::new(|_| None)).unwrap();
        assert!(named.explain("n", None).contains("model_not_found"));
    }
}
