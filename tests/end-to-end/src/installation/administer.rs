//! The installation's directory, and the view of it that only services have.

use std::time::Duration;

use anyhow::{Context, Result};
use hilo_kit::auth::ServiceTokens;
use hilo_kit::grpc::InternalChannel;
use hilo_proto::directory::v1::ApplyDirectoryRequest;
use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::history::v1::SearchThreadsRequest;
use hilo_proto::routing::v1::HeartbeatRequest;
use hilo_test_support::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tonic::Code;

use super::{Installation, Service};
use crate::directory;

impl Installation {
    pub(super) async fn apply_directory(&self) -> Result<()> {
        self.change_directory(str::to_owned).await
    }

    /// Waits until routing and history let the first agent in. A service is ready with whatever directory it has, an empty one
    /// included; the one applied after its start reaches it a moment later.
    pub(super) async fn directory_is_known(&self) -> Result<()> {
        let Some(first) = self.agent_keys().into_iter().next() else { return Ok(()) };
        let agent = self.signed_in(&first)?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let leave = HeartbeatRequest { session_id: "nobody".into(), leave: true };
            let routing = agent.routing().heartbeat(leave).await.map(drop);
            let search = SearchThreadsRequest { page_size: 1, ..SearchThreadsRequest::default() };
            let history = agent.history().search_threads(search).await.map(drop);
            match (routing, history) {
                (Ok(()), Ok(())) => return Ok(()),
                (routing, history) if tokio::time::Instant::now() > deadline => {
                    anyhow::bail!("the directory is not known: {routing:?}, {history:?}")
                }
                (Ok(()) | Err(_), Ok(()) | Err(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until the SMTP listener takes mail for the account: what it refuses before that is refused for good.
    pub(super) async fn mail_is_taken(&self) -> Result<()> {
        let takes = || async { self.offered().await.is_ok_and(|reply| reply.starts_with("250")) };
        eventually("email-ingest knows its accounts", Duration::from_secs(60), takes).await
    }

    /// The reply to a recipient of ours, and nothing sent to him.
    async fn offered(&self) -> Result<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.smtp()).await?);
        let recipient = format!("RCPT TO:<{}>\r\n", self.support_address());
        let mut reply = String::new();
        for said in ["", "HELO test\r\n", "MAIL FROM:<>\r\n", &recipient] {
            stream.write_all(said.as_bytes()).await?;
            reply.clear();
            stream.read_line(&mut reply).await?;
        }
        Ok(reply)
    }

    /// Applies the test directory as `edit` makes it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn change_directory(&self, edit: impl FnOnce(&str) -> String) -> Result<()> {
        let imap_port = self.dovecot.as_ref().map(hilo_test_support::Dovecot::imap_port);
        let yaml = edit(&directory::yaml(&self.options, self.sink.port, imap_port));
        let request = ApplyDirectoryRequest { yaml, dry_run: false, prune: false };
        let mut client = DirectoryServiceClient::new(self.internal()?);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let answer = loop {
            match client.apply_directory(request.clone()).await {
                Ok(answer) => break answer.into_inner(),
                // The same text again is the same directory.
                Err(status)
                    if status.code() == Code::Unavailable && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(status) => return Err(status.into()),
            }
        };
        anyhow::ensure!(answer.errors.is_empty(), "the test directory is refused: {:?}", answer.errors);
        Ok(())
    }

    /// What PostgreSQL has said so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn database_log(&self) -> Result<String> {
        self.postgres.log()
    }

    /// Its keys, for a test that makes tokens of its own, false ones among them.
    pub fn keys(&self) -> &hilo_kit::auth::Keys {
        &self.keys
    }

    /// A channel to attention-state with a service's identity, to look at what only services may see.
    ///
    /// # Errors
    /// When the address is invalid.
    pub fn internal(&self) -> Result<InternalChannel> {
        let tokens = ServiceTokens::new(&self.keys.auth_config("hilo"), "operator");
        hilo_kit::grpc::internal(&self.endpoint(Service::AttentionState), &tokens)
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// `VmRSS` of every service.
    ///
    /// # Errors
    /// When a process is gone.
    pub fn resident_kibibytes(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut figures = Vec::new();
        for (service, process) in self.processes.lock().iter() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
            figures.push((service.name(), line.trim().trim_end_matches(" kB").trim().parse()?));
        }
        anyhow::ensure!(figures.len() == Service::ALL.len(), "a service is gone");
        Ok(figures)
    }
}
