//! `hilo run`: all services in one process on the embedded stack, or one service as in production.
//!
//! In one process the services still speak only NATS and loopback gRPC, so what runs here is what runs apart.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hilo_kit::config;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::{HARD_CAP, Shutdown, run_main};
use hilo_kit::telemetry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::front::{self, Backends};
use crate::services::Service;
use crate::stack::folder::DataFolder;
use crate::stack::ports::loopback;
use crate::stack::progress::{Progress, say};
use crate::stack::terminal::{self, RedirectedErrors};
use crate::stack::{Ended, Options, Stack, config as files, directory, mailbox, meta::Meta, welcome};

/// The services get this long to drain before the broker and the database are stopped under them.
const SERVICES_STOP: Duration = Duration::from_secs(9);
/// From started to ready; the first start creates streams and consumers.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A part that ends this often within [`RESTART_WINDOW`] is broken, and restarting it again would hide that.
const RESTARTS: usize = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// Arguments of `hilo run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Run only this service, as in production
    #[arg(value_enum)]
    service: Option<Service>,
    /// Configuration file of that service
    #[arg(long, env = "HILO_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder of the embedded stack
    #[arg(long, env = "HILO_DATA", default_value = ".hilo")]
    data: PathBuf,
    /// First of the stack's block of ports (8400 gives 8470 for gRPC, 8425 for mail, ...); 0 takes a free block
    #[arg(long, env = "HILO_PORT_BASE", default_value_t = 8400)]
    port_base: u16,
    /// When nats-server waits for the disk: `always`, or how often (`2m`, its default)
    #[arg(long, env = "HILO_NATS_SYNC", default_value = "2m")]
    nats_sync: String,
    /// Start only PostgreSQL and nats-server, for developers
    #[arg(long)]
    parts_only: bool,
    /// Do not wait for the disk (tests that claim no durability)
    #[arg(long, hide = true)]
    no_fsync: bool,
    /// Leave the logs on the terminal
    #[arg(long)]
    verbose: bool,
}

/// Runs what was asked for until it is stopped.
pub fn execute(args: RunArgs) -> ExitCode {
    match (args.service, args.config.clone()) {
        (Some(service), Some(config)) => {
            run_main(
                service.name(),
                move |shutdown| async move { service.run_alone(&config, shutdown).await },
            )
        }
        (Some(service), None) => {
            eprintln!("hilo: {} alone needs --config FILE (or HILO_CONFIG)", service.name());
            ExitCode::from(2)
        }
        (None, _) => run_main("hilo", move |shutdown| embedded(args, shutdown)),
    }
}

async fn embedded(args: RunArgs, shutdown: Shutdown) -> Result<(), Error> {
    let mut progress = Progress::new(false);
    let folder = DataFolder::open(&args.data)?;
    let errors = if args.verbose { None } else { Some(RedirectedErrors::to_log(&folder)?) };
    if errors.is_some() {
        let log = folder.logs().join(terminal::LOG);
        shutdown.spawn("log size", terminal::keep_bounded(log, shutdown.clone()));
    }
    say(&format!("== start: data in {}", folder.root().display()));
    let options =
        Options { port_base: args.port_base, nats_sync: args.nats_sync.clone(), fsync: !args.no_fsync };
    let stack = tokio::select! {
        stack = Stack::start(folder, &options, &mut progress) => stack?,
        // What was started dies with us, by its death signal.
        () = shutdown.cancelled() => return Ok(()),
    };
    let outcome =
        if args.parts_only { parts(stack, &shutdown).await } else { whole(stack, progress, &shutdown).await };
    // Drained here, while logs still go to the file: what `run_main` finds afterwards is nothing, and says nothing.
    shutdown.drain(HARD_CAP).await;
    say("== stopped");
    drop(errors);
    outcome
}

async fn parts(mut stack: Stack, shutdown: &Shutdown) -> Result<(), Error> {
    say(&format!("PostgreSQL and nats-server run; passwords in {}", stack.folder.config().display()));
    let outcome = keep_running(&mut stack, &mut JoinSet::new(), shutdown).await;
    stack.stop().await;
    outcome
}

