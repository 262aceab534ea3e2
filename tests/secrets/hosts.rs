//! Where a provider is, is the operator's business: the log names hosts and ports, and clients are told the provider.

use towergate::{Gateway, OpenAiProvider, OpenAiProviderBuilder, layers::timeout::Timeouts, server::Server};
use towergate_sim::{RawScript, RawUpstream};

use super::{
    observed,
    support::{Http, Upstream, chat, chat_stream},
};

/// Every way in which a connection is not made, or is lost: the provider, what it is told as, and whether a stream
/// had begun. With them, what they talk to.
async fn providers() -> (Vec<(OpenAiProviderBuilder, &'static str)>, impl Sized) {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = RawScript::new().write("HTTP/1.1 400 Bad Request\r\n\r\n").wait_for_close();
    let plain = RawUpstream::start([plain]).await.unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    let no_answer = Upstream::raw("").await;
    let cut =
        Upstream::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{")
            .await;
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 999\r\n\r\n\
                  data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
    let cut_stream = Upstream::raw(stream).await;
    let refused = Upstream::raw("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let at = |url: String| {
        OpenAiProvider::builder().max_retries(0).base_url(&url).api_key("sk-canary-key").unwrap()
    };
    let of = |upstream: &RawUpstream| at(upstream.base_url());
    let through = |proxy: std::net::SocketAddr| {
        let proxy = format!("http://user:canary-password@{proxy}");
        at("https://inside.invalid/v1".into()).leaf(|leaf| leaf.proxy(proxy))
    };
    let soon = std::time::Duration::from_millis(100);
    let all = vec![
        (at(format!("http://{closed}/v1")), "the connection was refused"),
        (at("http://inside.invalid/v1".into()), "the name does not resolve"),
        (at(format!("https://{}/v1", plain.addr())), "the TLS handshake failed"),
        (of(&no_answer), "closed the connection without an answer"),
        (of(&cut), "closed the connection before its answer was complete"),
        (of(&cut_stream), "closed the connection before its answer was complete"),
        (
            at(format!("https://{silent_address}/v1")).leaf(move |leaf| leaf.connect_timeout(soon)),
            "timeouts.connect",
        ),
        (at(format!("http://{silent_address}/v1")).timeouts(Timeouts::uniform(soon)), "timeouts.head"),
        (through(closed), "no connection through the proxy: the connection was refused"),
        (through(refused.addr()), "the proxy did not open a tunnel"),
    ];
    (all, (plain, silent, no_answer, cut, cut_stream, refused))
}

#[test]
fn a_client_is_told_the_provider_and_the_log_where_it_is() {
    let mut count = 0;
    let beside = observed(async {
        let (providers, _upstreams) = providers().await;
        for (number, (provider, reason)) in providers.into_iter().enumerate() {
            let provider = provider.name(&format!("p{number}")).build().unwrap();
            let gateway = Gateway::builder().provider(provider).build().unwrap();
            let server = Server::builder().listen(([127, 0, 0, 1], 0).into());
            let server = server.health(gateway.clone()).bind(gateway.clone()).await.unwrap();
            let http = Http::new(format!("http://{}", server.local_addr()), false);
            let serving = tokio::spawn(server.serve(std::future::pending()));
            let mut told = String::new();
            let mut reasons = 0;
            for body in [chat("gpt-4o"), chat_stream("gpt-4o")] {
                let answer = http.chat(&body).await;
                told.push_str(&format!("{:?}\n{}\n", answer.headers, String::from_utf8_lossy(&answer.body)));
                reasons += usize::from(answer.text().contains(reason));
            }
            told.push_str(http.get("/health").await.text());
            assert!(reasons > 0 && told.contains(&format!("p{number}")), "{reason}: {told}");
            for inside in ["127.0.0.1", "inside.invalid", "os error", "canary"] {
                assert!(!told.contains(inside), "{reason}: {inside} in {told}");
            }
            serving.abort();
            count += 1;
        }
    });
    let told = |text: &str| beside.iter().filter(|line| line.contains(text)).count();
    assert!(told("127.0.0.1:") >= count - 3 && told("inside.invalid:443 through the proxy 127.0.0.1:") >= 2);
    assert!(told("inside.invalid:80") > 0 && told("os error") > 0, "{beside:#?}");
    assert_eq!(told("canary"), 0);
}
