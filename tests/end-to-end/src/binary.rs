//! Finds the `hilo` binary that was built with the tests.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// `HILO_BIN`, else the `hilo` next to the running test's build folder.
///
/// # Errors
/// When neither exists; the message names the command that builds it.
pub fn hilo() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HILO_BIN") {
        return Ok(PathBuf::from(path));
    }
    let executable = std::env::current_exe().context("path of the running test")?;
    executable
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("hilo"))
        .find(|path| path.is_file())
        .context("no hilo binary next to the tests; build it with `cargo build -p hilo`, or set HILO_BIN")
}

/// A tool of the installed Python environment (`tests/support/scripts/install test`).
///
/// # Errors
/// When it is missing; the message names the command that installs it.
pub fn python_tool(name: &str) -> Result<PathBuf> {
    tool(&format!("venv/bin/{name}"))
}

/// Something that was installed under `.hilo/tools` (`tests/support/scripts/install test`).
///
/// # Errors
/// When it is missing; the message names the command that installs it.
pub fn tool(name: &str) -> Result<PathBuf> {
    let root = std::env::var_os("HILO_REPOSITORY")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."), PathBuf::from);
    let path = root.join(".hilo/tools").join(name);
    anyhow::ensure!(path.exists(), "{} is missing; `make tools` installs it", path.display());
    Ok(path)
}
