//! [`Authority`]: certificates for a test, in files of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// An authority, and a folder with a certificate `tls.crt`, its key `tls.key`, and its own certificate `ca.crt`.
/// Dropping it removes the folder.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = std::env::temp_dir().join(format!("towergate-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let authority = Self { issuer, folder };
        authority.write("ca.crt", &authority.issuer.pem());
        authority.renew();
        authority
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let (path, next) = (self.path(file), self.path("next"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &path).unwrap();
    }

    /// A new certificate and its key, in PEM.
    pub(crate) fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Puts a new pair in place; gives back the certificate.
    pub(crate) fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.issue();
        self.write("tls.crt", &certificate);
        self.write("tls.key", &key);
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    /// A client that trusts this authority, offers these protocols, and may show a certificate of it.
    pub(crate) fn connector(&self, protocols: &[&str], certificate: bool) -> TlsConnector {
        self.client(protocols, certificate.then_some(self))
    }

    /// The same, with a certificate of another authority.
    pub(crate) fn connector_with(&self, protocols: &[&str], other: &Self) -> TlsConnector {
        self.client(protocols, Some(other))
    }

    fn client(&self, protocols: &[&str], certificate: Option<&Self>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots);
        let mut config = if let Some(issuer) = certificate {
            let (certificate, key) = issuer.issue();
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        } else {
            config.with_no_client_auth()
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A connection to a server that calls itself localhost.
pub(crate) async fn connect(
    connector: &TlsConnector,
    address: std::net::SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
}