async fn whole(mut stack: Stack, progress: Progress, shutdown: &Shutdown) -> Result<(), Error> {
    let telemetry = telemetry_of(&stack)?;
    let after = Shutdown::new();
    let mut services = JoinSet::new();
    let mut meta = None;
    let outcome = match start(&stack, &mut meta, progress, &mut services, shutdown, &after).await {
        Ok(true) => keep_running(&mut stack, &mut services, shutdown).await,
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    files::withdraw(&stack.folder);
    say("== stopping");
    shutdown.begin();
    let drained = async { while services.join_next().await.is_some() {} };
    if tokio::time::timeout(SERVICES_STOP, drained).await.is_err() {
        tracing::warn!("services were still stopping at the hard cap");
    }
    after.drain(Duration::from_secs(1)).await;
    drop(meta);
    stack.stop().await;
    telemetry.flush().await;
    outcome
}

/// The section `front`; where it listens is decided by the stack, so nothing of it is read back.
#[derive(Debug, serde::Deserialize)]
struct Front {}

impl config::Section for Front {}

fn telemetry_of(stack: &Stack) -> Result<telemetry::Guard, Error> {
    let common = config::load::<Front>("front", Some(&stack.folder.config()))?;
    telemetry::init("hilo", &common.telemetry)
}

/// Which service ended, and how.
type Ending = (Service, Result<(), Error>);
type Running = JoinSet<Ending>;

/// Migrates, starts the services and waits until they are ready; `false` when a stop came first.
async fn start(
    stack: &Stack,
    meta: &mut Option<Meta>,
    mut progress: Progress,
    services: &mut Running,
    shutdown: &Shutdown,
    after: &Shutdown,
) -> Result<bool, Error> {
    let config = stack.folder.config();
    let (ports, folder) = (&stack.ports, &stack.folder);
    for service in Service::ALL {
        service.migrate(&config).await.map_err(|error| too_new(folder.root(), error))?;
    }
    progress.done("databases migrated");

    let meta = meta.insert(Meta::start(folder, ports, &stack.secrets).await?);
    progress.done(&format!("simulated WhatsApp Cloud API on port {} (no Meta here)", ports.simulator()));
    let mailbox = bind(ports.mailbox()).await?;
    after.spawn("mailbox", mailbox::serve(mailbox, folder.outbox(), after.clone()));
    for service in Service::ALL {
        let sockets = service.bind(ports).await?;
        let (config, shutdown) = (config.clone(), shutdown.child());
        services.spawn(async move { (service, service.run(&config, sockets, shutdown).await) });
    }
    let ready = async {
        for service in Service::ALL {
            service.ready(ports, READY_WITHIN).await?;
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        outcome = ready => outcome?,
        ended = services.join_next() => return Err(explain(ended)),
        () = shutdown.cancelled() => return Ok(false),
    }
    progress.done("services ready: attention-state, routing, history, email-ingest, whatsapp-ingest");

    let found = directory::load_if_empty(folder, ports, &stack.secrets).await?;
    if found.loaded {
        progress.done("demo directory loaded: campaigns soporte, ventas and mensajes");
    }
    match (found.has_number, found.has_number && meta.subscribe().await) {
        (true, true) => progress.done(&format!("WhatsApp webhooks subscribed, to port {}", ports.webhook())),
        (true, false) => progress.note("WhatsApp: the webhooks could not be subscribed; see log/hilo.log"),
        (false, _) => {
            progress.note("WhatsApp: the directory has no number of the simulator; its phones reach nobody")
        }
    }
    let backends = Backends {
        attention_state: loopback(ports.attention_state()),
        routing: loopback(ports.routing()),
        history: loopback(ports.history()),
    };
    let front = bind(ports.front()).await?;
    after.spawn("front", front::serve(front, backends, shutdown.child()));
    files::announce(folder, ports)?;
    say("");
    let earlier = std::env::var("HILO_EARLIER_PHASES").ok().filter(|text| !text.is_empty());
    say(&welcome::text(folder, ports, &program(), progress.total(), earlier.as_deref()));
    Ok(true)
}

/// Data of a newer release: says where it lies and what can be done, which the service cannot know.
fn too_new(data: &std::path::Path, error: Error) -> Error {
    if error.reason() != "SCHEMA_TOO_NEW" {
        return error;
    }
    let data = data.display();
    let text =
        format!("{data} was written by a newer Hilo: run that one, or start over with `make clean-data`");
    Error::rejected("SCHEMA_TOO_NEW", text).with_source(error)
}

fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "hilo".to_owned())
}

async fn bind(port: u16) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(loopback(port)).await;
    bound.map_err(|error| {
        Error::unavailable("PORT_IN_USE", format!("port {port} cannot be listened on: {error}"))
    })
}

fn explain(ended: Option<Result<Ending, tokio::task::JoinError>>) -> Error {
    match ended {
        Some(Ok((service, Err(error)))) => {
            error.log(service.name());
            Error::unavailable("SERVICE_ENDED", format!("{} ended: {error}", service.name()))
        }
        Some(Ok((service, Ok(())))) => {
            Error::internal("SERVICE_ENDED", format!("{} ended by itself", service.name()))
        }
        Some(Err(error)) => Error::internal("SERVICE_ENDED", "a service broke off").with_source(error),
        None => Error::internal("SERVICE_ENDED", "no service runs"),
    }
}

/// Until a stop is asked for or a service ends. A PostgreSQL or nats-server that ends is started again: the services
/// live through that, as they do in production.
async fn keep_running(stack: &mut Stack, services: &mut Running, shutdown: &Shutdown) -> Result<(), Error> {
    let mut restarts: Vec<tokio::time::Instant> = Vec::new();
    loop {
        let ended = tokio::select! {
            ended = stack.ended() => ended,
            Some(ended) = services.join_next() => {
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                return Err(explain(Some(ended)));
            }
            () = shutdown.cancelled() => return Ok(()),
        };
        let name = match ended {
            Ended::Postgres => "PostgreSQL",
            Ended::Nats => "nats-server",
        };
        restarts.retain(|at| at.elapsed() < RESTART_WINDOW);
        if restarts.len() >= RESTARTS {
            return Err(Error::unavailable("PART_KEEPS_ENDING", format!("{name} keeps ending; see its log")));
        }
        restarts.push(tokio::time::Instant::now());
        say(&format!("   {name} ended; starting it again"));
        tracing::warn!(part = name, "ended by itself; starting it again");
        stack.restart(ended).await?;
    }
}
