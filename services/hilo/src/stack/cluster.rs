//! Makes PostgreSQL's data folder, and heals one whose making was interrupted.

use std::fs;
use std::path::Path;

use hilo_kit::error::Error;

use super::account::Account;
use super::folder::{self, DataFolder, unusable};
use super::postgres::data;
use super::progress::Progress;
use super::secrets::Secrets;
use super::tools::Tools;

/// How the folder of an initialisation that is not complete begins; the rest makes it unique.
const UNFINISHED: &str = "data.new";

/// Makes the cluster where there is none; answers whether it did. The cluster is made beside its place and moved there
/// when it is complete, so whatever stands in its place without having been completed has no data in it yet.
///
/// # Errors
/// `DATABASE_DAMAGED` when a folder that was complete once is not any more; `START_FAILED` with what initdb says.
pub async fn initialise(
    tools: &Tools,
    folder: &DataFolder,
    secrets: &Secrets,
    account: &Account,
    progress: &Progress,
) -> Result<bool, Error> {
    let data = data(folder);
    let completed = folder.postgres().join("completed");
    if data.join("PG_VERSION").is_file() && data.join("global/pg_control").is_file() {
        if !completed.exists() {
            folder::write_private(&completed, "")?;
        }
        return Ok(false);
    }
    if completed.exists() && data.exists() {
        return Err(Error::corrupt(
            "DATABASE_DAMAGED",
            format!(
                "{} held a database and lacks its control files now; put a backup back, or start over with \
                 `make clean-data`",
                data.display()
            ),
        ));
    }
    if data.exists() {
        let aside = folder.postgres().join(format!("data.incomplete-{}", uuid::Uuid::now_v7().simple()));
        fs::rename(&data, &aside).map_err(|error| unusable(&data, error))?;
        progress.note(&format!("healed: a half-made database folder was moved to {}", aside.display()));
    }
    if discard_unfinished(&folder.postgres())? {
        progress.note("healed: an interrupted initialisation of the database was thrown away");
    }
    let unfinished = folder.postgres().join(format!("{UNFINISHED}{}", uuid::Uuid::now_v7().simple()));
    init_database(tools, folder, secrets, account, &unfinished).await?;
    fs::rename(&unfinished, &data).map_err(|error| unusable(&data, error))?;
    folder::write_private(&completed, "")?;
    Ok(true)
}

/// Removes what interrupted initialisations left, and answers whether there was anything. A process of the interrupted
/// initdb may live an instant longer than initdb and still write into its folder: every initialisation therefore has a
/// folder name of its own, and one that cannot be removed yet is left to the next start.
fn discard_unfinished(postgres: &Path) -> Result<bool, Error> {
    let mut found = false;
    for entry in fs::read_dir(postgres).map_err(|error| unusable(postgres, error))? {
        let entry = entry.map_err(|error| unusable(postgres, error))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            found = true;
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(found)
}

async fn init_database(
    tools: &Tools,
    folder: &DataFolder,
    secrets: &Secrets,
    account: &Account,
    target: &Path,
) -> Result<(), Error> {
    let password_file = folder.postgres().join("password");
    folder::write_private(&password_file, &secrets.postgres_password)?;
    account.give(&password_file)?;
    let output = tokio::process::Command::new(&tools.setpriv)
        .args(account.privileges())
        .args(["--pdeathsig", "KILL", "--"])
        .arg(tools.postgres.join("initdb"))
        .arg("-D")
        .arg(target)
        .args([
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ])
        .arg("--pwfile")
        .arg(&password_file)
        .current_dir("/")
        .process_group(0)
        .output()
        .await;
    let _ = fs::remove_file(&password_file);
    let output = output.map_err(|error| {
        Error::unavailable("START_FAILED", "initdb could not be started").with_source(error)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::unavailable("START_FAILED", format!("initdb failed: {said}")))
}
