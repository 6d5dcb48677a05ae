//! `hilo apply`: brings the directory to what a file says, all or nothing; every error is shown with its line.

use std::path::PathBuf;

use hilo_proto::directory::v1::{ApplyDirectoryRequest, ApplyDirectoryResponse};

use super::installation::SignIn;
use super::session::Session;
use super::terminal::{Output, clean};
use super::{Failure, Installation};

/// The contract's limit.
const MAX_YAML_BYTES: u64 = 1024 * 1024;

/// Arguments of `hilo apply`.
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    installation: Installation,
    #[command(flatten)]
    sign_in: SignIn,
    /// Directory file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// Only validate and show the difference
    #[arg(long)]
    dry_run: bool,
    /// Switch off what the file leaves out, instead of only naming it
    #[arg(long)]
    prune: bool,
}

/// Runs `hilo apply`.
///
/// # Errors
/// `DIRECTORY_INVALID` (exit code 2) when the file has errors; nothing was applied then.
pub async fn execute(args: ApplyArgs) -> Result<(), Failure> {
    let name = args.file.display().to_string();
    let unreadable = |error: std::io::Error| Failure::invalid("FILE_UNREADABLE", format!("{name}: {error}"));
    if std::fs::metadata(&args.file).map_err(unreadable)?.len() > MAX_YAML_BYTES {
        return Err(Failure::invalid("FILE_TOO_LARGE", format!("{name}: a directory has at most 1 MiB")));
    }
    let yaml = std::fs::read_to_string(&args.file).map_err(unreadable)?;
    let session = Session::open(&args.installation, &args.sign_in).await?;
    let request = session.request(ApplyDirectoryRequest { yaml, dry_run: args.dry_run, prune: args.prune });
    let answer = session.directory().apply_directory(request).await?.into_inner();
    print(&name, args.dry_run, &answer, &mut Output::stdout())
}

fn print(
    name: &str,
    dry_run: bool,
    answer: &ApplyDirectoryResponse,
    output: &mut Output,
) -> Result<(), Failure> {
    for error in &answer.errors {
        let line = format!("{name}:{}: {} {}: {}", error.line, error.reason, error.path, error.message);
        output.line(clean(&line))?;
    }
    if !answer.errors.is_empty() {
        let count = answer.errors.len();
        let message = format!("{count} error{}; nothing was applied", if count == 1 { "" } else { "s" });
        return Err(Failure::invalid("DIRECTORY_INVALID", message));
    }
    for difference in &answer.differences {
        output.line(clean(difference))?;
    }
    for omitted in &answer.omitted {
        output.line(clean(&format!(
            "! {omitted} is not in the file and stays as it is (--prune switches it off)"
        )))?;
    }
    output.line(match (answer.differences.is_empty(), dry_run) {
        (true, _) => format!("nothing changes, version {} stays", answer.version),
        (false, true) => format!("valid; nothing was applied (dry run), version {} stays", answer.version),
        (false, false) => format!("applied, version {}", answer.version),
    })
}

#[cfg(test)]
mod tests {
    use hilo_proto::directory::v1::DirectoryError;

    use super::*;

    #[test]
    fn all_errors_are_shown_by_line() {
        let error = |line: i32, path: &str| DirectoryError {
            line,
            path: path.to_owned(),
            reason: "UNKNOWN_USER".to_owned(),
            message: "there is no user zoe".to_owned(),
        };
        let answer = ApplyDirectoryResponse {
            version: 3,
            differences: vec![],
            errors: vec![error(4, "a"), error(9, "b")],
            omitted: vec![],
        };
        let mut output = Output::kept();
        let failure = print("d.yaml", false, &answer, &mut output).expect_err("errors");
        assert_eq!((failure.exit.code(), failure.message.as_str()), (2, "2 errors; nothing was applied"));
        assert_eq!(
            output.take(),
            vec![
                "d.yaml:4: UNKNOWN_USER a: there is no user zoe",
                "d.yaml:9: UNKNOWN_USER b: there is no user zoe"
            ]
        );
    }

    #[test]
    fn the_difference_is_shown_and_a_dry_run_says_so() {
        let answer = ApplyDirectoryResponse {
            version: 3,
            differences: vec!["+ campaign ventas".to_owned()],
            errors: vec![],
            omitted: vec!["user zoe".to_owned()],
        };
        let mut output = Output::kept();
        print("d.yaml", true, &answer, &mut output).expect("valid");
        assert_eq!(
            output.take(),
            vec![
                "+ campaign ventas",
                "! user zoe is not in the file and stays as it is (--prune switches it off)",
                "valid; nothing was applied (dry run), version 3 stays"
            ]
        );
    }
}
