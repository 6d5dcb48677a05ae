//! The data folder: where everything of the embedded stack lives, and the lock that keeps a second stack out.
//!
//! The lock is the kernel's (released when the process dies, however it dies), so a stale one cannot exist.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hilo_kit::error::Error;

/// An open, locked data folder.
#[derive(Debug)]
pub struct DataFolder {
    root: PathBuf,
    // Held for its lock; closing it lets the next stack in.
    _lock: File,
}

impl DataFolder {
    /// Opens the folder, creating what is missing, and locks it.
    ///
    /// # Errors
    /// `ALREADY_RUNNING` when another process holds it; the message names that process.
    pub fn open(path: &Path) -> Result<Self, Error> {
        make_directory(path)?;
        let root = fs::canonicalize(path).map_err(|error| unusable(path, error))?;
        let lock = lock(&root)?;
        let folder = Self { root, _lock: lock };
        for directory in
            [folder.logs(), folder.run(), folder.objects(), folder.outbox(), folder.mail_secrets()]
        {
            make_private_directory(&directory)?;
        }
        Ok(folder)
    }

    /// The folder itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// PostgreSQL's part.
    pub fn postgres(&self) -> PathBuf {
        self.root.join("pg")
    }

    /// nats-server's part.
    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// The content-addressed object store that all services share.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// Mail that the stack's own mailbox server received.
    pub fn outbox(&self) -> PathBuf {
        self.root.join("outbox")
    }

    /// One file per secret that the directory names (`password_secret`), put there by its owner.
    pub fn mail_secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// Customers and chats of the simulated phones.
    pub fn phones(&self) -> PathBuf {
        self.root.join("phones.json")
    }

    /// Logs of this process, of PostgreSQL and of nats-server.
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// Process ids.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The services' configuration, written at every start.
    pub fn config(&self) -> PathBuf {
        self.root.join("hilo.yaml")
    }

    /// Where a running stack can be reached; exists only while it runs.
    pub fn endpoints(&self) -> PathBuf {
        self.root.join("stack.json")
    }

    /// Keys and passwords of this stack.
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets.json")
    }

    /// Names and passwords of the demo directory's users.
    pub fn agents(&self) -> PathBuf {
        self.root.join("agents.txt")
    }

    /// A log file, appended to; one that has grown over 16 MiB is set aside first, so that logs stay bounded.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn log_file(&self, name: &str) -> Result<File, Error> {
        let path = self.logs().join(name);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > 16 * 1024 * 1024) {
            // Losing an old log is better than not starting.
            let _ = fs::rename(&path, path.with_extension("log.1"));
        }
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        opened.map_err(|error| unusable(&path, error))
    }
}

/// Writes a file that only this user can read, whole or not at all.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write_private(path: &Path, content: &str) -> Result<(), Error> {
    let written = || -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    written().map_err(|error| unusable(path, error))
}

/// Makes a folder that everybody may enter: another user's PostgreSQL lives below it. One that exists stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|error| unusable(path, error))
}

/// Makes a folder that only this user may enter; one that exists stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_private_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| unusable(path, error))
}

/// The failure to use a path of the data folder.
pub fn unusable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable("DATA_FOLDER_UNUSABLE", format!("{} cannot be used: {error}", path.display()))
}

fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = opened.map_err(|error| unusable(&path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(Error::rejected(
                "ALREADY_RUNNING",
                format!(
                    "Hilo is already running on {} (process {}); stop it there with Ctrl-C, or give this one its own \
                     folder and ports: hilo run --data OTHER --port-base 9400",
                    root.display(),
                    if holder.trim().is_empty() { "unknown" } else { holder.trim() },
                ),
            ));
        }
        Err(TryLockError::Error(error)) => return Err(unusable(&path, error)),
    }
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
    noted.map_err(|error| unusable(&path, error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_stack_on_the_folder_is_refused_and_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let held = DataFolder::open(directory.path()).unwrap();
        let refused = DataFolder::open(directory.path()).unwrap_err();
        assert_eq!(refused.reason(), "ALREADY_RUNNING");
        assert!(refused.to_string().contains(&std::process::id().to_string()));
        drop(held);
        DataFolder::open(directory.path()).unwrap();
    }

    #[test]
    fn private_files_are_private_and_whole() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret.json");
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
