//! From PEM files to what rustls serves with. The crypto provider is named here: the process default belongs to
//! the program that embeds us.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use tokio::{io::AsyncReadExt as _, time::timeout};

use towergate_openai::{
    file_watch::{FileWatch, StillChanging},
    secret::warn_if_readable_by_others,
};

use super::Tls;

/// No certificate or key is larger.
const MAX_LEN: u64 = 1 << 20;
/// How long a file may take to be read: it may lie on a network.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Where a listener's certificate and key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct TlsFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
}

/// Why files are no identity for a listener. Names the file, and shows nothing of what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct TlsError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Io(io::Error),
    #[error("is not a regular file")]
    NotAFile,
    #[error("is larger than 1 MiB")]
    TooLarge,
    #[error("could not be read within 10 s")]
    Slow,
    #[error("or a file that belongs to it kept changing for 10 s: it is still being written")]
    StillChanging,
    #[error("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    #[error("holds no private key in PEM (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    #[error("holds a key with a passphrase; write one without: openssl pkey -in FILE -out FILE")]
    EncryptedKey,
    #[error("holds a certificate that the key in {} does not belong to", .0.display())]
    OtherKey(PathBuf),
    #[error("cannot be used: {0}")]
    Refused(String),
}

// === impl TlsFiles ===

impl TlsFiles {
    /// A certificate chain, the server's own first, and its key (PKCS#8, PKCS#1 or SEC1).
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_ca: None }
    }

    /// Lets in only clients with a certificate of one of these authorities. Default: clients need none.
    pub fn client_ca(mut self, authorities: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(authorities.into());
        self
    }

    /// Reads them. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Files that cannot be read, or do not fit.
    pub async fn open(self) -> Result<Tls, TlsError> {
        warn_if_readable_by_others("server.tls.key_file", &self.key).await;
        let mut watch = FileWatch::new([&self.certificate, &self.key].into_iter().chain(&self.client_ca));
        watch.mark_read().await;
        let config = self.read().await?;
        Ok(Tls::new(self, config, watch))
    }

    /// Reads them once nothing moves any more: certificate and key may be written one after the other.
    pub(super) async fn read_settled(&self, watch: &mut FileWatch) -> Result<ServerConfig, TlsError> {
        let read = watch.read(|| self.read()).await;
        read.unwrap_or_else(|StillChanging| Err(at(&self.certificate)(Problem::StillChanging)))
    }

    async fn read(&self) -> Result<ServerConfig, TlsError> {
        let chain = read(&self.certificate).await.and_then(|pem| certificates(&pem));
        let chain = chain.map_err(at(&self.certificate))?;
        let key = read(&self.key).await.and_then(|pem| private_key(&pem)).map_err(at(&self.key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Problem::Refused(error.to_string()))
            .map_err(at(&self.certificate))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = read(path).await.and_then(|pem| roots(&pem)).map_err(at(path))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| Problem::Refused(error.to_string())).map_err(at(path))?,
                )
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => at(&self.certificate)(Problem::OtherKey(self.key.clone())),
            rustls::Error::General(why) => at(&self.key)(Problem::Refused(why)),
            other => at(&self.certificate)(Problem::Refused(other.to_string())),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn at(path: &Path) -> impl FnOnce(Problem) -> TlsError {
    move |problem| TlsError { path: path.to_owned(), problem }
}

async fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let reading = async {
        // A FIFO or a device would be read once, or for ever.
        if !tokio::fs::metadata(path).await.map_err(Problem::Io)?.is_file() {
            return Err(Problem::NotAFile);
        }
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(path).await.map_err(Problem::Io)?;
        file.take(MAX_LEN + 1).read_to_end(&mut bytes).await.map_err(Problem::Io)?;
        if bytes.len() as u64 > MAX_LEN { Err(Problem::TooLarge) } else { Ok(bytes) }
    };
    timeout(TIME_LIMIT, reading).await.unwrap_or(Err(Problem::Slow))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|all| !all.is_empty()).ok_or(Problem::NoCertificate)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    if ENCRYPTED.iter().any(|mark| pem.windows(mark.len()).any(|bytes| bytes == *mark)) {
        return Err(Problem::EncryptedKey);
    }
    // The error might quote the file.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_: pem::Error| Problem::NoKey)
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| Problem::Refused(error.to_string()))?;
    }
    Ok(roots)
}
