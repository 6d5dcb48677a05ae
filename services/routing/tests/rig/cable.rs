//! A cable between a replica and the stand-in that can be cut without either side being told, as by a switch that fails.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is sent while it is cut arrives when it is mended.
pub struct Cable {
    pub url: String,
    cut: watch::Sender<bool>,
}

impl Cable {
    /// To the server at `url`, `http://host:port`.
    pub async fn to(url: &str) -> Result<Self> {
        let server: SocketAddr = url.strip_prefix("http://").context("a URL")?.parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (cut, watched) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(server).await else { continue };
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near.0, far.1, watched.clone()));
                tokio::spawn(carry(far.0, near.1, watched.clone()));
            }
        });
        Ok(Self { url: format!("http://{address}"), cut })
    }

    pub fn cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut cut: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if cut.wait_for(|cut| !cut).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
