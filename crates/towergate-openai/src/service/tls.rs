//! TLS towards the upstream: which roots are trusted, and who we are.
//!
//! The crypto provider is named here and nowhere else: the process default belongs to the program
//! that embeds us.

use std::{ffi::OsString, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::CertificateResult;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::ConfigError;

/// A client certificate and its key.
#[derive(Debug)]
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// What every connection of one leaf shares.
#[derive(Debug)]
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
}

// === impl Identity ===

impl Identity {
    pub(super) fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, ConfigError> {
        let chain = certificates(chain).ok_or(ConfigError::ClientIdentity)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| ConfigError::ClientIdentity)?;
        Ok(Self { chain, key })
    }
}

// === impl Trust ===

impl Trust {
    /// The system's roots and those in `added`.
    pub(super) fn load(
        added: &[CertificateDer<'static>],
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
            .into_iter()
            .find(|name| variable(name).is_some_and(|value| !value.is_empty()));
        Self::of(rustls_native_certs::load_native_certs(), named, added)
    }

    fn of(
        native: CertificateResult,
        named: Option<&'static str>,
        added: &[CertificateDer<'static>],
    ) -> Result<Self, ConfigError> {
        let mut roots = RootCertStore::empty();
        let (valid, invalid) = roots.add_parsable_certificates(native.certs);
        if valid == 0 {
            // Whoever names a file of their own does not want the public roots in its place.
            if let Some(variable) = named {
                return Err(ConfigError::NoTrustRoots { variable });
            }
            tracing::debug!("no trust roots on this system: the built-in ones are used");
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        } else if invalid > 0 || !native.errors.is_empty() {
            tracing::debug!(valid, invalid, errors = native.errors.len(), "some trust roots were left out");
        }
        for certificate in added {
            roots.add(certificate.clone()).map_err(|_| ConfigError::RootCertificates)?;
        }
        Ok(Self { roots: Arc::new(roots) })
    }

    /// Trusts nobody: for connections without TLS.
    pub(super) fn none() -> Self {
        Self { roots: Arc::new(RootCertStore::empty()) }
    }

    /// A configuration that offers these protocols (ALPN).
    pub(super) fn client_config(
        &self,
        protocols: &[&[u8]],
        identity: Option<Identity>,
    ) -> Result<ClientConfig, ConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ConfigError::Tls)?
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match identity {
            Some(Identity { chain, key }) => {
                config.with_client_auth_cert(chain, key).map_err(|_| ConfigError::ClientIdentity)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }
}

/// The certificates of a PEM text; nothing where it holds none, or a broken one.
pub(super) fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> CertificateDer<'static> {
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.der().clone()
    }

    fn native(certs: Vec<CertificateDer<'static>>) -> CertificateResult {
        let mut result = CertificateResult::default();
        result.certs = certs;
        result
    }

    #[test]
    fn the_systems_roots_are_used_and_others_added() {
        let trust = Trust::of(native(vec![root()]), None, &[root()]).unwrap();
        assert_eq!(trust.roots.len(), 2);
    }

    #[test]
    fn without_any_the_built_in_ones_stand_in() {
        let broken = native(vec![CertificateDer::from(vec![1, 2, 3])]);
        let trust = Trust::of(broken, None, &[root()]).unwrap();
        assert_eq!(trust.roots.len(), webpki_roots::TLS_SERVER_ROOTS.len() + 1);
    }

    #[test]
    fn a_named_file_without_roots_is_an_error() {
        let error = Trust::of(native(Vec::new()), Some("SSL_CERT_FILE"), &[]).unwrap_err();
        assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
    }

    #[test]
    fn a_pem_without_certificates_is_none() {
        assert!(certificates(b"").is_none());
        assert!(certificates(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").is_none());
        let error = Identity::from_pem(b"canary", b"canary").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
