//! What a request costs in processor time: the gateway beside a bare hyper reverse proxy, in one run.
//!
//! `cargo bench -p towergate --bench cpu`. Three processes of this program take a role each (an
//! upstream that answers at once, the bare proxy, the gateway), and this one sends them requests:
//! first the one proxy, then the other, in turns. The figure is the processor time that the proxy's
//! process used, from `/proc`, over the requests it served. It prints and judges nothing.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::{TcpListener, TcpStream};
use towergate::{Gateway, OpenAiProvider, server::Server};

const ROLE: &str = "TOWERGATE_BENCH_ROLE";
const UPSTREAM: &str = "TOWERGATE_BENCH_UPSTREAM";
const CONNECTIONS: usize = 16;
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 5;
const QUESTION: &str = r#"{"model":"gpt-4o","messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"What is the capital of France?"}],"temperature":0.7}"#;
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"The capital of France is Paris.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":24,"completion_tokens":8,"total_tokens":32},"system_fingerprint":"fp_1"}"#;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match std::env::var(ROLE).as_deref() {
            Ok("upstream") => upstream().await,
            Ok("bare") => bare(std::env::var(UPSTREAM)?.parse()?).await,
            Ok("gateway") => gateway(&std::env::var(UPSTREAM)?).await,
            _ => compare().await,
        }
    })
}

async fn listener() -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

/// Answers every request at once with the same completion.
async fn upstream() -> Result<(), Failure> {
    let listener = listener().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| async move {
                request.into_body().collect().await?;
                let mut answer = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
                answer.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
                Ok::<_, hyper::Error>(answer)
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// What hyper's own example of a reverse proxy does, with a pool: nothing but the URI is changed.
async fn bare(upstream: SocketAddr) -> Result<(), Failure> {
    let listener = listener().await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                if let Ok(uri) = format!("http://{upstream}{path}").parse::<Uri>() {
                    *request.uri_mut() = uri;
                }
                client.request(request)
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The whole gateway, as the proxy serves it: metrics on, log lines off.
async fn gateway(upstream: &str) -> Result<(), Failure> {
    let metrics = towergate::server::telemetry::install_metrics()?;
    let provider =
        OpenAiProvider::builder().base_url(&format!("http://{upstream}/v1")).api_key("sk-bench")?.build()?;
    let gateway = Gateway::builder().provider(provider).build()?;
    let server = Server::builder().listen("127.0.0.1:0".parse()?).metrics(metrics).bind(gateway).await?;
    println!("{}", server.local_addr());
    server.serve(std::future::pending()).await;
    Ok(())
}

async fn compare() -> Result<(), Failure> {
    let (_upstream, upstream) = start("upstream", None)?;
    let (bare_process, bare) = start("bare", Some(upstream))?;
    let (gateway_process, gateway) = start("gateway", Some(upstream))?;
    // Warm both up: pools, caches, lazily made metrics.
    load(bare, REQUESTS / 4).await?;
    load(gateway, REQUESTS / 4).await?;
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let bare = cost(&bare_process, bare).await?;
        let gateway = cost(&gateway_process, gateway).await?;
        ratios.push(gateway / bare);
        println!("round {round}: bare hyper proxy {bare:.1} us, towergate {gateway:.1} us a request");
    }
    ratios.sort_by(f64::total_cmp);
    let [least, .., most] = ratios[..] else { return Ok(()) };
    println!(
        "processor time, towergate / bare: median {:.2} (from {least:.2} to {most:.2})",
        ratios[ROUNDS / 2]
    );
    Ok(())
}

struct Role(Child);

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(role: &str, upstream: Option<SocketAddr>) -> Result<(Role, SocketAddr), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, role).stdout(Stdio::piped());
    if let Some(upstream) = upstream {
        command.env(UPSTREAM, upstream.to_string());
    }
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok((Role(child), line.trim().parse()?))
}

/// Microseconds of processor time that a process used for one request.
async fn cost(role: &Role, address: SocketAddr) -> Result<f64, Failure> {
    let before = processor_time(role)?;
    load(address, REQUESTS).await?;
    Ok((processor_time(role)? - before) * 1e6 / REQUESTS as f64)
}

/// User and system time, in seconds. Fields 14 and 15 of `stat`, counted in hundredths on Linux.
fn processor_time(role: &Role) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", role.0.id()))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("stat has no name")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

async fn load(address: SocketAddr, requests: usize) -> Result<(), Failure> {
    let each = Arc::new(requests / CONNECTIONS);
    let mut tasks = tokio::task::JoinSet::<Result<(), Failure>>::new();
    for _ in 0..CONNECTIONS {
        let each = Arc::clone(&each);
        tasks.spawn(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            for _ in 0..*each {
                let request = Request::post("/v1/chat/completions")
                    .header("host", "towergate")
                    .header("content-type", "application/json")
                    .header("authorization", "Bearer client")
                    .header("user-agent", "OpenAI/Python 3.54.0")
                    .body(Full::new(Bytes::from_static(QUESTION.as_bytes())))?;
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                if response.status() != 200 {
                    return Err(format!("answered {}", response.status()).into());
                }
                response.into_body().collect().await?;
            }
            driver.abort();
            Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}
