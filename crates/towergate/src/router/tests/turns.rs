//! Who of a tier is asked first.

use tokio::time::advance;

use super::*;

async fn ask_times(router: &Router, count: usize) {
    for _ in 0..count {
        ask(router, chat("m")).await.unwrap();
    }
}

#[tokio::test]
async fn a_tier_that_is_not_asked_uses_up_no_turn() {
    // The first one fails every other time, so that the second tier has to take over.
    let main = Scripted::new("main", (0..20).map(|turn| answer(if turn % 2 == 0 { 400 } else { 503 })));
    let [one, two] = ["one", "two"].map(|name| Scripted::new(name, []));
    let spare = || Candidate::new().priority(2);
    let routing = routing(&[&main, &one, &two]).candidate("one", spare()).candidate("two", spare());
    ask_times(&router(&routing), 20).await;
    assert_eq!((one.asked().len(), two.asked().len()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn the_one_with_fewer_requests_under_way_is_asked() {
    let providers = ["a", "b"].map(|name| Scripted::new(name, []));
    let routing = routing(&[&providers[0], &providers[1]]).strategy(Strategy::LeastInFlight);
    let router = router(&routing);
    let mut held = Vec::new();
    for _ in 0..10 {
        // Under way until its body is read or dropped.
        held.push(ask(&router, chat("m")).await.unwrap());
    }
    assert_eq!(providers.each_ref().map(|provider| provider.asked().len()), [5, 5]);
    // The first to be free again is the next.
    let counts = || providers.each_ref().map(|provider| provider.asked().len());
    let before = counts();
    held.retain(|response| response.extensions().get::<Label>().is_some());
    ask_times(&router, 50).await;
    assert!(counts().iter().zip(before).all(|(now, before)| *now > before), "ties are drawn by lot");
}

#[tokio::test(start_paused = true)]
async fn weights_count_with_requests_under_way() {
    let providers = ["a", "b"].map(|name| Scripted::new(name, []));
    let routing = routing(&[&providers[0], &providers[1]])
        .candidate("a", Candidate::new().weight(3.0))
        .strategy(Strategy::LeastInFlight);
    let router = router(&routing);
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(ask(&router, chat("m")).await.unwrap());
    }
    let [a, b] = providers.each_ref().map(|provider| provider.asked().len());
    assert!((28..=32).contains(&a) && a + b == 40, "{a} and {b}");
}

#[tokio::test(start_paused = true)]
async fn who_fails_fast_attracts_no_load() {
    let limited = Scripted::new("limited", (0..1000).map(|_| answer(429)));
    let well = Scripted::new("well", []);
    let routing = routing(&[&limited, &well]).strategy(Strategy::PeakEwma);
    let router = router(&routing);
    ask_times(&router, 100).await;
    assert!(limited.asked().len() <= 2, "{}", limited.asked().len());
    // It is not forgotten: what was seen of it fades.
    advance(Duration::from_secs(300)).await;
    limited.state.lock().unwrap().script.clear();
    ask_times(&router, 200).await;
    assert!(limited.asked().len() > 20, "{}", limited.asked().len());
}
