//! Further processes of a service beside the first, and what a platform does to processes: stopping them for a while and letting them
//! go on.

use std::time::Duration;

use anyhow::{Context, Result};
use hilo_test_support::{Process, eventually, free_port};

use super::tonic_health_check::readiness;
use super::{Installation, Service};

/// One more process of a service; killed when dropped.
pub struct Replica {
    process: Process,
}

impl Replica {
    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it has not ended within the deadline.
    pub async fn terminate(mut self, deadline: Duration) -> Result<std::process::ExitStatus> {
        self.process.signal("TERM")?;
        self.process.wait(deadline).await
    }
}

impl Installation {
    /// Starts one more process of a service, with the same configuration on a port of its own, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn replica(&self, service: Service) -> Result<Replica> {
        let (name, port) = (service.name(), free_port());
        let configuration = self.configuration.display().to_string();
        let log = format!("{name}-{port}.log");
        let mut launch = self.launch(&["run", name, "--config", &configuration], &log)?;
        let variable = format!("HILO__{}__GRPC__LISTEN", name.to_uppercase().replace('-', "_"));
        launch.environment.push((variable, format!("127.0.0.1:{port}")));
        let process = launch.spawn()?;
        let url = format!("http://127.0.0.1:{port}");
        eventually("the replica is ready", Duration::from_secs(60), || readiness(&url))
            .await
            .with_context(|| process.log_tail())?;
        Ok(Replica { process })
    }

    /// Stops a service's process where it stands (SIGSTOP), or lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self, service: Service, frozen: bool) -> Result<()> {
        let processes = self.processes.lock();
        let process = processes.get(&service).context("not running")?;
        process.signal(if frozen { "STOP" } else { "CONT" })
    }
}
