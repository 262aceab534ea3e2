//! Through a proxy: tunnels and absolute form.

use std::sync::Mutex;

use towergate_core::{ErrorKind, Phase, Sent};

use super::{
    tls_edge::{Authority, answer_ok, url},
    *,
};

const AUTH: &str = "Basic dXNlcjpjYW5hcnk=";

/// Opens tunnels to wherever it is asked, for who knows the password. Tells the request heads.
async fn tunnel(mut client: impl Io, heads: Arc<Mutex<Vec<String>>>) {
    let head = read_head(&mut client).await;
    heads.lock().unwrap().push(head.clone());
    if !head.contains(AUTH) {
        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        return;
    }
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let mut server = TcpStream::connect(target).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

pub(super) async fn proxy() -> (Upstream, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heads);
    (Upstream::start(move |stream, _| tunnel(stream, Arc::clone(&told))).await, heads)
}

#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let authority = Authority::new();
    let upstream = tls_edge::upstream(authority.acceptor("localhost", &[], false), answer_ok).await;
    let (proxy, heads) = proxy().await;
    let leaf = builder(url(&upstream, "localhost"))
        .add_root_certificates(authority.pem())
        .proxy(format!("http://user:canary@{}", proxy.address))
        .build()
        .unwrap();
    let mut request = post("{}");
    request.headers_mut().insert("authorization", "Bearer sk-key".parse().unwrap());
    assert_eq!(text(send(&leaf, request).await.unwrap()).await, "ok");
    let heads = heads.lock().unwrap();
    assert!(heads[0].starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", upstream.address.port())));
    assert!(!heads[0].contains("sk-key"), "the proxy sees no key");
}

#[tokio::test]
async fn a_proxy_that_speaks_tls_itself() {
    let authority = Authority::new();
    let upstream = tls_edge::upstream(authority.acceptor("localhost", &[], false), answer_ok).await;
    let heads = Arc::new(Mutex::new(Vec::new()));
    let acceptor = authority.acceptor("localhost", &[], false);
    let proxy = tls_edge::upstream(acceptor, move |stream| tunnel(stream, Arc::clone(&heads))).await;
    let leaf = builder(url(&upstream, "localhost"))
        .add_root_certificates(authority.pem())
        .proxy(format!("https://user:canary@localhost:{}", proxy.address.port()))
        .build()
        .unwrap();
    assert_eq!(text(send(&leaf, post("{}")).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn plain_http_goes_in_absolute_form() {
    let (tell, mut told) = mpsc::channel(1);
    let proxy = Upstream::start(move |mut stream, _| {
        let tell = tell.clone();
        async move {
            tell.send(read_request(&mut stream).await.0).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            closed(&mut stream).await;
        }
    })
    .await;
    let leaf = builder("http://upstream.invalid:81/v1")
        .proxy(format!("http://user:canary@{}", proxy.address))
        .build()
        .unwrap();
    assert_eq!(text(send(&leaf, post("{}")).await.unwrap()).await, "ok");
    let head = told.recv().await.unwrap();
    assert!(head.starts_with("POST http://upstream.invalid:81/v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: upstream.invalid:81\r\n"), "{head}");
    assert!(head.contains(&format!("proxy-authorization: {AUTH}\r\n")), "{head}");
}

#[tokio::test]
async fn plain_http2_goes_through_a_tunnel_too() {
    let upstream = Upstream::start(|stream, _| http2::serve(stream, http2::answer_ok)).await;
    let (proxy, heads) = proxy().await;
    let leaf = builder(upstream.base_url())
        .http2(Http2::default())
        .proxy(format!("http://user:canary@{}", proxy.address))
        .build()
        .unwrap();
    assert_eq!(text(send(&leaf, post("{}")).await.unwrap()).await, "ok");
    assert!(heads.lock().unwrap()[0].starts_with(&format!("CONNECT {} HTTP/1.1\r\n", upstream.address)));
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there() {
    let (proxy, _) = proxy().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (at, reason) in
        [(proxy.address, "the proxy did not open a tunnel"), (free, "the connection was refused")]
    {
        let leaf = builder("https://upstream.invalid/v1")
            .proxy(format!("http://user:wrong-canary@{at}"))
            .build()
            .unwrap();
        let error = send(&leaf, post("{}")).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.phase(), error.sent()),
            (ErrorKind::Connect, Phase::Connect, Sent::Nothing)
        );
        let text = error.to_string();
        assert!(text.ends_with(&format!("no connection through the proxy: {reason}")), "{text}");
        let place = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(place, format!("upstream.invalid:443 through the proxy {at}"));
        assert!(!format!("{text} {error:?}").contains("canary"), "{error:?}");
    }
}
