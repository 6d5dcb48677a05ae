//! TLS to mail servers: certificates are verified, always; there is no switch to accept others.

use std::path::Path;
use std::sync::Arc;

use hilo_kit::error::Error;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to believe: the public authorities, and those of the installation.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// With the certificates (PEM) of further authorities, when a file is given.
    ///
    /// # Errors
    /// `CA_CERTIFICATES` when the file cannot be read or holds no certificate.
    pub fn new(authorities: Option<&Path>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(file) = authorities {
            let refuse = |text: &'static str| Error::invalid("CA_CERTIFICATES", text);
            let read = CertificateDer::pem_file_iter(file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| {
                refuse("the file of certificate authorities cannot be read").with_source(error)
            })?;
            let (added, _) = roots.add_parsable_certificates(read);
            if added == 0 {
                return Err(refuse("the file of certificate authorities holds no certificate"));
            }
        }
        Ok(Self(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())))
    }

    /// Speaks TLS on the stream; the server must prove that it is `host`.
    ///
    /// # Errors
    /// When `host` is no name, or the handshake fails.
    pub async fn connect(&self, stream: TcpStream, host: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}

/// True for names and addresses of this machine, the only ones that may be spoken to without TLS.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for local in ["localhost", "127.0.0.1", "127.8.9.1", "::1"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in ["localhost.example", "10.0.0.1", "0.0.0.0", "", "2130706433"] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        hilo_kit::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert_eq!(Tls::new(Some(&file)).unwrap_err().reason(), "CA_CERTIFICATES");
        std::fs::write(&file, "nothing").unwrap();
        assert_eq!(Tls::new(Some(&file)).unwrap_err().reason(), "CA_CERTIFICATES");
        assert!(Tls::new(None).is_ok());
    }
}
