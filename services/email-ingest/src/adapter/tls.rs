//! TLS to mail servers: certificates are verified, always; there is no switch.

use std::sync::{Arc, LazyLock};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
});

/// Speaks TLS on the stream; the server must prove that it is `host`.
///
/// # Errors
/// When `host` is no name, or the handshake fails.
pub async fn connect(stream: TcpStream, host: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    TlsConnector::from(CONFIG.clone()).connect(name, stream).await
}

/// True for names and addresses of this machine, the only ones that may be spoken to without TLS.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for local in ["localhost", "127.0.0.1", "127.8.9.1", "::1"] {
            assert!(is_loopback(local), "{local}");
        }
        for other in ["localhost.example", "10.0.0.1", "0.0.0.0", "", "2130706433"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
