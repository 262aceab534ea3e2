//! A body flows no faster than it is read, in both directions.

use super::*;

const FRAME: usize = 64 << 10;
const FRAMES: u64 = 1600;
/// What all sockets and windows on the way may hold.
const ON_THE_WAY: u64 = (32 << 20) / FRAME as u64;

/// 100 MiB in frames that tell their number, counted as they are taken.
struct Pattern {
    taken: Arc<AtomicU64>,
    known_length: bool,
}

impl Pattern {
    fn new(known_length: bool) -> (Self, Arc<AtomicU64>) {
        let taken = Arc::new(AtomicU64::new(0));
        (Self { taken: Arc::clone(&taken), known_length }, taken)
    }
}

impl http_body::Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let number = self.taken.fetch_add(1, SeqCst);
        Poll::Ready(Some(Ok(Frame::data(vec![number as u8; FRAME].into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.taken.load(SeqCst) == FRAMES
    }

    fn size_hint(&self) -> SizeHint {
        let left = (FRAMES - self.taken.load(SeqCst)) * FRAME as u64;
        if self.known_length { SizeHint::with_exact(left) } else { SizeHint::default() }
    }
}

/// Reads to the end; how many bytes of the pattern came.
async fn read_pattern<B>(mut body: B) -> u64
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let mut data = frame.unwrap().into_data().unwrap();
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(FRAME - read % FRAME));
            assert!(piece == vec![(read / FRAME) as u8; piece.len()], "wrong bytes from {read} on");
            read += piece.len();
        }
    }
    read as u64
}

/// It must not get to its end while nobody reads: the time is only how long it may try.
async fn stalls(taken: &AtomicU64) {
    let ends = async {
        while taken.load(SeqCst) < FRAMES {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(300), ends).await.is_err(), "all of it was taken");
    let taken = taken.load(SeqCst);
    assert!(taken < ON_THE_WAY, "{taken} frames were taken for a peer that reads none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_waits_for_an_upstream_that_does_not_read() {
    for (known_length, http2) in [(true, false), (false, false), (true, true)] {
        let gate = Gate::new();
        let reads = gate.clone();
        let upstream = Upstream::start(move |request: Request<Incoming>| {
            let gate = reads.clone();
            async move {
                let length = request.headers().get("content-length").cloned();
                gate.wait().await;
                let read = read_pattern(request.into_body()).await;
                Response::new(json!({"read": read, "declared": length.map(|length| length.to_str().unwrap().to_owned())}).to_string().into())
            }
        })
        .await;
        let world = World::builder()
            .base_url(upstream.base_url())
            .provider(move |provider| provider.leaf(|leaf| leaf.http2(http2.then(Http2::default))))
            .start()
            .await;
        let (body, taken) = Pattern::new(known_length);
        let request = Request::post("/v1/files").header("content-type", "multipart/form-data; boundary=x");
        let sending = tokio::spawn(world.gateway.clone().oneshot(request.body(body).unwrap()));
        gate.reached().await;
        stalls(&taken).await;
        gate.open();
        let answer = sending.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let answer: serde_json::Value =
            serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        let whole = FRAMES * FRAME as u64;
        assert_eq!(answer["read"], whole);
        let declared = known_length.then(|| whole.to_string());
        assert_eq!(answer["declared"].as_str(), declared.as_deref(), "http2: {http2}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_waits_for_a_client_that_does_not_read() {
    for (known_length, http2) in [(true, false), (false, false), (false, true)] {
        let (body, taken) = Pattern::new(known_length);
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        let upstream = Upstream::start(move |_| {
            let body = body.lock().unwrap().take().unwrap();
            let response = Response::builder().header("content-type", "application/octet-stream");
            std::future::ready(response.body(Body::new(body)).unwrap())
        })
        .await;
        let world = World::builder().base_url(upstream.base_url()).start().await;
        let request = Request::get(format!("{}/v1/files/file-1/content", world.url()));
        let answer = client(http2).request(request.body(Body::empty()).unwrap()).await.unwrap();
        let length = answer.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
        assert_eq!(length, known_length.then(|| (FRAMES * FRAME as u64).to_string()));
        stalls(&taken).await;
        assert_eq!(read_pattern(answer.into_body()).await, FRAMES * FRAME as u64);
    }
}
