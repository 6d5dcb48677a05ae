//! One small GET over HTTPS, for documents whose address an operator configured: no redirects, bounded in size and time,
//! in clear only from this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;

/// Largest document.
const MAX_BYTES: usize = 256 * 1024;
/// An answer that is not complete by then is not waited for.
const DEADLINE: Duration = Duration::from_secs(5);

/// Fetches.
pub(super) struct Fetcher {
    tls: TlsConnector,
}

fn failed(what: &'static str) -> Error {
    Error::unavailable("OIDC_UNREACHABLE", what)
}

/// True for an address that may be fetched: HTTPS, or plain HTTP on this machine.
pub(crate) fn may_fetch(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => ["127.0.0.1", "localhost", "[::1]"].contains(&host),
        _ => false,
    }
}

impl Fetcher {
    /// Trusts the public authorities, or only those of a PEM file.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let bad = || {
                    Error::invalid("INVALID_CA_FILE", "auth.oidc.ca_file must hold certificates in PEM form")
                };
                let found = CertificateDer::pem_file_iter(path).map_err(|error| bad().with_source(error))?;
                for certificate in found {
                    let certificate = certificate.map_err(|error| bad().with_source(error))?;
                    roots.add(certificate).map_err(|error| bad().with_source(error))?;
                }
            }
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// The body of an answer 200.
    ///
    /// # Errors
    /// `OIDC_UNREACHABLE` (unavailable).
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, Error> {
        tokio::time::timeout(DEADLINE, self.got(url))
            .await
            .map_err(|_| failed("the identity provider did not answer in time"))?
    }

    async fn got(&self, url: &str) -> Result<Bytes, Error> {
        if !may_fetch(url) {
            return Err(failed("the identity provider's address must be https"));
        }
        let uri: Uri = url.parse().map_err(|error| failed("the address is no URL").with_source(error))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let unreachable = |error| failed("the identity provider cannot be reached").with_source(error);
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
        if !secure {
            return exchange(stream, &uri).await;
        }
        let name = ServerName::try_from(host)
            .map_err(|error| failed("the identity provider's name is no name").with_source(error))?;
        exchange(self.tls.connect(name, stream).await.map_err(unreachable)?, &uri).await
    }
}

async fn exchange<S>(stream: S, uri: &Uri) -> Result<Bytes, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| failed("the identity provider's answer broke off").with_source(error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header("host", uri.authority().map_or("", |authority| authority.as_str()))
        .header("accept", "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed("the identity provider cannot be asked").with_source(error))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status() != StatusCode::OK {
        return Err(failed("the identity provider answers with an error"));
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await.map_err(|error| {
        failed("the identity provider's answer is too large or broke off")
            .with_source(std::io::Error::other(error))
    })?;
    driver.abort();
    Ok(body.to_bytes())
}
