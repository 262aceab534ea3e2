//! TLS: whom we trust, who we are, and the connect clock.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use towergate_core::{Clock, ErrorKind, Phase, Sent};

use super::*;

/// An authority, and the certificates it gave.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a name: in PEM, the chain and the key.
    pub(super) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A server for a name. With `clients`, only who has a certificate of ours comes in.
    pub(super) fn acceptor(&self, name: &str, protocols: &[&[u8]], clients: bool) -> TlsAcceptor {
        use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let (chain, key) = self.issue(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            config.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = config.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Takes TLS connections and runs the script on each; a failed handshake ends the connection.
pub(super) async fn upstream<F, Fut>(acceptor: TlsAcceptor, script: F) -> Upstream
where
    F: Fn(TlsStream<TcpStream>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    Upstream::start(move |stream, _| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                script(stream).await;
            }
        }
    })
    .await
}

pub(super) async fn answer_ok(mut stream: impl Io) {
    read_request(&mut stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    closed(&mut stream).await;
}

pub(super) fn url(upstream: &Upstream, host: &str) -> String {
    format!("https://{host}:{}/v1", upstream.address.port())
}

#[tokio::test]
async fn an_added_root_is_trusted_and_no_other() {
    let authority = Authority::new();
    let upstream = upstream(authority.acceptor("localhost", &[], false), answer_ok).await;

    let leaf = builder(url(&upstream, "localhost")).add_root_certificates(authority.pem()).build().unwrap();
    assert_eq!(text(send(&leaf, post("{}")).await.unwrap()).await, "ok");

    let stranger = builder(url(&upstream, "localhost")).build().unwrap();
    let error = send(&stranger, post("{}")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.phase(), error.sent()),
        (ErrorKind::Connect, Phase::Connect, Sent::Nothing)
    );
    assert!(error.to_string().contains("issuer that is not trusted"), "{error}");
    assert_eq!(error.proxy_status(), "tls_certificate_error");

    let misnamed =
        builder(url(&upstream, "127.0.0.1")).add_root_certificates(authority.pem()).build().unwrap();
    let error = send(&misnamed, post("{}")).await.unwrap_err();
    assert!(error.to_string().contains("certificate is for another name"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_lets_us_in() {
    let authority = Authority::new();
    let upstream = upstream(authority.acceptor("localhost", &[], true), answer_ok).await;
    let builder = builder(url(&upstream, "localhost")).add_root_certificates(authority.pem());

    let (chain, key) = authority.issue("client");
    let known = builder.clone().client_identity(chain, key).build().unwrap();
    assert_eq!(text(send(&known, post("{}")).await.unwrap()).await, "ok");

    let unknown = builder.build().unwrap();
    assert!(send(&unknown, post("{}")).await.is_err());
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls() {
    let upstream = Upstream::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        closed(&mut stream).await;
    })
    .await;
    let leaf = builder(url(&upstream, "localhost")).build().unwrap();
    let error = send(&leaf, post("{}")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::Nothing));
    assert!(error.to_string().contains("the TLS handshake failed"), "{error}");
    assert_eq!(error.proxy_status(), "tls_protocol_error");
}

#[tokio::test]
async fn the_connect_clock_covers_the_handshake() {
    let upstream = Upstream::start(|mut stream, _| async move { closed(&mut stream).await }).await;
    let limit = Duration::from_millis(80);
    let leaf = builder(url(&upstream, "localhost")).connect_timeout(limit).build().unwrap();
    let error = send(&leaf, post("{}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout(Clock::Connect));
    assert_eq!((error.phase(), error.sent()), (Phase::Connect, Sent::Nothing));
    assert_eq!(error.setting(), Some("timeouts.connect"));
    assert_eq!(error.provider().map(Label::as_str), Some("test"));
}
