//! `hilo history export`: a stream of the service into a file, a folder of mails, or standard output.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use hilo_proto::history::v1::{ExportFormat, ExportThreadsRequest, ExportThreadsResponse};

use super::criteria::Criteria;
use crate::cli::installation::SignIn;
use crate::cli::session::Session;
use crate::cli::terminal::counted;
use crate::cli::{Exit, Failure, Installation};

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
    /// Signs in, exports, leaves whole files or none, and says on standard error what it wrote.
    ///
    /// # Errors
    /// When the sign-in or the export is refused or breaks off, or a file cannot be written; `NOTHING_FOUND` (exit code 4) when
    /// nothing fits: then no file is made and one that was there stays.
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
        let mut tally = Tally::new(format);
        while let Some(piece) = stream.message().await? {
            tally.take(&piece);
            target.write(&piece)?;
        }
        if tally.found == 0 {
            target.discard();
            return Err(Failure::new(Exit::Missing, "NOTHING_FOUND", tally.nothing()));
        }
        target.finish()?;
        if let Some(path) = &self.out {
            eprintln!("{} written to {}", tally.text(), path.display());
        }
        Ok(())
    }
}

/// Counts what an export holds while it passes; the pieces of a file may end anywhere.
#[derive(Debug)]
struct Tally {
    format: ExportFormat,
    found: usize,
    /// The table's first line names its columns.
    head: bool,
    /// Within a quoted cell of the table.
    quoted: bool,
    /// How much of [`SEPARATOR`] the line so far is; `None` when it is another line.
    matched: Option<usize>,
}

/// Begins every mail of an mbox, and no other line of one (RFC 4155).
const SEPARATOR: &[u8] = b"From ";

impl Tally {
    fn new(format: ExportFormat) -> Self {
        Self { format, found: 0, head: true, quoted: false, matched: Some(0) }
    }

    fn take(&mut self, piece: &ExportThreadsResponse) {
        match self.format {
            ExportFormat::Eml => self.found += usize::from(!piece.file_name.is_empty()),
            ExportFormat::Mbox => piece.chunk.iter().copied().for_each(|byte| self.mail(byte)),
            ExportFormat::FormsCsv => piece.chunk.iter().copied().for_each(|byte| self.row(byte)),
            ExportFormat::JsonLines | ExportFormat::Records | ExportFormat::Unspecified => {
                self.found += piece.chunk.iter().filter(|byte| **byte == b'\n').count();
            }
        }
    }

    fn mail(&mut self, byte: u8) {
        if byte == b'\n' {
            self.matched = Some(0);
            return;
        }
        let before = self.matched.filter(|matched| SEPARATOR.get(*matched) == Some(&byte));
        self.matched = before.map(|matched| matched + 1);
        self.found += usize::from(self.matched == Some(SEPARATOR.len()));
    }

    fn row(&mut self, byte: u8) {
        match byte {
            // A doubled quote within a cell (RFC 4180) ends it and begins it again.
            b'"' => self.quoted = !self.quoted,
            b'\n' if !self.quoted && self.head => self.head = false,
            b'\n' if !self.quoted => self.found += 1,
            _ => {}
        }
    }

    fn mails(&self) -> bool {
        matches!(self.format, ExportFormat::Mbox | ExportFormat::Eml)
    }

    fn text(&self) -> String {
        counted(self.found, if self.mails() { "mail" } else { "thread" })
    }

    fn nothing(&self) -> &'static str {
        match self.format {
            ExportFormat::FormsCsv => "no ended thread with a form fits",
            ExportFormat::JsonLines
            | ExportFormat::Mbox
            | ExportFormat::Eml
            | ExportFormat::Records
            | ExportFormat::Unspecified => "no ended thread fits",
        }
    }
}

/// A failure of the file system names the path it is about.
fn about(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::new(Exit::Failed, "IO", format!("{}: {error}", path.display()))
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
                std::fs::create_dir_all(folder).map_err(about(folder))?;
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
            Self::File(file) => file.write(&piece.chunk),
            Self::Folder(folder, mail) => {
                if !piece.file_name.is_empty() {
                    if let Some(whole) = mail.take() {
                        whole.finish()?;
                    }
                    *mail = Some(Whole::begin(&folder.join(harmless(&piece.file_name)?))?);
                }
                match mail {
                    Some(whole) => whole.write(&piece.chunk),
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

    /// Leaves nothing behind of what was not worth a file.
    fn discard(self) {
        match self {
            Self::Stdout | Self::Folder(_, None) => {}
            Self::File(whole) | Self::Folder(_, Some(whole)) => {
                // What cannot be removed is named as a part, so nobody takes it for an export.
                let _ = std::fs::remove_file(&whole.part);
            }
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
        let file = File::create(&part).map_err(about(&part))?;
        Ok(Self { path: path.to_owned(), part, file })
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.file.write_all(chunk).map_err(about(&self.part))
    }

    fn finish(self) -> Result<(), Failure> {
        self.file.sync_all().map_err(about(&self.part))?;
        std::fs::rename(&self.part, &self.path).map_err(about(&self.path))
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
    fn what_was_exported_is_counted_wherever_the_pieces_end() {
        let rows = "number,note\r\n1,\"two\nlines, \"\"quoted\"\"\"\r\n2,From\r\n";
        let mails = "From a@x Sat\nFrom: a@x\n\nRnJvbSA=\n\nFrom b@x Sat\nTo: c@x\n\n";
        for (format, text, expected) in [
            (ExportFormat::JsonLines, "{}\n", "1 thread"),
            (ExportFormat::FormsCsv, rows, "2 threads"),
            (ExportFormat::FormsCsv, "number,note\r\n", "0 threads"),
            (ExportFormat::Mbox, mails, "2 mails"),
        ] {
            for size in 1..=text.len() {
                let mut tally = Tally::new(format);
                for chunk in text.as_bytes().chunks(size) {
                    tally.take(&ExportThreadsResponse { chunk: chunk.to_vec(), ..Default::default() });
                }
                assert_eq!(tally.text(), expected, "{format:?} in pieces of {size}");
            }
        }
        let mut tally = Tally::new(ExportFormat::Eml);
        [piece("1.eml", ""), piece("", "From \n")].iter().for_each(|one| tally.take(one));
        assert_eq!(tally.text(), "1 mail");
    }

    #[test]
    fn nothing_found_leaves_what_was_there_and_a_wrong_path_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("reclamos.csv");
        std::fs::write(&path, "of yesterday").expect("written");
        let mut target = Target::new(ExportFormat::FormsCsv, Some(&path)).expect("a file");
        target.write(&piece("", "number\r\n")).expect("written");
        target.discard();
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "of yesterday");
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 1);
        let missing = folder.path().join("no/such/reclamos.csv");
        let failure = Target::new(ExportFormat::FormsCsv, Some(&missing)).expect_err("refused");
        assert!(failure.message.contains("no/such/reclamos.csv"), "{failure}");
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
