//! Where the house is: what `hilo run` wrote into its data folder, overridden by arguments and environment.

use std::path::{Path, PathBuf};

use hilo_kit::config::AuthConfig;
use secrecy::{ExposeSecret as _, SecretString};
use serde_yaml_ng::Value;

use super::{Exit, Failure};

/// Where a local `hilo run` puts the public gRPC port when nothing else is said.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8470";
/// Where a local `hilo run` takes mail.
const DEFAULT_SMTP: &str = "127.0.0.1:8425";
/// Where a local `hilo run` has its broker.
const DEFAULT_NATS: &str = "nats://127.0.0.1:8422";
/// Where a local `hilo run` simulates Meta's Cloud API.
const DEFAULT_PHONE: &str = "http://127.0.0.1:8460";
/// Larger files are not a configuration.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Arguments every command has in common.
#[derive(Clone, Debug, clap::Args)]
pub struct Installation {
    /// Data folder of a local `hilo run`; addresses and passwords are read from it
    #[arg(long, env = "HILO_DATA", default_value = ".hilo", value_name = "FOLDER", global = true)]
    pub data: PathBuf,
    /// Public gRPC endpoint [default: from the data folder, else http://127.0.0.1:8470]
    #[arg(long, env = "HILO_ENDPOINT", value_name = "URL", global = true)]
    pub endpoint: Option<String>,
}

/// Who signs in.
#[derive(Clone, Debug, clap::Args)]
pub struct SignIn {
    /// User to sign in as; may be left out with a token in the variable HILO_TOKEN
    #[arg(long = "as", value_name = "USER")]
    pub user: Option<String>,
    /// File whose first line is the password [default: HILO_PASSWORD, else agents.txt in the data folder]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// What the data folder says; everything has a default, so a missing folder is no failure.
#[derive(Clone, Debug)]
pub struct Local {
    data: PathBuf,
    /// `stack.json`, which a running stack writes: where it can be reached.
    stack: Value,
    /// `hilo.yaml`, the services' configuration.
    config: Value,
}

impl Installation {
    /// Reads `stack.json` and `hilo.yaml` of the data folder; a missing one is empty.
    ///
    /// # Errors
    /// When one is there but cannot be read or understood.
    pub fn local(&self) -> Result<Local, Failure> {
        let stack = document(&self.data.join("stack.json"))?;
        Ok(Local { data: self.data.clone(), stack, config: document(&self.data.join("hilo.yaml"))? })
    }

    /// The public endpoint.
    ///
    /// # Errors
    /// As [`Installation::local`].
    pub fn endpoint(&self) -> Result<String, Failure> {
        match &self.endpoint {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Ok(self.local()?.endpoint()),
        }
    }
}

impl SignIn {
    /// The user, who must be named where no token says who it is.
    ///
    /// # Errors
    /// `USER_MISSING`.
    pub fn user(&self) -> Result<&str, Failure> {
        let missing = || {
            let failure = Failure::invalid("USER_MISSING", "say who you are: --as USER");
            failure.detail("or put a token of the identity provider into the variable HILO_TOKEN")
        };
        self.user.as_deref().ok_or_else(missing)
    }

    /// The password of `user`: file, `HILO_PASSWORD`, `agents.txt` of the data folder, in this order.
    ///
    /// # Errors
    /// `PASSWORD_UNKNOWN` when none of them has one.
    pub fn password(&self, installation: &Installation, user: &str) -> Result<SecretString, Failure> {
        if let Some(path) = &self.password_file {
            let text = read_small(path)
                .map_err(|error| Failure::invalid("PASSWORD_FILE", format!("{}: {error}", path.display())))?;
            return Ok(SecretString::from(text.lines().next().unwrap_or_default().trim().to_owned()));
        }
        if let Ok(password) = std::env::var("HILO_PASSWORD") {
            return Ok(SecretString::from(password));
        }
        installation.local()?.password(user).ok_or_else(|| {
            let known = installation.local().map(|local| local.users().join(", ")).unwrap_or_default();
            let failure = Failure::new(
                Exit::Denied,
                "PASSWORD_UNKNOWN",
                format!(
                    "there is no password for {user} in {}",
                    installation.data.join("agents.txt").display()
                ),
            );
            let failure = if known.is_empty() { failure } else { failure.detail(format!("it has: {known}")) };
            failure.detail("give one by --password-file FILE or the variable HILO_PASSWORD")
        })
    }
}

impl Local {
    /// The public gRPC endpoint.
    pub fn endpoint(&self) -> String {
        text(&self.stack, &["front"]).unwrap_or(DEFAULT_ENDPOINT).to_owned()
    }

    /// Where mail is handed in by SMTP, `host:port`.
    pub fn smtp(&self) -> String {
        let configured = || text(&self.config, &["email-ingest", "smtp", "listen"]);
        text(&self.stack, &["smtp"]).or_else(configured).unwrap_or(DEFAULT_SMTP).to_owned()
    }

    /// Address of the simulator of WhatsApp's Cloud API.
    pub fn phone(&self) -> String {
        text(&self.stack, &["phone"]).unwrap_or(DEFAULT_PHONE).to_owned()
    }

    /// URL of the broker.
    pub fn nats(&self) -> String {
        text(&self.stack, &["nats"])
            .or_else(|| text(&self.config, &["nats", "url"]))
            .unwrap_or(DEFAULT_NATS)
            .to_owned()
    }

    /// Prefix of subjects and streams.
    pub fn prefix(&self) -> String {
        let configured = || text(&self.config, &["nats", "prefix"]);
        text(&self.stack, &["prefix"]).or_else(configured).unwrap_or("hilo").to_owned()
    }

