//! A private Dovecot: an IMAP server that is not our code, with Maildir mailboxes on a loopback port.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Launch, Process};
use crate::{eventually, free_port};

/// A running server; stopped and its data removed when dropped.
#[derive(Debug)]
pub struct Dovecot {
    port: u16,
    folder: PathBuf,
    user: String,
    launch: Launch,
    process: Option<Process>,
    delivered: AtomicU64,
}

impl Dovecot {
    /// Starts a server with these mailboxes (user, password). Plain-text logins on loopback, no TLS.
    ///
    /// # Errors
    /// When Dovecot is missing (`make tools` installs it) or does not come up.
    pub async fn start(mailboxes: &[(&str, &str)]) -> Result<Self> {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("hilo-dovecot-{}-{port}", std::process::id()));
        for name in ["run", "state", "mail"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let user = mail_user()?;
        let users: String =
            mailboxes.iter().map(|(name, password)| format!("{name}:{{PLAIN}}{password}::::::\n")).collect();
        std::fs::write(folder.join("users"), users)?;
        std::fs::write(folder.join("dovecot.conf"), configuration(&folder, port, &user))?;
        for (name, _) in mailboxes {
            for part in ["cur", "new", "tmp"] {
                std::fs::create_dir_all(folder.join("mail").join(name).join(part))?;
            }
        }
        own(&user, &folder.join("mail"))?;
        let launch = Launch {
            program: program()?,
            arguments: vec!["-F".into(), "-c".into(), folder.join("dovecot.conf").into()],
            death_signal: "TERM".to_owned(),
            log: folder.join("dovecot.out"),
            ..Launch::default()
        };
        let mut server = Self { port, folder, user, launch, process: None, delivered: AtomicU64::new(0) };
        server.restart().await?;
        Ok(server)
    }

    /// IMAP port.
    pub fn imap_port(&self) -> u16 {
        self.port
    }

    /// Delivers a raw mail as a mail server would: written aside, then moved into `new`.
    ///
    /// # Errors
    /// When the mailbox does not exist.
    pub fn deliver(&self, mailbox: &str, raw: &[u8]) -> Result<()> {
        let number = self.delivered.fetch_add(1, Ordering::Relaxed);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let name = format!("{}.M{}P{}Q{number}.test", now.as_secs(), now.subsec_micros(), std::process::id());
        let maildir = self.folder.join("mail").join(mailbox);
        let aside = maildir.join("tmp").join(&name);
        std::fs::write(&aside, raw)?;
        own(&self.user, &aside)?;
        std::fs::rename(&aside, maildir.join("new").join(&name)).context("deliver")
    }

    /// Stops it if it runs, and starts it on the same port and data.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let mut process = self.launch.spawn()?;
        let port = self.port;
        let up = eventually("Dovecot accepts clients", Duration::from_secs(60), || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        });
        if up.await.is_err() {
            let running = process.is_running();
            let log = std::fs::read_to_string(self.folder.join("dovecot.log")).unwrap_or_default();
            anyhow::bail!("Dovecot did not come up (running: {running}): {} {log}", process.log_tail());
        }
        self.process = Some(process);
        Ok(())
    }

    /// Stops it, with its children.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal("TERM")?;
            process.wait(Duration::from_secs(60)).await?;
        }
        Ok(())
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = process.signal("TERM");
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Dovecot wants an unprivileged owner of the mail; without root it can only be ourselves.
fn mail_user() -> Result<String> {
    let root = Command::new("id").arg("-u").output()?.stdout.starts_with(b"0\n");
    if root {
        return Ok("nobody".to_owned());
    }
    Ok(String::from_utf8(Command::new("id").arg("-un").output()?.stdout)?.trim().to_owned())
}

fn own(user: &str, path: &Path) -> Result<()> {
    let status = Command::new("chown").args(["-R", user]).arg(path).status()?;
    anyhow::ensure!(status.success(), "chown {user} {}", path.display());
    Ok(())
}

fn program() -> Result<PathBuf> {
    ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot", "/usr/bin/dovecot"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .context("Dovecot is missing; `make tools` installs it")
}

fn configuration(folder: &Path, port: u16, user: &str) -> String {
    let folder = folder.display();
    let root = user == "nobody";
    let internal = if root { "dovecot" } else { user };
    let login = if root { "dovenull" } else { user };
    let chroot =
        if root { "" } else { "service imap-login {\n  chroot =\n}\nservice anvil {\n  chroot =\n}\n" };
    format!(
        "protocols = imap
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
ssl = no
disable_plaintext_auth = no
default_internal_user = {internal}
default_login_user = {login}
first_valid_uid = 1
mail_location = maildir:{folder}/mail/%n
auth_username_format = %Ln
default_process_limit = 50
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {folder}/users
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%n
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
{chroot}",
        group = if root { "nogroup".to_owned() } else { group_of(user) },
    )
}

fn group_of(user: &str) -> String {
    let output = Command::new("id").args(["-gn", user]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
