//! What clients send.

use super::*;

#[tokio::test]
async fn multipart_arrives_as_it_was_sent() {
    let world = World::start().await;
    let mut form = b"--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"\xc3\xbc.bin\"\r\n\r\n"
        .to_vec();
    form.extend((0..=255).cycle().take(3 << 20));
    form.extend(b"\r\n--x--\r\n");
    let form = Bytes::from(form);
    for http2 in [false, true] {
        for known_length in [true, false] {
            for path in ["/v1/audio/transcriptions", "/v1/files", "/v1/echo/new"] {
                let body = if known_length {
                    Body::from(form.clone())
                } else {
                    let frames: Vec<_> = form.chunks(7000).map(Bytes::copy_from_slice).collect();
                    let frames = frames.into_iter().map(|data| Ok::<_, Infallible>(Frame::data(data)));
                    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
                };
                let request = Request::post(format!("{}{path}", world.url()))
                    .header("content-type", "multipart/form-data; boundary=x")
                    .body(body)
                    .unwrap();
                let answer = client(http2).request(request).await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                let seen = world.sim.requests().pop().unwrap();
                assert!(seen.body == form, "{path}: not byte for byte");
                assert_eq!(seen.headers["content-type"], "multipart/form-data; boundary=x");
                let length = seen.headers.get("content-length").map(|length| length.to_str().unwrap());
                assert_eq!(length, known_length.then_some(form.len().to_string().as_str()), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn json_in_pieces_arrives_whole() {
    let world = World::start().await;
    let text = format!("{}  \n", chat("gpt-4o"));
    for http2 in [false, true] {
        let frames: Vec<_> =
            text.bytes().map(|byte| Ok::<_, Infallible>(Frame::data(vec![byte].into()))).collect();
        let request = Request::post(format!("{}/v1/chat/completions", world.url()))
            .header("content-type", "application/json")
            .body(Body::new(StreamBody::new(futures_util::stream::iter(frames))))
            .unwrap();
        assert_eq!(client(http2).request(request).await.unwrap().status(), 200);
        let seen = world.sim.requests().pop().unwrap();
        assert_eq!(seen.body, text.as_bytes());
        assert_eq!(seen.headers["content-length"], text.len().to_string().as_str());
    }
}

#[tokio::test]
async fn an_answer_need_not_wait_for_the_upload() {
    let early =
        "HTTP/1.1 413 Payload Too Large\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let script = towergate_sim::RawScript::new().read_head().write(early).wait_for_close();
    let upstream = towergate_sim::RawUpstream::start([script]).await.unwrap();
    let world = World::builder().base_url(upstream.base_url()).start().await;

    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n\
        content-length: 50000000\r\n\r\n--x\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");

    let (frames, body) = tokio::sync::mpsc::unbounded_channel::<Result<Frame<Bytes>, Infallible>>();
    frames.send(Ok(Frame::data("--x\r\n".into()))).unwrap();
    let body = futures_util::stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    let request = Request::post(format!("{}/v1/files", world.url()))
        .header("content-type", "multipart/form-data; boundary=x")
        .body(Body::new(StreamBody::new(Box::pin(body))))
        .unwrap();
    let answer = Answer::read(client(true).request(request).await.unwrap()).await;
    assert!(answer.whole && answer.status == 413);
    drop(frames);
}

#[tokio::test]
async fn a_client_that_goes_away_in_its_upload_ends_it_upstream() {
    let world = World::start().await;
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let head = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n\
        content-length: 50000000\r\n\r\n--x\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    world.sim.wait_until(|log| log.counts().arrived == 1).await;
    drop(socket);
    world.sim.wait_until(|log| log.counts().in_flight() == 0).await;
    assert_eq!(world.sim.counts().received, 0, "half an upload is not a whole one");
}

#[tokio::test]
async fn a_long_upload_is_not_tried_again_and_a_short_one_is() {
    let world = World::builder().quick_retries(2).start().await;
    for (size, attempts) in [(1000, 2), (3 << 20, 1)] {
        world.sim.script(["status=503"]).unwrap();
        let http = world.http1();
        let request =
            http.request(Method::POST, "/v1/echo").header("content-type", "application/octet-stream");
        let answer = http.read(request.body(vec![7; size].into()).unwrap()).await;
        assert_eq!(answer.header("x-towergate-attempts"), Some(attempts.to_string().as_str()));
        assert_eq!(answer.status == 200, attempts == 2);
        assert_eq!(answer.header("x-should-retry"), (attempts == 1).then_some("false"));
        assert_eq!(answer.text().contains("not tried again, since the upload was too large"), attempts == 1);
        assert!(world.sim.requests().iter().all(|seen| seen.body_len as usize >= size.min(1000)));
        world.sim.clear_script();
    }
}
