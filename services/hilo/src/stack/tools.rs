//! Finds the programs the stack starts. Nothing is downloaded here; a missing program names the make target that
//! installs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use hilo_kit::error::Error;

/// Oldest PostgreSQL that the migrations are written for.
const POSTGRES_MAJOR: u32 = 15;
/// Oldest nats-server that keeps what it is told; older ones drop settings without a word.
const NATS_VERSION: (u32, u32) = (2, 12);

/// Programs of the stack.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Folder with `initdb` and `postgres`.
    pub postgres: PathBuf,
    /// Major version of that PostgreSQL.
    pub postgres_major: u32,
    /// `nats-server`.
    pub nats: PathBuf,
    /// `setpriv` of util-linux.
    pub setpriv: PathBuf,
}

impl Tools {
    /// Looks for everything.
    ///
    /// # Errors
    /// `TOOL_MISSING`, with the command that installs it.
    pub fn find(data: &Path) -> Result<Self, Error> {
        let wanted = std::fs::read_to_string(data.join("pg/data/PG_VERSION")).ok();
        let wanted = wanted.and_then(|text| text.trim().parse::<u32>().ok());
        let (postgres, postgres_major) = find_postgres(wanted)?;
        Ok(Self { postgres, postgres_major, nats: find_nats(data)?, setpriv: find_setpriv()? })
    }
}

fn missing(what: &str) -> Error {
    Error::unavailable(
        "TOOL_MISSING",
        format!("{what}; `make run` installs it (or `make tools` without running)"),
    )
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Every PostgreSQL on this machine, in the order of preference: `PG_BIN` alone if set, else PATH, else Debian's folders.
fn postgres_folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("PG_BIN").filter(|value| !value.is_empty()) {
        return vec![folder.into()];
    }
    let by_path = on_path("postgres").and_then(|file| file.canonicalize().ok());
    let mut folders: Vec<PathBuf> =
        by_path.and_then(|file| Some(file.parent()?.to_owned())).into_iter().collect();
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    folders.extend(debian.into_iter().rev());
    folders
}

/// The first PostgreSQL that is new enough; with data of version `wanted`, the first of exactly that version.
fn find_postgres(wanted: Option<u32>) -> Result<(PathBuf, u32), Error> {
    let found: Vec<(PathBuf, u32)> = postgres_folders()
        .into_iter()
        .filter(|folder| folder.join("initdb").is_file())
        .filter_map(|folder| {
            let major = version_of(&folder.join("postgres"))?.0;
            Some((folder, major))
        })
        .collect();
    let fitting = found.iter().find(|(_, major)| match wanted {
        Some(version) => *major == version,
        None => *major >= POSTGRES_MAJOR,
    });
    match (fitting, wanted) {
        (Some(found), _) => Ok(found.clone()),
        (None, Some(version)) if !found.is_empty() => Err(Error::rejected(
            "OTHER_POSTGRES_VERSION",
            format!(
                "the data folder was made by PostgreSQL {version}, which is not installed (found: {}); install that \
                 version or start over with `make clean-data`",
                found.iter().map(|(_, major)| major.to_string()).collect::<Vec<_>>().join(", "),
            ),
        )),
        (None, _) => Err(missing(&format!(
            "no PostgreSQL {POSTGRES_MAJOR} or newer was found (PG_BIN names its folder)"
        ))),
    }
}

fn find_nats(data: &Path) -> Result<PathBuf, Error> {
    let fits = |file: &PathBuf| version_of(file).is_some_and(|version| version >= NATS_VERSION);
    if let Some(file) = std::env::var_os("HILO_NATS_SERVER").filter(|value| !value.is_empty()) {
        let file = PathBuf::from(file);
        return Some(file.clone()).filter(fits).ok_or_else(|| {
            missing(&format!("HILO_NATS_SERVER={} is not a nats-server 2.12 or newer", file.display()))
        });
    }
    let wheel = |folder: &Path| folder.join("tools/venv/bin/nats-server");
    let beside_binary = std::env::current_exe().ok().and_then(|file| {
        // target/debug/hilo: the repository is two folders up.
        Some(wheel(&file.parent()?.parent()?.parent()?.join(".hilo")))
    });
    let candidates =
        [on_path("nats-server"), Some(wheel(data)), Some(wheel(Path::new(".hilo"))), beside_binary];
    let found = candidates.into_iter().flatten().find(fits).and_then(|file| file.canonicalize().ok());
    found.ok_or_else(|| missing("no nats-server 2.12 or newer was found (HILO_NATS_SERVER names one)"))
}

fn find_setpriv() -> Result<PathBuf, Error> {
    let found =
        on_path("setpriv").or_else(|| Some(PathBuf::from("/usr/bin/setpriv")).filter(|file| file.is_file()));
    found.ok_or_else(|| missing("setpriv (package util-linux) was not found"))
}

/// Major and minor of `<program> --version`: `postgres (PostgreSQL) 15.18`, `nats-server: v2.15.1`.
fn version_of(program: &Path) -> Option<(u32, u32)> {
    let output =
        Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let start = text.find(|character: char| character.is_ascii_digit())?;
    let digits = text.get(start..)?;
    let mut numbers = digits.split(|character: char| !character.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_programs_are_understood() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some((15, 18)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1"), Some((19, 0)));
        assert_eq!(parse_version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(parse_version("nothing here"), None);
    }
}
