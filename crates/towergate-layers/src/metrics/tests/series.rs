//! Which series there are, and how many.

use super::*;

#[test]
fn junk_adds_no_series_and_secrets_are_in_none() {
    let run = |requests: usize| {
        record(async || {
            let layer = MetricsLayer::request();
            for n in 0..requests {
                let mut request = Request::builder()
                    .uri(format!("/junk-{n}?key=sk-canary"))
                    .header("authorization", "Bearer sk-canary")
                    .header("cookie", "sk-canary")
                    .body(())
                    .unwrap();
                let record = RequestRecord::of(request.extensions_mut());
                record.set_facts(Arc::new(Facts {
                    model: Some(format!("sk-canary-{n}").into()),
                    ..Facts::of_route(&CHAT, Label::new("other"))
                }));
                let mut response = Response::new(CoreBody::from("sk-canary"));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                let answer = answer(layer.clone(), request, response).await;
                assert!(!format!("{:?} {layer:?}", answer.body()).contains("canary"));
            }
        })
    };
    let (few, many) = (run(1), run(1000));
    assert!(few.keys().eq(many.keys()), "{few:?} {many:?}");
    assert!(!format!("{many:?}").contains("canary"));
}

#[test]
fn a_client_with_a_key_is_counted_by_its_name() {
    let series = record(async || {
        let layer = MetricsLayer::request();
        for client in [Some("team-a"), Some("team-a"), None] {
            let mut request = Request::new(());
            let record = RequestRecord::of(request.extensions_mut());
            if let Some(client) = client {
                record.set_client(ClientName(Label::new(client)));
            }
            answer(layer.clone(), request, Response::new(CoreBody::empty())).await;
        }
    });
    let of_clients: Vec<_> =
        series.iter().filter(|(key, _)| key.starts_with("towergate_client_requests_total")).collect();
    let expected = "towergate_client_requests_total{client=team-a,outcome=completed}".to_owned();
    assert_eq!(of_clients, [(&expected, &2)]);
}

#[test]
fn models_are_bounded_even_when_their_labels_are_not() {
    let series = record(async || {
        let layer = MetricsLayer::request();
        for n in 0..1100 {
            let mut request = Request::new(());
            let record = RequestRecord::of(request.extensions_mut());
            record.set_facts(Arc::new(Facts::of_route(&CHAT, Label::new(&format!("model-{n}")))));
            answer(layer.clone(), request, Response::new(CoreBody::empty())).await;
        }
    });
    let models = series.keys().filter(|key| key.starts_with("towergate_requests_total"));
    assert_eq!(models.count(), 1025);
    assert_eq!(series["towergate_requests_total{model=other,outcome=completed,route=other}"], 76);
}

#[test]
fn descriptions_reach_the_recorder() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        describe();
        metrics::counter!(REQUESTS).increment(1);
    });
    assert!(snapshotter.snapshot().into_vec().iter().all(|(_, _, description, _)| description.is_some()));
}
