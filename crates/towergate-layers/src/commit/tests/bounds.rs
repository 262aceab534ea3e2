//! What may be held, and what becomes of more.

use super::*;

#[test]
fn past_its_cap_an_answer_streams_on() {
    let state = json();
    let body = Scripted::new(&state).data("0123").data("4567").wait(s(9)).data("89");
    let alive = body.alive();
    let layer = CommitLayer::new(ByStatus).max_held(7);
    let (response, counted) = early_commits(through(layer, of_route(&CHAT), answer(Some(&state), body)));
    assert_eq!(counted, [("size".to_owned(), 1)]);
    let response = response.unwrap();
    assert_eq!(Arc::strong_count(&alive), 2, "not read to its end");
    drop(response);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn chunks_of_one_byte_are_bounded_too() {
    let state = json();
    let mut body = Scripted::new(&state);
    for _ in 0..1000 {
        body = body.data("x");
    }
    let layer = CommitLayer::new(ByStatus).max_held(4096);
    let (response, counted) =
        early_commits(through(layer, of_route(&CHAT), answer(Some(&state), body.wait(s(1)))));
    assert_eq!(counted, [("size".to_owned(), 1)]);
    assert!(response.is_ok());
}

#[test]
fn past_the_budget_an_answer_streams_on_and_the_bytes_come_back() {
    let budget = MemoryBudget::new(1000);
    let layer = CommitLayer::new(ByStatus).budget(budget.clone());
    let state = events();
    let body = Scripted::new(&state).data(vec![b'x'; 600]).data(vec![b'x'; 600]).wait(s(9)).data("end");
    let ((response, used), counted) = early_commits(async {
        let response = through(layer, of_route(&CHAT), answer(Some(&state), body)).await.unwrap();
        let used = budget.used();
        (text(response).await.len(), used)
    });
    assert_eq!(counted, [("memory".to_owned(), 1)]);
    assert_eq!(response, 1203);
    assert!((600..1000).contains(&used), "{used}");
    assert_eq!(budget.used(), 0);
}

#[test]
fn past_the_share_of_its_client_an_answer_streams_on() {
    // The layer's own budget would have room.
    let (intakes, client) = (MemoryBudget::new(10_000).per_client(1000), ClientMemory::default());
    let layer = CommitLayer::new(ByStatus);
    for (share, counts) in [(&client, 1), (&ClientMemory::default(), 0)] {
        let mut others = intakes.reservation_of(Some(&client));
        others.grow(500).unwrap();
        let mut request = of_route(&CHAT);
        let record = RequestRecord::of(request.extensions_mut());
        record.set_memory(intakes.clone());
        record.set_client_memory(share.clone());
        let state = json();
        let body = Scripted::new(&state).data(vec![b'x'; 600]).data("end");
        let (length, counted) = early_commits(async {
            text(through(layer.clone(), request, answer(Some(&state), body)).await.unwrap()).await.len()
        });
        assert_eq!((length, counted.len()), (603, counts));
        drop(others);
        assert_eq!(intakes.used(), 0);
    }
}

#[test]
fn a_head_released_by_time_is_counted() {
    let state = events();
    let body = Scripted::new(&state).event("data: role\n\n").hang();
    let layer = CommitLayer::new(ByStatus).hold_max(s(3));
    let (_, counted) = early_commits(through(layer, of_route(&CHAT), answer(Some(&state), body)));
    assert_eq!(counted, [("time".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_collected_answer_keeps_its_reservation_while_it_lives() {
    let budget = MemoryBudget::new(1000);
    let layer = CommitLayer::new(ByStatus).budget(budget.clone());
    let state = json();
    let body = Scripted::new(&state).data("{}");
    let mut response = through(layer, of_route(&CHAT), answer(Some(&state), body)).await.unwrap();
    assert!(budget.used() >= 2);
    let bytes = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    drop(response);
    assert!(budget.used() >= 2, "somebody still writes them");
    drop(bytes);
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_held_leaves_nothing() {
    let budget = MemoryBudget::new(1000);
    let layer = CommitLayer::new(ByStatus).budget(budget.clone());
    let state = events();
    let body = Scripted::new(&state).data(": hello\n\n").hang();
    let alive = body.alive();
    let held = through(layer, of_route(&CHAT), answer(Some(&state), body));
    assert!(tokio::time::timeout(s(1), held).await.is_err());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(budget.used(), 0);
}
