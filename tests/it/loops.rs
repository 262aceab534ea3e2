//! A base URL that leads back to the gateway.

use tokio::{net::TcpListener, sync::oneshot};
use towergate::{Gateway, OpenAiProvider, server::Server};

use crate::support::{Http, chat, chat_stream};

/// A port that nobody else gets.
async fn free_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A gateway at `listen` whose upstream is at `upstream`.
async fn serve(listen: std::net::SocketAddr, upstream: std::net::SocketAddr) -> oneshot::Sender<()> {
    let provider = OpenAiProvider::builder().base_url(&format!("http://{upstream}/v1")).build().unwrap();
    let gateway = Gateway::builder().provider(provider).build().unwrap();
    let server = Server::builder().listen(listen).bind(gateway).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    stop
}

async fn is_told(at: std::net::SocketAddr) {
    let http = Http::new(format!("http://{at}"), false);
    for body in [chat("gpt-4o"), chat_stream("gpt-4o")] {
        let began = tokio::time::Instant::now();
        let answer = http.chat(&body).await;
        assert_eq!(answer.status, 508, "{answer:?}");
        let error = answer.error();
        assert_eq!(
            (&error["code"], &error["type"]),
            (&"loop_detected".into(), &"gateway_error".into()),
            "{error}"
        );
        assert!(error["message"].as_str().unwrap().contains("base_url"), "{error}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert!(began.elapsed().as_secs() < 1, "it is not tried again");
    }
}

#[tokio::test]
async fn a_gateway_in_front_of_itself_says_so() {
    let address = free_port().await;
    let _stop = serve(address, address).await;
    is_told(address).await;
}

#[tokio::test]
async fn a_ring_of_gateways_is_seen() {
    let (one, two) = (free_port().await, free_port().await);
    let (_stop, _stop_other) = (serve(one, two).await, serve(two, one).await);
    is_told(one).await;
}
