//! The asking.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until, timeout};
use towergate_core::{Error, ErrorKind};
use towergate_openai::client::Health;

use super::{
    HealthChecks,
    vitals::{Change, Check, Vitals},
};
use crate::{Provider, time::CENTURY};

/// How often it is looked whether other providers are in force.
const LOOK: Duration = Duration::from_secs(1);

/// A provider that is checked.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// As it is registered: two providers may go by one label.
    pub(crate) name: String,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) checks: HealthChecks,
}

/// Checks whoever is in force, each at its interval; never ends.
pub(crate) async fn watch(in_force: impl Fn() -> Vec<Watched>) {
    let mut due: HashMap<String, Instant> = HashMap::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        let (watched, now) = (in_force(), Instant::now());
        due.retain(|name, _| watched.iter().any(|one| one.name == *name));
        for one in watched {
            let wait = one.checks.wait();
            let at = due.entry(one.name.clone()).or_insert(now + wait);
            if *at <= now {
                *at = now + wait;
                under_way.push(check(one, *at));
            }
        }
        let next = due.values().copied().fold(now + LOOK, Instant::min);
        tokio::select! {
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
            () = sleep_until(next) => {}
        }
    }
}

/// Asks one provider once.
async fn check(watched: Watched, next: Instant) {
    let Watched { provider, vitals, checks, .. } = watched;
    let began = Instant::now();
    let at = SystemTime::now();
    let limit = checks.timeout.min(checks.interval);
    let mut cause = None;
    let check = match timeout(limit, provider.health_check()).await {
        // The gateway had no descriptor for it, or no memory: that says nothing of the provider, which stays what it was.
        Ok(health) if is_overload(&health) => return,
        Ok(health) => {
            let status = health.error.as_ref().and_then(|error| error.status());
            cause = health.causes();
            Check {
                at,
                latency: health.latency,
                models_seen: health.healthy.then_some(health.models_seen),
                answered: health.healthy || status.is_some_and(|status| status.is_client_error()),
                error: health.reason(),
            }
        }
        Err(_) => Check {
            at,
            latency: began.elapsed(),
            models_seen: None,
            answered: false,
            error: Some(format!("no answer within {limit:?} (health_checks.timeout)")),
        },
    };
    tell(&provider, vitals.record(&checks, check.clone(), next), &check, cause, vitals.is_down());
}

fn is_overload(health: &Health) -> bool {
    let error = health.error.as_ref().and_then(|error| Error::find(error));
    error.is_some_and(|error| error.kind() == ErrorKind::Overloaded)
}

/// The cause is for the log alone: it names hosts.
fn tell(
    provider: &Arc<dyn Provider>,
    change: Option<Change>,
    check: &Check,
    cause: Option<String>,
    down: bool,
) {
    let name = provider.name();
    match change {
        Some(Change::Down) => tracing::warn!(
            provider = name.as_str(),
            error = check.error.as_deref(),
            cause,
            "the provider fails its health checks: it is passed over"
        ),
        Some(Change::Up) => {
            tracing::info!(provider = name.as_str(), "the provider passes its health checks again");
        }
        None => {}
    }
    let result = if check.answered { "answered" } else { "failed" };
    metrics::describe_gauge!("towergate_provider_up", "1, or 0 while a provider's health checks fail");
    metrics::gauge!("towergate_provider_up", "provider" => name.to_shared()).set(if down {
        0.0
    } else {
        1.0
    });
    metrics::describe_counter!("towergate_health_checks_total", "Health checks");
    metrics::counter!("towergate_health_checks_total", "provider" => name.to_shared(), "result" => result)
        .increment(1);
}

// === impl HealthChecks ===

impl HealthChecks {
    /// The time to the next check: up to a fifth shorter than the interval, and never none.
    fn wait(&self) -> Duration {
        self.interval.min(CENTURY).mul_f64(1.0 - fastrand::f64() / 5.0).max(Duration::from_millis(10))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU16, Ordering::Relaxed},
    };

    use http::{Request, Response, StatusCode};
    use towergate_core::{Body, label::Label};

    use super::*;
    use crate::{HealthCheck, ProviderService};

    /// Answers with this status; 0 is none at all, 1 is a gateway that is overloaded.
    #[derive(Debug)]
    struct Scripted {
        name: Label,
        status: AtomicU16,
        asked: Mutex<Vec<Instant>>,
    }

    #[derive(Debug, Clone)]
    struct Shared(Arc<Scripted>);

    impl Provider for Shared {
        fn name(&self) -> &Label {
            &self.0.name
        }

        fn service(&self) -> ProviderService {
            let it = Arc::clone(&self.0);
            ProviderService::new(tower::service_fn(move |_: Request<Body>| {
                it.asked.lock().unwrap().push(Instant::now());
                let status = it.status.load(Relaxed);
                async move {
                    match status {
                        0 => return std::future::pending().await,
                        1 => return Err(Error::new(ErrorKind::Overloaded, "no descriptor").into()),
                        _ => {}
                    }
                    let mut answer = Response::new(Body::from(r#"{"object":"list","data":[]}"#));
                    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
                    Ok(answer)
                }
            }))
        }

        fn health_check(&self) -> HealthCheck {
            let client = towergate_openai::client::Client::new(self.service());
            Box::pin(async move { client.health_check().await })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_at_intervals_and_goes_down_and_up() {
        let scripted = Shared(Arc::new(Scripted {
            name: Label::new("a"),
            status: AtomicU16::new(200),
            asked: Mutex::default(),
        }));
        let vitals = Arc::new(Vitals::default());
        let checks = HealthChecks { interval: Duration::from_secs(10), ..HealthChecks::default() };
        let watched = Watched {
            name: "a".into(),
            provider: Arc::new(scripted.clone()),
            vitals: Arc::clone(&vitals),
            checks,
        };
        let watching = tokio::spawn(watch(move || vec![watched.clone()]));
        let pass = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;

        pass(7).await;
        assert!(scripted.0.asked.lock().unwrap().is_empty(), "not before the interval");
        pass(95).await;
        let asked = scripted.0.asked.lock().unwrap().clone();
        assert!((9..=12).contains(&asked.len()), "{}", asked.len());
        let gaps = asked.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| (7990..=10_010).contains(&gap.as_millis())));
        assert_eq!(vitals.seen().last.unwrap().models_seen, Some(0));

        for (status, down) in
            [(404, false), (1, false), (500, true), (1, true), (200, false), (0, true), (429, false)]
        {
            scripted.0.status.store(status, Relaxed);
            pass(45).await;
            assert_eq!(vitals.is_down(), down, "{status}");
        }
        watching.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_go_by_one_label_are_both_asked() {
        let scripted = || {
            Shared(Arc::new(Scripted {
                name: Label::new("openai"),
                status: AtomicU16::new(200),
                asked: Mutex::default(),
            }))
        };
        let both = [("one", scripted()), ("other", scripted())];
        let watched = both.clone().map(|(name, provider)| Watched {
            name: name.into(),
            provider: Arc::new(provider),
            vitals: Arc::new(Vitals::default()),
            checks: HealthChecks::default(),
        });
        let watching = tokio::spawn(watch(move || watched.to_vec()));
        tokio::time::sleep(Duration::from_secs(31)).await;
        for (name, provider) in &both {
            assert_eq!(provider.0.asked.lock().unwrap().len(), 1, "{name}");
        }
        watching.abort();
    }
}