    /// Internal endpoints of the services, by name, with hyphens.
    pub fn services(&self) -> Vec<(String, String)> {
        let endpoints = self.config.get("endpoints").and_then(Value::as_mapping);
        let entries = endpoints.into_iter().flatten();
        entries
            .filter_map(|(name, url)| Some((name.as_str()?.replace('_', "-"), url.as_str()?.to_owned())))
            .collect()
    }

    /// The keys that services sign and verify with; `None` without a configuration file.
    pub fn auth(&self) -> Option<AuthConfig> {
        serde_yaml_ng::from_value(self.config.get("auth")?.clone()).ok()
    }

    /// Folder into which the local SMTP catcher writes what Hilo sent.
    pub fn outbox(&self) -> PathBuf {
        self.data.join("outbox")
    }

    /// Folder in which email-ingest looks for the secrets that the directory names.
    pub fn secrets_folder(&self) -> PathBuf {
        let configured = text(&self.config, &["email-ingest", "secrets"]);
        configured.map_or_else(|| self.data.join("secrets"), PathBuf::from)
    }

    /// Takes a lock in the data folder, held as long as the file is; the kernel gives it back when the process ends.
    ///
    /// # Errors
    /// `LOCKED` when another process has it.
    pub fn lock(&self, name: &str) -> Result<std::fs::File, Failure> {
        let file = std::fs::File::create(self.data.join(name))?;
        let held = |_| {
            Failure::new(
                Exit::Rejected,
                "LOCKED",
                format!("another process holds {name} in {}", self.data.display()),
            )
        };
        file.try_lock().map_err(held)?;
        Ok(file)
    }

    /// The password `hilo run` generated for a user.
    pub fn password(&self, user: &str) -> Option<SecretString> {
        let text = SecretString::from(read_small(&self.data.join("agents.txt")).ok()?);
        let entry = parse_agents(text.expose_secret()).into_iter().find(|(key, _)| key == user)?;
        Some(SecretString::from(entry.1))
    }

    /// Users with a generated password.
    pub fn users(&self) -> Vec<String> {
        let text = read_small(&self.data.join("agents.txt")).unwrap_or_default();
        parse_agents(&text).into_iter().map(|(key, _)| key).collect()
    }
}

fn text<'a>(document: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(document, |value, key| value.get(*key)).and_then(Value::as_str)
}

/// Reads a YAML (or JSON, which is YAML) file; `Null` when it is not there.
fn document(path: &Path) -> Result<Value, Failure> {
    let unreadable =
        |why: String| Failure::invalid("CONFIG_UNREADABLE", format!("{}: {why}", path.display()));
    match read_small(path) {
        Ok(text) => serde_yaml_ng::from_str(&text).map_err(|error| unreadable(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Lines `user password …`; `#` starts a comment, a colon or equals sign after the user is allowed.
fn parse_agents(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line
                .split(|c: char| c.is_whitespace() || c == ':' || c == '=')
                .filter(|word| !word.is_empty());
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

fn read_small(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_FILE_BYTES {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    std::fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(files: &[(&str, &str)]) -> (tempfile::TempDir, Installation) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let installation = Installation { data: folder.path().to_owned(), endpoint: None };
        (folder, installation)
    }

    #[test]
    fn everything_has_a_default() {
        let (_folder, installation) = installation(&[]);
        let local = installation.local().expect("no file is fine");
        assert_eq!(local.endpoint(), DEFAULT_ENDPOINT);
        assert_eq!(
            (local.smtp().as_str(), local.nats().as_str(), local.prefix().as_str()),
            (DEFAULT_SMTP, DEFAULT_NATS, "hilo")
        );
        assert_eq!(local.phone(), DEFAULT_PHONE);
        assert!(local.services().is_empty());
    }

    #[test]
    fn the_data_folder_says_where_things_are() {
        let yaml = "nats: {url: 'nats://127.0.0.1:9422', prefix: prueba}\nauth: {service_secret: s}\n\
                    endpoints: {attention_state: 'http://127.0.0.1:9471'}\nemail-ingest: {smtp: {listen: '127.0.0.1:9425'}}\n";
        let stack = r#"{"front": "http://127.0.0.1:9470", "smtp": "127.0.0.1:9426", "phone": "http://127.0.0.1:9460"}"#;
        let agents = "# user password\nana  secreto-1\nluis: secreto-2  Luis Paz\n";
        let (_folder, installation) =
            installation(&[("hilo.yaml", yaml), ("stack.json", stack), ("agents.txt", agents)]);
        let local = installation.local().expect("valid");
        assert_eq!(local.endpoint(), "http://127.0.0.1:9470");
        assert_eq!(
            (local.smtp().as_str(), local.nats().as_str()),
            ("127.0.0.1:9426", "nats://127.0.0.1:9422")
        );
        assert_eq!(local.auth().expect("auth").service_secret.expose(), "s");
        assert_eq!((local.prefix().as_str(), local.phone().as_str()), ("prueba", "http://127.0.0.1:9460"));
        assert_eq!(
            local.services(),
            vec![("attention-state".to_owned(), "http://127.0.0.1:9471".to_owned())]
        );
        assert_eq!(local.password("ana").expect("ana").expose_secret(), "secreto-1");
        assert_eq!(local.password("luis").expect("luis").expose_secret(), "secreto-2");
        assert!(local.password("nadie").is_none());
        assert_eq!(installation.endpoint().expect("endpoint"), "http://127.0.0.1:9470");
    }

    #[test]
    fn a_broken_file_is_named() {
        let (_folder, installation) = installation(&[("hilo.yaml", "a: [1,\n")]);
        let failure = installation.local().expect_err("broken");
        assert_eq!(failure.reason, "CONFIG_UNREADABLE");
    }
}
