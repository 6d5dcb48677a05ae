//! Programs that are not ours and not Rust, run as child processes with bounded time: what they print is the evidence.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_test_support::{Launch, Process};

use crate::binary;

/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(300);

/// A foreign client that runs; killed when dropped.
pub struct Foreign {
    name: &'static str,
    process: Process,
    log: PathBuf,
}

impl Foreign {
    /// Starts a program in `folder`, which also gets the file with all it prints.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        name: &'static str,
        folder: &Path,
        program: PathBuf,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let launch = Launch {
            program,
            arguments: arguments.iter().map(Into::into).collect(),
            environment: environment.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            log: log.clone(),
            folder: folder.to_owned(),
            ..Launch::default()
        };
        Ok(Self { name, process: launch.spawn()?, log })
    }

    /// What it has printed.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn said(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).context("what it printed")
    }

    /// Waits until it has printed this line.
    ///
    /// # Errors
    /// When it ends before, or does not print it in time; the message holds what it printed.
    pub async fn until(&mut self, line: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let running = self.process.is_running();
            let said = self.said()?;
            if said.lines().any(|one| one == line) {
                return Ok(());
            }
            let waiting = running && started.elapsed() < PATIENCE;
            anyhow::ensure!(waiting, "{} did not say {line:?}:\n{said}", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for its end; answers how it ended and all it printed.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(mut self) -> Result<(std::process::ExitStatus, String)> {
        let status = self.process.wait(PATIENCE).await;
        let said = self.said()?;
        Ok((status.with_context(|| format!("{}:\n{said}", self.name))?, said))
    }

    /// Waits for its good end; answers all it printed.
    ///
    /// # Errors
    /// When it fails; the message holds what it printed.
    pub async fn succeeded(self) -> Result<String> {
        let name = self.name;
        let (status, said) = self.ended().await?;
        anyhow::ensure!(status.success(), "{name} ended with {status}:\n{said}");
        Ok(said)
    }

    /// Waits for its good end; answers the JSON object in its line `evidence {...}`.
    ///
    /// # Errors
    /// When it fails or shows no evidence.
    pub async fn evidence(self) -> Result<serde_json::Value> {
        let name = self.name;
        let said = self.succeeded().await?;
        let line = said.lines().find_map(|line| line.strip_prefix("evidence "));
        let line = line.with_context(|| format!("{name} shows no evidence:\n{said}"))?;
        serde_json::from_str(line).with_context(|| format!("{name}: {line}"))
    }
}

/// What the clients need besides their sources, made in a folder of the test.
pub struct Workbench {
    /// Python modules of every contract.
    pub python: PathBuf,
    /// Descriptor set of every contract and of google.rpc's error details.
    pub contracts: PathBuf,
    /// Folder with the clients' sources.
    pub clients: PathBuf,
    /// Folder with the contracts.
    pub proto: PathBuf,
}

impl Workbench {
    /// Has protoc (of grpcio-tools) read the contracts and write stubs and descriptors.
    ///
    /// # Errors
    /// When protoc is missing or refuses a contract.
    pub async fn prepare(folder: &Path) -> Result<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let bench = Self {
            python: folder.join("stubs"),
            contracts: folder.join("contracts.binpb"),
            clients: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients"),
            proto: root.join("proto"),
        };
        std::fs::create_dir_all(&bench.python)?;
        let script = bench.clients.join("python/stubs.py");
        let arguments = [&script, &bench.proto, &bench.python, &bench.contracts];
        let arguments: Vec<&str> = arguments.iter().filter_map(|path| path.to_str()).collect();
        let python = binary::python_tool("python")?;
        Foreign::start("protoc", folder, python, &arguments, &[])?.succeeded().await?;
        Ok(bench)
    }

    /// Starts one of the Python clients.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn python(&self, name: &'static str, folder: &Path, arguments: &[&str]) -> Result<Foreign> {
        let script = self.clients.join("python").join(format!("{name}.py"));
        let script = script.to_str().context("a path that is not UTF-8")?;
        let stubs = self.python.to_str().context("a path that is not UTF-8")?;
        let arguments = [&[script], arguments].concat();
        let environment =
            [("PYTHONPATH", stubs), ("PYTHONDONTWRITEBYTECODE", "1"), ("PYTHONIOENCODING", "utf-8")];
        Foreign::start(name, folder, binary::python_tool("python")?, &arguments, &environment)
    }

    /// Starts one of the Node clients: a copy of it beside a link to the installed packages, for Node looks for those in the
    /// folders above the program.
    ///
    /// # Errors
    /// When Node or the packages are missing; `make tools` installs them.
    pub fn node(&self, name: &'static str, folder: &Path, arguments: &[&str]) -> Result<Foreign> {
        let script = format!("{name}.mjs");
        std::fs::copy(self.clients.join("node").join(&script), folder.join(&script))?;
        let packages = binary::tool("node/node_modules")?.canonicalize()?;
        let link = folder.join("node_modules");
        if !link.exists() {
            std::os::unix::fs::symlink(packages, link)?;
        }
        let arguments = [&[script.as_str()], arguments].concat();
        Foreign::start(name, folder, binary::tool("node/node")?, &arguments, &[])
    }
}
