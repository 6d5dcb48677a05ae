//! `hilo history export`: a stream of the service into a file, a folder of mails, or standard output.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use hilo_proto::history::v1::{ExportFormat, ExportThreadsRequest, ExportThreadsResponse};

use super::criteria::Criteria;
use crate::cli::installation::SignIn;
use crate::cli::session::Session;
use crate::cli::{Failure, Installation};

/// Arguments of `hilo history export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    sign_in: SignIn,
    #[command(flatten)]
    criteria: Criteria,
    /// json-lines, forms (a CSV row per thread with a form), mbox, or eml (a file per mail)
    #[arg(long, value_parser = ["json-lines", "forms", "mbox", "eml"], default_value = "json-lines")]
    format: String,
    /// File to write, for eml a folder [default: standard output, which eml cannot have]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
}

impl ExportArgs {
    /// Signs in, exports, and leaves whole files or none.
    ///
    /// # Errors
    /// When the sign-in or the export is refused or breaks off, or a file cannot be written.
    pub(super) async fn execute(&self, installation: &Installation) -> Result<(), Failure> {
        let format = match self.format.as_str() {
            "forms" => ExportFormat::FormsCsv,
            "mbox" => ExportFormat::Mbox,
            "eml" => ExportFormat::Eml,
            _ => ExportFormat::JsonLines,
        };
        if format == ExportFormat::Eml && self.out.is_none() {
            return Err(Failure::invalid(
                "FOLDER_REQUIRED",
                "--format eml writes a file per mail: name a folder by --out",
            ));
        }
        let search = Some(self.criteria.request()?);
        let session = Session::open(installation, &self.sign_in).await?;
        let request = session.stream_request(ExportThreadsRequest { search, format: format.into() });
        let mut stream = session.history().export_threads(request).await?.into_inner();
        let mut target = Target::new(format, self.out.as_deref())?;
        while let Some(piece) = stream.message().await? {
            target.write(&piece)?;
        }
        target.finish()
    }
}

/// Where an export goes.
#[derive(Debug)]
enum Target {
    Stdout,
    /// A file that gets its name when it is whole.
    File(Whole),
    /// A folder, and the mail being written.
    Folder(PathBuf, Option<Whole>),
}

impl Target {
    fn new(format: ExportFormat, out: Option<&Path>) -> Result<Self, Failure> {
        match out {
            None => Ok(Self::Stdout),
            Some(folder) if format == ExportFormat::Eml => {
                std::fs::create_dir_all(folder)?;
                Ok(Self::Folder(folder.to_owned(), None))
            }
            Some(path) => Ok(Self::File(Whole::begin(path)?)),
        }
    }

    fn write(&mut self, piece: &ExportThreadsResponse) -> Result<(), Failure> {
        match self {
            Self::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&piece.chunk)?;
                Ok(stdout.flush()?)
            }
            Self::File(file) => Ok(file.file.write_all(&piece.chunk)?),
            Self::Folder(folder, mail) => {
                if !piece.file_name.is_empty() {
                    if let Some(whole) = mail.take() {
                        whole.finish()?;
                    }
                    *mail = Some(Whole::begin(&folder.join(harmless(&piece.file_name)?))?);
                }
                match mail {
                    Some(whole) => Ok(whole.file.write_all(&piece.chunk)?),
                    None => Ok(()),
                }
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout | Self::Folder(_, None) => Ok(()),
            Self::File(whole) | Self::Folder(_, Some(whole)) => whole.finish(),
        }
    }
}

/// A server's file name is a name of ours, or none at all.
fn harmless(name: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.starts_with('.') && name.chars().all(fits) {
        true => Ok(name),
        false => Err(Failure::invalid("BAD_FILE_NAME", "the answer names a file that is no plain name")),
    }
}

/// A file under a name of its own until it is whole.
#[derive(Debug)]
struct Whole {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl Whole {
    fn begin(path: &Path) -> Result<Self, Failure> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part)?;
        Ok(Self { path: path.to_owned(), part, file })
    }

    fn finish(self) -> Result<(), Failure> {
        self.file.sync_all()?;
        Ok(std::fs::rename(&self.part, &self.path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(file_name: &str, chunk: &str) -> ExportThreadsResponse {
        ExportThreadsResponse { file_name: file_name.into(), chunk: chunk.into(), ..Default::default() }
    }

    #[test]
    fn files_have_their_names_only_when_they_are_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("todo.jsonl");
        let mut target = Target::new(ExportFormat::JsonLines, Some(&path)).expect("a file");
        target.write(&piece("", "{}")).expect("written");
        assert!(!path.exists());
        target.finish().expect("whole");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "{}");
    }

    #[test]
    fn mails_go_into_files_of_their_own_and_never_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut target = Target::new(ExportFormat::Eml, Some(folder.path())).expect("a folder");
        for one in [piece("1-1-0001.eml", "a"), piece("", "b"), piece("1-1-0002.eml", "c")] {
            target.write(&one).expect("written");
        }
        for hostile in ["../x.eml", "/etc/x", ".bashrc", "a b"] {
            assert_eq!(target.write(&piece(hostile, "x")).expect_err("refused").reason, "BAD_FILE_NAME");
        }
        target.finish().expect("whole");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("read");
        assert_eq!((read("1-1-0001.eml"), read("1-1-0002.eml")), ("ab".into(), "c".into()));
    }
}
