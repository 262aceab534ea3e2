//! How a stream ends: whole, cut, broken, or open for too long.

use super::*;

/// Events after which nothing follows.
const ENDS: [(&str, &str); 3] = [
    (RESPONSES, "response.completed"),
    ("/audio/speech", "speech.audio.done"),
    ("/audio/transcriptions", "transcript.text.done"),
];
const RUN_COMPLETED: &str = "event: thread.run.completed\ndata: {}\n\n";

#[tokio::test]
async fn a_missing_done_is_supplied_and_only_there() {
    let got = chat(&[HELLO, STOP].concat()).await;
    assert_eq!(got.text(), [HELLO, STOP, DONE].concat());
    assert!(got.error.is_none());
    let last = STOP.trim_end();
    let got = chat(&[HELLO, last].concat()).await;
    assert_eq!(got.text(), [HELLO, STOP, DONE].concat());
    let got = chat(&[HELLO, STOP, "data: [DONE]\n"].concat()).await;
    assert_eq!(got.text(), [HELLO, STOP, DONE].concat());
    assert!(got.error.is_none());
    let completed = "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n";
    let got = stream(RESPONSES, [data(completed.as_bytes())]).await;
    assert_eq!(got.text(), completed);
    assert!(got.error.is_none());
}

#[tokio::test]
async fn a_cut_stream_is_never_a_success() {
    for (path, cut) in [
        (CHAT, String::new()),
        (CHAT, HELLO.to_owned()),
        (CHAT, [HELLO, &STOP[..40]].concat()),
        (CHAT, [HELLO, DONE].concat()),
        (CHAT, DONE.to_owned()),
        (CHAT, [HELLO, "data: [DONE]"].concat()),
        (CHAT, [HELLO, STOP, &HELLO.replace("\"index\":0", "\"index\":1"), DONE].concat()),
        ("/completions", "data: {\"choices\":[{\"text\":\"a\"}]}\n\n".to_owned()),
        (RESPONSES, "data: {\"type\":\"response.output_text.delta\"}\n\n".to_owned()),
        (RESPONSES, ["data: {\"type\":\"response.output_text.delta\"}\n\n", DONE].concat()),
        ("/images/generations", "data: {\"type\":\"image_generation.partial_image\"}\n\n".to_owned()),
        ("/audio/speech", "data: {\"type\":\"speech.audio.delta\"}\n\n".to_owned()),
        ("/audio/transcriptions", "data: {\"type\":\"transcript.text.delta\"}\n\n".to_owned()),
        ("/threads/t/runs", "event: thread.message.delta\ndata: {}\n\n".to_owned()),
    ] {
        let got = stream(path, [data(cut.as_bytes())]).await;
        assert_eq!(got.kind(), ErrorKind::Truncated, "{path} {cut}");
        let error = got.error.as_ref().unwrap();
        assert_eq!((error.phase(), error.sent(), error.is_signalled()), (Phase::Body, Sent::Unknown, false));
        assert!(!got.text().contains("[DONE]"), "{path} {cut}");
        assert!(got.bytes.is_empty() || got.text().ends_with("\n\n"), "{path} {cut}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_an_error_unless_all_had_come() {
    let got = stream(CHAT, [data(HELLO.as_bytes()), data(b"data: {"), Step::Reset]).await;
    assert_eq!((got.text(), got.kind()), (HELLO, ErrorKind::Connection));
    let got = stream(CHAT, [data([HELLO, STOP].concat().as_bytes()), Step::Reset]).await;
    assert_eq!(got.kind(), ErrorKind::Connection);
    let got = stream(CHAT, [data([HELLO, STOP, DONE].concat().as_bytes()), Step::Reset]).await;
    assert!(got.error.is_none());
    for (path, last) in ENDS {
        let last = format!("data: {{\"type\":\"{last}\"}}\n\n");
        let got = stream(path, [data(last.as_bytes()), Step::Reset]).await;
        assert!(got.error.is_none() && got.text() == last, "{path}: {:?}", got.error);
    }
    // One of several images; and a run whose `done` has not come.
    let completed = b"data: {\"type\":\"image_generation.completed\"}\n\n";
    let got = stream("/images/generations", [data(completed), Step::Reset]).await;
    assert_eq!(got.kind(), ErrorKind::Connection);
    let got = stream("/threads/t/runs", [data(RUN_COMPLETED.as_bytes()), Step::Reset]).await;
    assert_eq!(got.kind(), ErrorKind::Connection);
}

#[tokio::test]
async fn a_run_that_lacks_only_done_is_complete() {
    let got = stream("/threads/t/runs", [data(RUN_COMPLETED.as_bytes())]).await;
    assert!(got.error.is_none() && got.text() == RUN_COMPLETED, "{:?}", got.error);
}

#[tokio::test]
async fn an_error_of_ours_from_below_stays_what_it_is() {
    let inner = Error::timeout(towergate_core::Clock::Idle, Duration::from_secs(1));
    let error = Provider(None).broken(Box::new(std::io::Error::other(inner)));
    assert_eq!(Error::find(&*error).unwrap().kind(), ErrorKind::Timeout(towergate_core::Clock::Idle));
}

#[tokio::test]
async fn a_cut_tail_behind_a_whole_answer_is_left_out() {
    let got = chat(&[HELLO, STOP, &USAGE[..20]].concat()).await;
    assert_eq!(got.text(), [HELLO, STOP, DONE].concat());
    assert!(got.error.is_none());
    // A comment is whole without anything.
    let got = chat(&[HELLO, STOP, DONE, ": bye"].concat()).await;
    assert!(got.text().ends_with(": bye"));
}

#[tokio::test]
async fn an_event_of_ours_is_no_part_of_what_was_cut() {
    for tail in
        [": ping", ": ping\n", "event: response.output_text.delta\n", "id: 1\r\n", "dat", "{\"error\":{}}"]
    {
        // What the client is told follows upon a blank line.
        let got = chat(&[HELLO, tail].concat()).await;
        assert_eq!((got.text(), got.kind()), (HELLO, ErrorKind::Truncated), "{tail:?}");
        let got = stream(CHAT, [data(HELLO.as_bytes()), data(tail.as_bytes())]).await;
        assert_eq!((got.text(), got.kind()), (HELLO, ErrorKind::Truncated), "{tail:?}");
        let got = chat(&[HELLO, STOP, tail].concat()).await;
        assert_eq!(got.text(), [HELLO, STOP, DONE].concat(), "{tail:?}");
        // Where nothing follows, it is no harm.
        for (path, last) in ENDS {
            let whole = format!("data: {{\"type\":\"{last}\"}}\n\n{tail}");
            let got = stream(path, [data(whole.as_bytes())]).await;
            assert_eq!(got.text(), whole, "{path}");
        }
    }
    // The LF of a split CRLF is none of it.
    let whole = [HELLO, STOP].concat().replace('\n', "\r\n");
    let (first, lf) = whole.split_at(whole.len() - 1);
    let got = stream(CHAT, [data(first.as_bytes()), data(lf.as_bytes())]).await;
    assert_eq!(got.text(), [&*whole, DONE].concat());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_stays_open_keeps_no_client_waiting() {
    for (path, text, supplied, patience) in [
        (CHAT, [HELLO, STOP, DONE].concat(), "", AFTER_END),
        (CHAT, [HELLO, STOP].concat(), DONE, AFTER_FINISH),
        ("/threads/t/runs", RUN_COMPLETED.to_owned(), "", AFTER_FINISH),
    ]
    .into_iter()
    .chain(ENDS.map(|(path, last)| (path, format!("data: {{\"type\":\"{last}\"}}\n\n"), "", AFTER_END)))
    {
        let begun = tokio::time::Instant::now();
        let got = stream(path, [data(text.as_bytes()), Step::Silence]).await;
        assert_eq!(got.text(), [&*text, supplied].concat());
        assert!(got.error.is_none());
        let took = begun.elapsed();
        assert!(took >= patience && took < patience + Duration::from_millis(10), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_choice_that_has_not_come_is_waited_for() {
    let run = |steps: Vec<Step>| {
        let facts = Facts { choices: 2, ..facts(CHAT) };
        let (mut parts, ()) =
            Response::builder().header(CONTENT_TYPE, "text/event-stream").body(()).unwrap().into_parts();
        read_answer(Some(&facts), &AnswerSettings::default(), false, &mut parts, script(steps))
    };
    let first = || data([HELLO, STOP].concat().as_bytes());
    let mut silent = run(vec![first(), Step::Silence]);
    silent.frame().await.unwrap().unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), silent.frame()).await.is_err());
    let cut = run(vec![first()]).collect().await.unwrap_err();
    assert_eq!(Error::find(&*cut).unwrap().kind(), ErrorKind::Truncated);
    // Some servers give one choice however many are asked for, and say that this is all.
    run(vec![first(), data(DONE.as_bytes())]).collect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_stream_may_be_silent() {
    let (_, mut body) = wrap(
        CHAT,
        "text/event-stream",
        &AnswerSettings::default(),
        script([data(HELLO.as_bytes()), Step::Silence]),
    );
    body.frame().await.unwrap().unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(600), body.frame()).await.is_err());
}
