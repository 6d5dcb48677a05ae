//! What operators and containers ask of an installation: migrate its databases, check its configuration, is it ready.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::grpc;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::services::Service;

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file of the services
    #[arg(long, env = "HILO_CONFIG")]
    config: PathBuf,
    /// Only this service
    #[arg(long, value_enum)]
    service: Option<Service>,
}

impl ConfigArgs {
    fn services(&self) -> Vec<Service> {
        self.service.map_or_else(|| Service::ALL.to_vec(), |service| vec![service])
    }
}

/// Commands about a configuration.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Read it as each service does, environment included, and name every error
    Check(ConfigArgs),
}

/// Arguments of `hilo health`.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthArgs {
    /// gRPC endpoint of the service
    #[arg(env = "HILO_HEALTH", default_value = "http://127.0.0.1:8471")]
    endpoint: String,
    /// `readiness` or `liveness`
    #[arg(long, default_value = "readiness")]
    check: String,
}

/// Brings the databases to this release, one after the other.
pub fn migrate(args: ConfigArgs) -> ExitCode {
    finish(async move {
        for service in args.services() {
            if service.migrate(&args.config).await? {
                println!("{}: migrated", service.name());
            }
        }
        Ok(())
    })
}

/// Commands about a configuration.
pub fn config(command: ConfigCommand) -> ExitCode {
    let ConfigCommand::Check(args) = command;
    let failures: Vec<(Service, Error)> = args
        .services()
        .into_iter()
        .filter_map(|service| Some((service, service.check_config(&args.config).err()?)))
        .collect();
    for (service, error) in &failures {
        println!("{}: {error}", service.name());
    }
    if failures.is_empty() {
        println!(
            "the configuration is valid for {}",
            args.services().iter().map(|s| s.name()).collect::<Vec<_>>().join(", ")
        );
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Asks once; silent unless the answer is no.
pub fn health(args: HealthArgs) -> ExitCode {
    finish(async move {
        let mut client = HealthClient::new(grpc::channel(&args.endpoint)?);
        let request = HealthCheckRequest { service: args.check.clone() };
        let answer = client.check(grpc::with_deadline(request, Duration::from_secs(2))).await?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
                Err(Error::unavailable("NOT_SERVING", format!("{} says no to {}", args.endpoint, args.check)))
            }
        }
    })
}

/// A short command: one thread, the error on standard error.
fn finish(work: impl Future<Output = Result<(), Error>>) -> ExitCode {
    hilo_kit::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            Err(Error::unavailable("NO_RUNTIME", "the runtime could not be built").with_source(error))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hilo: {error}");
            ExitCode::FAILURE
        }
    }
}
