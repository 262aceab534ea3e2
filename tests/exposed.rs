//! A listener that strangers can reach, and a gateway that lets them in: the log says so.
//!
//! A binary of its own: tracing remembers for the whole process whether anybody wants a line, and
//! tests beside this one do not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
};

use tower::{ServiceBuilder, service_fn};
use towergate::{
    Body, ClientAuthMode, Gateway, GatewayBuilder, ServiceProvider,
    core::BoxError,
    server::{Server, TlsFiles},
};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The listeners of which it was warned since it was last asked.
    fn warned_of(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let warnings = text.lines().filter(|line| line.contains("can spend the providers' keys"));
        warnings
            .map(|line| {
                assert!(line.contains("WARN") && line.contains("TOWERGATE_CLIENT_KEYS"), "{line}");
                line.split("listen=").nth(1).unwrap().trim().to_owned()
            })
            .collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn capture() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

fn open() -> GatewayBuilder {
    let nobody = service_fn(async |_| Err::<http::Response<Body>, BoxError>("nobody".into()));
    Gateway::builder().provider(ServiceProvider::new("test", nobody))
}

fn guarded() -> GatewayBuilder {
    open().client_keys(towergate::parse_client_keys("right").unwrap())
}

/// The address of a network that this machine is in, where there is one.
fn of_a_network() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test]
async fn a_listener_that_strangers_reach_is_warned_of() {
    let (log, _guard) = capture();
    let mut reached = vec![IpAddr::from([0, 0, 0, 0])];
    // A machine may have no IPv6, and no network.
    reached.extend(UdpSocket::bind("[::]:0").is_ok().then(|| IpAddr::from([0_u16; 8])));
    reached.extend(of_a_network());
    for address in reached {
        let address = SocketAddr::from((address, 0));
        let server = Server::builder().listen(address).bind(open().build().unwrap()).await.unwrap();
        assert_eq!(log.warned_of(), [server.local_addr().to_string()]);
        Server::builder().listen(address).bind(guarded().build().unwrap()).await.unwrap();
        assert!(log.warned_of().is_empty(), "{address}");
    }
    for address in ["127.0.0.1:0", "127.1.2.3:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let server = Server::builder().listen(address.parse().unwrap()).bind(open().build().unwrap()).await;
        let Ok(_bound) = server else { continue };
        assert!(log.warned_of().is_empty(), "{address}");
    }
}

#[tokio::test]
async fn every_replacement_that_leaves_it_open_warns() {
    let (log, _guard) = capture();
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let gateway = guarded().build().unwrap();
    let server = Server::builder().listen(any).bind(gateway.clone()).await.unwrap();
    let local = Server::builder().listen(([127, 0, 0, 1], 0).into()).bind(gateway.clone()).await.unwrap();
    gateway.replace(open()).unwrap_err();
    gateway.replace(guarded()).unwrap();
    assert!(log.warned_of().is_empty());
    gateway.replace(open().client_auth(ClientAuthMode::Disabled)).unwrap();
    assert_eq!(log.warned_of(), [server.local_addr().to_string()]);
    gateway.replace(open()).unwrap();
    assert_eq!(log.warned_of(), [server.local_addr().to_string()]);
    drop(server);
    gateway.replace(open()).unwrap();
    assert!(log.warned_of().is_empty(), "nobody listens there any more");
    drop(local);
}

#[tokio::test]
async fn who_lets_clients_in_by_other_means_is_not_warned() {
    let (log, _guard) = capture();
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    // Whatever stands before the gateway is its owner's affair.
    let wrapped = ServiceBuilder::new().map_request(|request: http::Request<Body>| request);
    let wrapped = wrapped.service(open().build().unwrap());
    Server::builder().listen(any).bind(wrapped).await.unwrap();
    // Only clients with a certificate.
    let folder = std::env::temp_dir().join(format!("towergate-exposed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    for (authorities, warnings) in [(Some(&certificate), 0), (None, 1)] {
        let mut files = TlsFiles::new(&certificate, &key);
        if let Some(path) = authorities {
            files = files.client_ca(path);
        }
        let tls = files.open().await.unwrap();
        Server::builder().listen(any).tls(tls).bind(open().build().unwrap()).await.unwrap();
        assert_eq!(log.warned_of().len(), warnings);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn settings_that_contradict_themselves_are_not_built() {
    let required = open().client_auth(ClientAuthMode::Required);
    let error = required.clone().build().unwrap_err().to_string();
    assert!(error.contains("there is no client key"), "{error}");
    let disabled = guarded().client_auth(ClientAuthMode::Disabled);
    assert!(disabled.build().unwrap_err().to_string().contains("server.client_auth"));
    let gateway = guarded().build().unwrap();
    let mounted = gateway.clone();
    gateway.replace(open()).unwrap_err();
    gateway.replace(required).unwrap_err();
    assert!(gateway.asks_for_keys() && mounted.asks_for_keys());
}
