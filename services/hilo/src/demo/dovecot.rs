//! A private Dovecot on a loopback port: the IMAP server, not our code, in which one customer's mail waits to be fetched.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::clock::until;
use super::house::program;
use super::scratch::Scratch;
use crate::cli::Failure;
use crate::stack::process::{Launch, Process};

/// It comes up in a tenth of a second; a loaded machine gets more.
const READY: Duration = Duration::from_secs(15);
const STOP: &[(Signal, Duration)] = &[(Signal::TERM, Duration::from_secs(5))];
/// The one mailbox.
const MAILBOX: &str = "correo";
/// Owner of the mail when we are root: Dovecot refuses to serve mail as root.
const UNPRIVILEGED: &str = "nobody";

/// A running server.
#[derive(Debug)]
pub struct Dovecot {
    /// IMAP port.
    pub port: u16,
    /// Version, as it says itself.
    pub version: String,
    maildir: PathBuf,
    owner: Option<(u32, u32)>,
    process: Process,
}

impl Dovecot {
    /// Name of the mailbox's user.
    pub fn user(&self) -> &'static str {
        MAILBOX
    }

    /// Starts it with one mailbox. Main thread only.
    ///
    /// # Errors
    /// When Dovecot is missing or does not come up, with the end of its log.
    pub async fn start(scratch: &Scratch, password: &str) -> Result<Self, Failure> {
        let dovecot = program("dovecot")?;
        let version = version(&dovecot)?;
        let folder = scratch.folder("dovecot")?;
        let maildir = folder.join("mail").join(MAILBOX);
        let owner = owner()?;
        for part in ["run", "state", "mail/correo/cur", "mail/correo/new", "mail/correo/tmp"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        for part in ["", "cur", "new", "tmp"] {
            own(&maildir.join(part), owner)?;
        }
        let port = free_port()?;
        std::fs::write(folder.join("users"), format!("{MAILBOX}:{{PLAIN}}{password}::::::\n"))?;
        let settings = Settings { folder: &folder, port, people: People::find()? };
        let text =
            if version.starts_with("2.3") { settings.version_2_3() } else { settings.version_2_4(&version) };
        std::fs::write(folder.join("dovecot.conf"), text)?;
        let launch = Launch {
            name: "Dovecot",
            setpriv: program("setpriv")?,
            privileges: Vec::new(),
            death_signal: "TERM",
            program: dovecot,
            arguments: vec!["-F".into(), "-c".into(), folder.join("dovecot.conf").into()],
            log: scratch.log("dovecot.log")?,
            pid_file: scratch.path().join("dovecot.pid"),
            stop: STOP,
        };
        let process = launch.spawn()?;
        let listening = until(READY, "Dovecot listens", || async move {
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok().then_some(()))
        });
        if let Err(failure) = listening.await {
            process.stop().await;
            return Err(scratch.tail("dovecot.log").into_iter().fold(failure, Failure::detail));
        }
        Ok(Self { port, version, maildir, owner, process })
    }

    /// Delivers a mail as a mail server does: written aside, then moved into `new` (maildir(5)).
    ///
    /// # Errors
    /// When the mailbox cannot be written to.
    pub fn deliver(&self, name: &str, raw: &[u8]) -> Result<(), Failure> {
        let aside = self.maildir.join("tmp").join(name);
        std::fs::write(&aside, raw)?;
        own(&aside, self.owner)?;
        std::fs::rename(&aside, self.maildir.join("new").join(name))?;
        Ok(())
    }

    /// Stops it.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn version(dovecot: &Path) -> Result<String, Failure> {
    let output = std::process::Command::new(dovecot).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn own(path: &Path, owner: Option<(u32, u32)>) -> Result<(), Failure> {
    match owner {
        Some((uid, gid)) => Ok(chown(path, Some(uid), Some(gid))?),
        None => Ok(()),
    }
}

/// Ids of the mail's owner; `None` when it is ourselves.
fn owner() -> Result<Option<(u32, u32)>, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find(|line| line.split(':').next() == Some(UNPRIVILEGED));
    let ids = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let missing =
        || Failure::unavailable("NO_UNPRIVILEGED_USER", "there is no user nobody to own the demo's mailbox");
    ids.map(Some).ok_or_else(missing)
}

/// Names of the users Dovecot works as.
struct People {
    internal: String,
    login: String,
    uid: String,
    gid: String,
    root: bool,
}

impl People {
    fn find() -> Result<Self, Failure> {
        if rustix::process::geteuid().is_root() {
            let (internal, login) = ("dovecot".to_owned(), "dovenull".to_owned());
            return Ok(Self {
                internal,
                login,
                uid: UNPRIVILEGED.to_owned(),
                gid: group_of(UNPRIVILEGED)?,
                root: true,
            });
        }
        let output = std::process::Command::new("id").arg("-un").output()?;
        let me = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { internal: me.clone(), login: me.clone(), gid: group_of(&me)?, uid: me, root: false })
    }
}

fn group_of(user: &str) -> Result<String, Failure> {
    let output = std::process::Command::new("id").args(["-gn", user]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

struct Settings<'a> {
    folder: &'a Path,
    port: u16,
    people: People,
}

impl Settings<'_> {
    fn common(&self) -> String {
        let (folder, People { internal, login, root, .. }) = (self.folder.display(), &self.people);
        // Only root can chroot.
        let chroot =
            if *root { "" } else { "service imap-login {\n  chroot =\n}\nservice anvil {\n  chroot =\n}\n" };
        format!(
            "protocols = imap\nlisten = 127.0.0.1\nbase_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = /dev/stderr\n\
             ssl = no\ndefault_internal_user = {internal}\ndefault_login_user = {login}\nfirst_valid_uid = 1\n\
             service imap-login {{\n  inet_listener imap {{\n    port = {}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n{chroot}",
            self.port
        )
    }

    fn version_2_3(&self) -> String {
        let (folder, People { uid, gid, .. }) = (self.folder.display(), &self.people);
        format!(
            "{}disable_plaintext_auth = no\nmail_location = maildir:{folder}/mail/%n\n\
             passdb {{\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%n {folder}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid={uid} gid={gid} home={folder}/mail/%n\n}}\n",
            self.common()
        )
    }

    /// 2.4 wants its own version first and has other names for the same settings.
    fn version_2_4(&self, version: &str) -> String {
        let (folder, People { uid, gid, .. }) = (self.folder.display(), &self.people);
        format!(
            "dovecot_config_version = {version}\ndovecot_storage_version = {version}\n{}auth_allow_cleartext = yes\n\
             mail_driver = maildir\nmail_path = {folder}/mail/%{{user | username}}\n\
             passdb passwd-file {{\n  passwd_file_path = {folder}/users\n  default_password_scheme = PLAIN\n}}\n\
             userdb static {{\n  fields {{\n    uid = {uid}\n    gid = {gid}\n    home = {folder}/mail/%{{user | username}}\n  }}\n}}\n",
            self.common()
        )
    }
}
