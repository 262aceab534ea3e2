//! What clients can choose freely makes no series of metrics.

use metrics_util::debugging::{DebuggingRecorder, Snapshotter};

use super::support::{World, chat};

/// How many series there are.
fn series(snapshotter: &Snapshotter) -> usize {
    snapshotter.snapshot().into_vec().len()
}

#[test]
fn junk_models_paths_and_ids_add_no_series() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let world = World::start().await;
            let http = world.http1();
            let round = async |turn: usize| {
                http.chat(&chat(&format!("junk-{turn}"))).await;
                http.get(&format!("/v1/junk/{turn}")).await;
                http.get(&format!("/v1/files/file-{turn}")).await;
                http.get(&format!("/junk/{turn}")).await;
                let method = http::Method::from_bytes(format!("JUNK{turn}").as_bytes()).unwrap();
                let request = http.request(method, "/v1/models").header("x-request-id", format!("{turn}"));
                http.read(request.body(Default::default()).unwrap()).await;
            };
            for turn in 0..20 {
                round(turn).await;
            }
            let before = series(&snapshotter);
            assert!(before > 10, "{before}");
            for turn in 20..2020 {
                if turn % 500 == 0 {
                    world.sim.forget();
                }
                round(turn).await;
            }
            assert_eq!(series(&snapshotter), before);
        });
    });
}
