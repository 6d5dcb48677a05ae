//! Loads the demo directory into an installation that has none yet, with a generated password for every user.
//!
//! What a person changed later (`hilo apply`) is never overwritten: a directory with campaigns is left alone.

use std::time::Duration;

use hilo_kit::auth::ServiceTokens;
use hilo_kit::config::{AuthConfig, Secret};
use hilo_kit::error::Error;
use hilo_kit::grpc;
use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::directory::v1::{Account, ApplyDirectoryRequest};
use hilo_proto::internal::v1::GetDirectoryRequest;
use hilo_proto::internal::v1::directory_feed_service_client::DirectoryFeedServiceClient;

use super::folder::{self, DataFolder, unusable};
use super::meta;
use super::ports::Ports;
use super::secrets::Secrets;

const TEMPLATE: &str = include_str!("../../demo/directory.yaml");
/// Hashing a few passwords and writing a few rows.
const DEADLINE: Duration = Duration::from_secs(30);
/// No 0, o, 1, l, i: passwords are read from a file and typed.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
const PASSWORD_LENGTH: usize = 16;

/// A user of the demo directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The demo directory was loaded just now.
    pub loaded: bool,
    /// The directory has the simulator's number, active.
    pub has_number: bool,
}

/// Applies the demo directory when there is none.
///
/// # Errors
/// What attention-state refuses.
pub async fn load_if_empty(folder: &DataFolder, ports: &Ports, secrets: &Secrets) -> Result<Found, Error> {
    let auth = AuthConfig {
        issuer: "hilo".to_owned(),
        verify_key: secrets.verify_key.clone(),
        service_secret: Secret::new(secrets.service_secret.clone()),
        oidc: None,
    };
    let url = format!("http://127.0.0.1:{}", ports.attention_state());
    let channel = grpc::internal(&url, &ServiceTokens::new(&auth, "hilo"))?;
    let question = grpc::with_deadline(GetDirectoryRequest { known_version: 0 }, DEADLINE);
    let present = DirectoryFeedServiceClient::new(channel.clone()).get_directory(question).await?;
    let present = present.into_inner().directory.unwrap_or_default();
    if !present.campaigns.is_empty() {
        let simulated = |account: &Account| {
            account.active && account.whatsapp.as_ref().is_some_and(|one| one.phone_number_id == meta::NUMBER)
        };
        return Ok(Found { loaded: false, has_number: present.accounts.iter().any(simulated) });
    }
    let logins = logins(folder)?;
    let request =
        ApplyDirectoryRequest { yaml: fill(TEMPLATE, ports, &logins), dry_run: false, prune: false };
    let mut client = DirectoryServiceClient::new(channel);
    let answer = client.apply_directory(grpc::with_deadline(request, DEADLINE)).await?.into_inner();
    if answer.errors.is_empty() {
        return Ok(Found { loaded: true, has_number: true });
    }
    let errors: Vec<String> =
        answer.errors.iter().map(|error| format!("{}: {}", error.path, error.reason)).collect();
    Err(Error::internal(
        "DEMO_DIRECTORY_REFUSED",
        format!("the demo directory was refused: {}", errors.join(", ")),
    ))
}

/// The logins of `agents.txt`, completed; written before they are used, so that no password is ever unknown.
fn logins(folder: &DataFolder) -> Result<Vec<Login>, Error> {
    let path = folder.agents();
    let known = match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unusable(&path, error)),
    };
    let logins: Vec<Login> = users(TEMPLATE)
        .into_iter()
        .map(|user| {
            let password = known.iter().find(|login| login.user == user).map(|login| login.password.clone());
            Login { user, password: password.unwrap_or_else(generate) }
        })
        .collect();
    let mut text = "# Users of the demo directory: name, password.\n".to_owned();
    for login in &logins {
        text.push_str(&format!("{} {}\n", login.user, login.password));
    }
    folder::write_private(&path, &text)?;
    Ok(logins)
}

fn parse(text: &str) -> Vec<Login> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(Login { user: words.next()?.to_owned(), password: words.next()?.to_owned() })
        })
        .collect()
}

const MARK: &str = "password: PASSWORD_OF_";

fn users(template: &str) -> Vec<String> {
    let marked = template.split(MARK).skip(1);
    marked
        .map(|rest| rest.chars().take_while(|letter| letter.is_ascii_uppercase()).collect::<String>())
        .map(|name| name.to_ascii_lowercase())
        .collect()
}

fn fill(template: &str, ports: &Ports, logins: &[Login]) -> String {
    let text = template.replace("port: MAILBOX_PORT", &format!("port: {}", ports.mailbox()));
    logins.iter().fold(text, |text, login| {
        let mark = format!("{MARK}{}}}", login.user.to_ascii_uppercase());
        text.replace(&mark, &format!("password: {}}}", login.password))
    })
}

fn generate() -> String {
    use rand::seq::IndexedRandom;
    let mut random = rand::rng();
    let letters = (0..PASSWORD_LENGTH).filter_map(|_| LETTERS.choose(&mut random));
    letters.map(|letter| char::from(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_gets_a_password_and_no_mark_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(directory.path()).unwrap();
        let first = logins(&folder).unwrap();
        assert_eq!(first.len(), 6);
        assert!(first.iter().all(|login| login.password.len() == PASSWORD_LENGTH));
        assert_eq!(logins(&folder).unwrap(), first);
        let text = fill(TEMPLATE, &Ports::new(8400).unwrap(), &first);
        let used: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(
            !used.iter().any(|line| line.contains("PASSWORD_OF_") || line.contains("MAILBOX_PORT")),
            "{text}"
        );
        assert!(text.contains("port: 8426"));
        for name in
            [meta::NUMBER, meta::BUSINESS_ACCOUNT, meta::APP_SECRET, meta::VERIFY_TOKEN, meta::ACCESS_TOKEN]
        {
            assert!(text.contains(name), "{name}");
        }
    }
}
