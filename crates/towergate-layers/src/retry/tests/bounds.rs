//! The budget over all requests.

use http::HeaderName;
use tokio::task::JoinSet;

use super::*;

/// Fails until a given instant.
fn outage_until(
    end: Instant,
    attempts: Arc<Mutex<u64>>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Error, Future: Send> + Clone + Send {
    service_fn(move |_: Request<Body>| {
        *attempts.lock().unwrap() += 1;
        std::future::ready(answer(if Instant::now() < end { 503 } else { 200 }))
    })
}

#[tokio::test(start_paused = true)]
async fn a_total_outage_adds_at_most_a_quarter_to_the_load() {
    const PER_SECOND: u64 = 500;
    let start = Instant::now();
    let end = start + Duration::from_secs(30);
    let attempts = Arc::new(Mutex::new(0));
    let service = RetryLayer::new().layer(outage_until(end, Arc::clone(&attempts)));

    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..30 * PER_SECOND {
        ticks.tick().await;
        requests.spawn(service.clone().oneshot(request()));
    }
    let mut good = 0;
    while let Some(answer) = requests.join_next().await {
        good += u64::from(answer.unwrap().unwrap().status() == 200);
    }
    let attempts = *attempts.lock().unwrap();
    let requests = 30 * PER_SECOND;
    assert!(attempts > requests * 11 / 10, "{attempts}");
    assert!(attempts <= requests * 5 / 4, "{attempts}");
    // Who was still waiting when it was over got an answer.
    assert!(good > 0);
}

#[tokio::test(start_paused = true)]
async fn it_recovers_after_the_outage() {
    let upstream = Upstream::new((0..2000).map(|_| answer(503)));
    let layer = exact().max_retries(1);
    let service = layer.layer(upstream.service());
    let answers = futures_util::future::join_all((0..1000).map(|_| service.clone().oneshot(request()))).await;
    let first = upstream.calls().len();
    assert_eq!(first, 1000 + 200 + 100);
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((gave_up(&answer), should_retry(&answer)), (Some(GaveUp::Exhausted), Some("false")));
    }

    upstream.0.lock().unwrap().script = [answer(503)].into();
    let answer_at_once = service.clone().oneshot(request()).await.unwrap();
    assert_eq!(answer_at_once.status(), 503);
    tokio::time::advance(Duration::from_secs(11)).await;
    upstream.0.lock().unwrap().script = [answer(503)].into();
    assert_eq!(service.oneshot(request()).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn clones_of_a_layer_share_its_budget() {
    let layer = exact().max_retries(1).max_backoff(Duration::ZERO).budget(BudgetConfig {
        ratio: 0.0,
        min_per_second: 1,
        ..BudgetConfig::default()
    });
    let clone = layer.clone().max_retry_after(Duration::ZERO);
    let upstream = Upstream::new((0..100).map(|_| answer(503)));
    for _ in 0..8 {
        upstream.call(&layer, request()).await.unwrap();
        upstream.call(&clone, request()).await.unwrap();
    }
    assert_eq!(upstream.calls().len(), 16 + 10);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_retries_do_not_fund_it() {
    let header = HeaderName::from_static("x-stainless-retry-count");
    let layer = exact()
        .max_retries(1)
        .budget(BudgetConfig { ratio: 1.0, min_per_second: 0, ..BudgetConfig::default() })
        .unfunded_when(header.clone());
    for (value, retried) in [("0", true), ("1", false), ("2", false), ("many", true), ("", true)] {
        tokio::time::advance(Duration::from_secs(20)).await;
        let mut request = request();
        request.headers_mut().insert(header.clone(), value.parse().unwrap());
        let upstream = Upstream::new([answer(503)]);
        upstream.call(&layer, request).await.unwrap();
        assert_eq!(upstream.calls().len(), 1 + usize::from(retried), "{value:?}");
    }
}
