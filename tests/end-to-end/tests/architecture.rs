//! The rules of the house that a compiler does not know: who may depend on whom, what a domain may use, that contracts
//! and files say what they are for, and that nothing of a developer's machine is written into the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Services that know each other only through contracts and subjects.
const SERVICES: [&str; 5] = ["email-ingest", "whatsapp-ingest", "routing", "attention-state", "history"];
/// What a domain never touches: it is synchronous and gets time, ids and randomness as arguments.
const OUTSIDE: [&str; 4] = ["tokio", "sqlx", "tonic", "async_nats"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace is where this crate is")
}

/// Files of the repository, relative to its root: what git tracks or would track.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output();
    let listed = listed.expect("git is one of the named prerequisites");
    assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let files: Vec<PathBuf> = text.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    let files: Vec<PathBuf> = files.into_iter().filter(|file| root().join(file).is_file()).collect();
    assert!(files.len() > 50, "only {} files found", files.len());
    files
}

/// Text files with their content.
fn texts() -> Vec<(PathBuf, String)> {
    let read = |file: PathBuf| std::fs::read_to_string(root().join(&file)).ok().map(|text| (file, text));
    files().into_iter().filter_map(read).collect()
}

fn with_extension(extension: &str) -> Vec<(PathBuf, String)> {
    texts().into_iter().filter(|(file, _)| file.extension().is_some_and(|one| one == extension)).collect()
}

/// Names of the dependencies in a manifest, of every kind.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            if let Some((kind, name)) = section.rsplit_once('.')
                && kind.ends_with("dependencies")
            {
                names.push(name.to_owned());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            names.extend(line.split(['.', ' ', '=']).next().map(str::to_owned));
        }
    }
    names
}

#[test]
fn no_service_depends_on_another() {
    let crates: Vec<String> = SERVICES.iter().map(|service| format!("hilo-{service}")).collect();
    let mut below = SERVICES.to_vec();
    below.push("kit");
    for service in below {
        let path = root().join("services").join(service).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).expect("every service has a manifest");
        let names = dependencies(&manifest);
        assert!(names.len() > 5, "{service}: the manifest was not understood");
        for name in names {
            let own = name == format!("hilo-{service}");
            assert!(
                own || !crates.contains(&name),
                "{service} depends on {name}: services meet in proto/ and on NATS"
            );
        }
    }
}

#[test]
fn the_manifest_reader_sees_every_form() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n[dev-dependencies]\nc = { path = \"c\" }\n\
                    [target.'cfg(unix)'.dependencies]\nd = \"1\"\n[dependencies.e]\nversion = \"1\"\n[features]\nf = []\n";
    assert_eq!(dependencies(manifest), ["a", "b", "c", "d", "e"]);
}

fn is_domain(file: &Path) -> bool {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
    parts.first().is_some_and(|first| first == "services")
        && parts.iter().any(|part| part == "domain" || part == "domain.rs")
}

/// True when code (not comment) names the crate in a path or an attribute.
fn uses(line: &str, name: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let word = |at: usize| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            && (after.starts_with("::")
                || (code.trim_start().starts_with("use ") && after.starts_with([';', ' ', ','])))
    };
    code.match_indices(name).any(|(at, _)| word(at))
}

#[test]
fn domains_are_plain_rust() {
    assert!(uses("use tokio::sync::Mutex;", "tokio") && uses("    #[tokio::test]", "tokio"));
    assert!(!uses("// tokio::spawn", "tokio") && !uses("let mytokio::x", "tokio"));
    let mut seen = std::collections::BTreeSet::new();
    for (file, text) in with_extension("rs").into_iter().filter(|(file, _)| is_domain(file)) {
        seen.extend(file.iter().nth(1).map(|service| service.to_string_lossy().into_owned()));
        for (number, line) in text.lines().enumerate() {
            for name in OUTSIDE {
                assert!(!uses(line, name), "{}:{}: a domain uses {name}", file.display(), number + 1);
            }
        }
    }
    for service in ["attention-state", "email-ingest", "history", "routing"] {
        assert!(seen.contains(service), "{service} has no domain folder");
    }
}

/// Lines of a contract that declare something and need a comment before them.
fn declares(line: &str) -> bool {
    let line = line.trim();
    let first = line.split_whitespace().next().unwrap_or_default();
    match first {
        "" | "}" | "//" | "syntax" | "package" | "import" | "option" | "reserved" => false,
        "message" | "enum" | "service" | "rpc" | "oneof" => true,
        _ => line.contains('=') && line.ends_with([';', '{', '[']),
    }
}

#[test]
fn everything_in_the_contracts_is_commented() {
    let contracts = with_extension("proto");
    assert!(contracts.len() > 5, "only {} contracts", contracts.len());
    for (file, text) in contracts {
        let mut before = "";
        let mut fields = 0;
        for (number, line) in text.lines().enumerate() {
            if declares(line) {
                fields += 1;
                let commented = before.trim().starts_with("//");
                assert!(commented, "{}:{}: no comment before `{}`", file.display(), number + 1, line.trim());
            }
            before = line;
        }
        assert!(fields > 0, "{} declares nothing", file.display());
    }
}

#[test]
fn the_event_catalogue_is_the_enum() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect(path);
    let declared: std::collections::BTreeSet<String> = read("proto/hilo/event/v1/event.proto")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("EVENT_TYPE_")?.split_once(" = "))
        .map(|(name, _)| name.to_lowercase())
        .filter(|name| name != "unspecified")
        .collect();
    let listed: std::collections::BTreeSet<String> = read("proto/README.md")
        .lines()
        .skip_while(|line| !line.starts_with("| type `hilo.attention.v1"))
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    assert!(declared.len() > 10, "the enum was not understood");
    assert_eq!(declared, listed, "proto/README.md lists every event type, and no other");
}

#[test]
fn every_source_file_says_why_it_exists() {
    let silent: Vec<_> = with_extension("rs")
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(file, _)| file)
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top of {silent:?}");
}

#[test]
fn nothing_of_a_developers_machine_is_written_down() {
    // Put together here, so that this file does not hold what it looks for. Where this clone lies is one of them.
    let forbidden =
        [["/wo", "rk/"], ["/var/tmp/", "hilo/"], ["../", "shared"], ["/ho", "me/"], ["/Us", "ers/"]];
    let mut forbidden = forbidden.map(|halves| halves.concat()).to_vec();
    forbidden.push(format!("{}/", root().display()));
    let mut found = Vec::new();
    for (file, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            found.extend(
                forbidden
                    .iter()
                    .filter(|one| line.contains(one.as_str()))
                    .map(|one| format!("{}:{}: {one}", file.display(), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "machine paths:\n{}", found.join("\n"));
}
