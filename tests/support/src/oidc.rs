//! An OpenID Connect issuer that is not our code: joserfc behind `oidc_issuer.py`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Making three RSA keys takes a slow machine a while.
const STARTED: Duration = Duration::from_secs(60);

/// A running issuer; ends with this value.
#[derive(Debug)]
pub struct OidcIssuer {
    port: u16,
    _process: Child,
}

impl OidcIssuer {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When Python or joserfc are missing; `make tools` installs them.
    pub async fn start() -> Result<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tools = std::env::var_os("HILO_REPOSITORY").map_or_else(|| root.clone(), PathBuf::from);
        // In a working copy without tools of its own the machine's Python will do, when it has joserfc.
        let installed = tools.join(".hilo/tools/venv/bin/python3");
        let python = if installed.exists() { installed } else { PathBuf::from("python3") };
        let mut process = Command::new(python)
            .arg(root.join("tests/support/oidc_issuer.py"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("no Python; `make tools` installs an environment under .hilo/tools")?;
        let output = process.stdout.take().context("its output")?;
        let line = tokio::time::timeout(STARTED, BufReader::new(output).lines().next_line()).await??;
        let line = line.context("the issuer ended at once; `make tools` installs joserfc")?;
        let port = line.strip_prefix("listening ").context("its first line")?.trim().parse()?;
        Ok(Self { port, _process: process })
    }

    /// Its `iss`.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A token signed by the key `kid`; `header` overrides what stands in its header, null leaves it out.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn token(&self, kid: &str, alg: &str, claims: &Value, header: &Value) -> Result<String> {
        let asked = serde_json::json!({"kid": kid, "alg": alg, "claims": claims, "header": header});
        self.ask("POST", "/token", &asked.to_string()).await
    }

    /// Publishes one more key, `rsa-2`.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn rotate(&self) -> Result<()> {
        self.ask("POST", "/rotate", "{}").await.map(drop)
    }

    /// The public part of `rsa-1` in PEM form.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn public_pem(&self) -> Result<String> {
        self.ask("GET", "/public.pem", "").await
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        anyhow::ensure!(head.contains(" 200 "), "the issuer refuses: {head}");
        Ok(body.to_owned())
    }
}
