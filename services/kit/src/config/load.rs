//! Reads, merges and checks a configuration, collecting every error before giving up.

use std::path::Path;

use figment::error::{Actual, Kind};
use figment::providers::{Format, Yaml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile as FigmentProfile};
use serde::de::DeserializeOwned;

use super::{Problems, SECTIONS, Section, ServiceConfig};
use crate::error::Error;

const PREFIX: &str = "HILO__";
const COMMON: &[&str] = &["nats", "telemetry", "auth", "objects", "endpoints", "profile"];
/// Errors reported per part; a file with more is wrong in a more basic way.
const MAX_ERRORS: usize = 50;

/// Loads the configuration of the service whose section is `section_name` (`email-ingest`, ...) from the file and
/// this process's environment.
///
/// # Errors
/// `INVALID_CONFIG` with one field violation per problem.
pub fn load<S: Section>(section_name: &str, file: Option<&Path>) -> Result<ServiceConfig<S>, Error> {
    let text = match file {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            Error::invalid("INVALID_CONFIG", format!("{} cannot be read", path.display())).with_source(error)
        })?),
        None => None,
    };
    load_from(section_name, text.as_deref(), std::env::vars())
}

/// Like [`load`], from a text and given environment variables.
///
/// # Errors
/// `INVALID_CONFIG` with one field violation per problem.
pub fn load_from<S: Section>(
    section_name: &str,
    yaml: Option<&str>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<ServiceConfig<S>, Error> {
    let mut problems = Problems::default();
    let mut root = parse_yaml(yaml.unwrap_or_default())?;
    for (name, value) in environment {
        if let Some(path) = name.strip_prefix(PREFIX) {
            apply_variable(&mut root, path, value, &name, &mut problems);
        }
    }
    for key in root.keys() {
        if !COMMON.contains(&key.as_str()) && !SECTIONS.contains(&key.as_str()) && key != section_name {
            problems.add(key, "unknown section");
        }
    }
    let nats = part::<super::NatsConfig>(&root, "nats", &mut problems);
    let telemetry = part::<super::TelemetryConfig>(&root, "telemetry", &mut problems);
    let auth = part::<super::AuthConfig>(&root, "auth", &mut problems);
    let objects = part::<super::ObjectsConfig>(&root, "objects", &mut problems);
    let endpoints = part::<super::Endpoints>(&root, "endpoints", &mut problems);
    let profile = match root.get("profile") {
        Some(value) => extract(value.clone(), "profile", &mut problems),
        None => Some(super::Profile::default()),
    };
    let section = part::<S>(&root, section_name, &mut problems);
    validate(&mut problems, "nats", &nats, super::NatsConfig::validate);
    validate(&mut problems, "auth", &auth, super::AuthConfig::validate);
    validate(&mut problems, "endpoints", &endpoints, super::Endpoints::validate);
    validate(&mut problems, section_name, &section, S::validate);
    match (nats, telemetry, auth, objects, endpoints, profile, section) {
        (
            Some(nats),
            Some(telemetry),
            Some(auth),
            Some(objects),
            Some(endpoints),
            Some(profile),
            Some(section),
        ) if problems.is_empty() => {
            Ok(ServiceConfig { nats, telemetry, auth, objects, endpoints, profile, section })
        }
        _ => Err(refuse(problems)),
    }
}

fn refuse(mut problems: Problems) -> Error {
    let text = format!("the configuration has {} problem(s)", problems.found.len());
    problems.found.sort();
    let error = Error::invalid("INVALID_CONFIG", text);
    problems.found.into_iter().fold(error, |error, (path, why)| error.field(path, why))
}

fn validate<T>(problems: &mut Problems, at: &str, part: &Option<T>, check: impl Fn(&T, &mut Problems)) {
    if let Some(part) = part {
        problems.prefix = at.to_owned();
        check(part, problems);
        problems.prefix.clear();
    }
}

fn parse_yaml(text: &str) -> Result<Dict, Error> {
    if text.trim().is_empty() {
        return Ok(Dict::new());
    }
    Figment::from(Yaml::string(text)).select(FigmentProfile::Default).extract::<Dict>().map_err(|error| {
        Error::invalid("INVALID_CONFIG", "the configuration is not a YAML mapping")
            .field("", error.to_string())
    })
}

/// Puts one environment variable into the tree. `__` separates levels; the first level's `_` may stand for `-`.
fn apply_variable(root: &mut Dict, path: &str, raw: String, name: &str, problems: &mut Problems) {
    let mut keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
    if let Some(first) = keys.first_mut() {
        let dashed = first.replace('_', "-");
        if SECTIONS.contains(&dashed.as_str()) {
            *first = dashed;
        }
    }
    let Some(mut last) = keys.pop() else { return };
    let value = match last.strip_suffix("_file").map(str::to_owned) {
        Some(key) => {
            last = key;
            match std::fs::read_to_string(&raw) {
                Ok(content) => Value::from(content.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => return problems.add(name, format!("its file cannot be read: {error}")),
            }
        }
        None => Value::from(raw),
    };
    let mut at = root;
    for key in keys {
        let next = at.entry(key).or_insert_with(|| Value::from(Dict::new()));
        if !matches!(next, Value::Dict(..)) {
            *next = Value::from(Dict::new());
        }
        let Value::Dict(_, dict) = next else { return };
        at = dict;
    }
    at.insert(last, value);
}

/// The number, truth value or list that a text spells in YAML. Variables are texts until something else is wanted, so
/// that a secret made of digits stays what it is.
fn spelled(text: &str) -> Option<Value> {
    let parsed = Figment::from(Yaml::string(&format!("value: {text}"))).extract_inner::<Value>("value");
    match parsed {
        Ok(value @ (Value::Bool(..) | Value::Num(..) | Value::Array(..))) => Some(value),
        _ => None,
    }
}

fn part<T: DeserializeOwned>(root: &Dict, name: &str, problems: &mut Problems) -> Option<T> {
    extract(root.get(name).cloned().unwrap_or_else(|| Value::from(Dict::new())), name, problems)
}

/// Deserialises; after an error the offending key is repaired or removed and the rest is read again, so that the
/// next error is found as well.
fn extract<T: DeserializeOwned>(value: Value, name: &str, problems: &mut Problems) -> Option<T> {
    let mut value = value;
    let mut failed = false;
    let mut guesses: std::collections::HashMap<Vec<String>, usize> = std::collections::HashMap::new();
    for _ in 0..MAX_ERRORS * 5 {
        let error = match T::deserialize(&value) {
            Ok(read) => return (!failed).then_some(read),
            Err(error) => error,
        };
        let mut path = error.path.clone();
        if let Kind::InvalidType(Actual::Str(text), _) = &error.kind
            && let Some(wanted) = spelled(text)
            && put(&mut value, &path, Some(wanted))
        {
            continue;
        }
        failed = true;
        let missing = match &error.kind {
            Kind::MissingField(field) => Some(field.to_string()),
            _ => None,
        };
        let unknown = match &error.kind {
            Kind::UnknownField(field, _) => Some(field.clone()),
            _ => None,
        };
        if let Some(field) = missing.clone().or(unknown)
            && path.last() != Some(&field)
        {
            path.push(field);
        }
        let tried = guesses.get(&path).copied();
        if tried.is_none() {
            let at =
                std::iter::once(name.to_owned()).chain(path.iter().cloned()).collect::<Vec<_>>().join(".");
            problems.add(at, describe(&error.kind));
        }
        let next = tried.map_or(0, |tried| tried + 1);
        let guess = if missing.is_some() || tried.is_some() { placeholder(next) } else { None };
        if (missing.is_some() || tried.is_some()) && guess.is_none() {
            return None;
        }
        if guess.is_some() {
            guesses.insert(path.clone(), next);
        }
        if path.is_empty() || !put(&mut value, &path, guess) {
            return None;
        }
    }
    None
}

/// Stand-ins for a missing value, tried in turn, only to reach the errors behind it.
fn placeholder(turn: usize) -> Option<Value> {
    match turn {
        0 => Some(Value::from(Dict::new())),
        1 => Some(Value::from("127.0.0.1:1".to_owned())),
        2 => Some(Value::from(1u16)),
        3 => Some(Value::from(false)),
        4 => Some(Value::from(Vec::<Value>::new())),
        _ => None,
    }
}

/// Replaces (or with `None` removes) what is at the path; `false` when the path does not lead through mappings.
fn put(value: &mut Value, path: &[String], new: Option<Value>) -> bool {
    let (Value::Dict(_, dict), Some((first, rest))) = (value, path.split_first()) else { return false };
    if rest.is_empty() {
        return match new {
            Some(new) => {
                dict.insert(first.clone(), new);
                true
            }
            None => dict.remove(first).is_some(),
        };
    }
    dict.get_mut(first).is_some_and(|inner| put(inner, rest, new))
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::MissingField(_) => "is missing".to_owned(),
        Kind::UnknownField(_, known) => format!("unknown key; known are {}", known.join(", ")),
        // The value itself is left out: it may be a secret.
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => format!("must be {expected}"),
        Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DatabaseConfig, GrpcConfig, Profile};

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        grpc: GrpcConfig,
        database: DatabaseConfig,
        #[serde(default)]
        days: u32,
    }

    impl Section for Own {
        fn validate(&self, problems: &mut Problems) {
            self.database.validate(problems, "database");
            problems.require(self.days < 100, "days", "must be below 100");
        }
    }

    fn keys() -> String {
        let keys = crate::auth::generate_keys().unwrap();
        let pem = keys.verify_key.replace('\n', "\\n");
        format!("auth: {{ verify_key: \"{pem}\", service_secret: {} }}\n", keys.service_secret.expose())
    }

    const SECTION: &str =
        "history: { grpc: { listen: 127.0.0.1:8473 }, database: { url: postgres://x/h } }\n";

    fn read(yaml: &str, environment: &[(&str, &str)]) -> Result<ServiceConfig<Own>, Error> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load_from("history", Some(yaml), environment)
    }

    fn problems(error: &Error) -> Vec<&str> {
        error.violations().iter().map(|violation| violation.field.as_str()).collect()
    }

    #[test]
    fn defaults_file_and_environment_in_this_order() {
        let yaml = format!(
            "{}{SECTION}nats: {{ prefix: ours }}\nprofile: production\nrouting: {{ anything: 1 }}\n",
            keys()
        );
        let config = read(&yaml, &[]).unwrap();
        assert_eq!(config.nats.url, "nats://127.0.0.1:8422", "default");
        assert_eq!(config.nats.prefix, "ours", "file");
        assert_eq!(config.profile, Profile::Production);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "postgres://secret/h\n").unwrap();
        let path = file.path().display().to_string();
        let environment = [
            ("HILO__NATS__PREFIX", "theirs"),
            ("HILO__HISTORY__DAYS", "7"),
            ("HILO__TELEMETRY__JSON", "false"),
            ("HILO__AUTH__SERVICE_SECRET", "00000000000000000000000000000042"),
            ("HILO__HISTORY__DATABASE__URL_FILE", path.as_str()),
            ("HILO__EMAIL_INGEST__SMTP__LISTEN", "tolerated"),
            ("HILO_FAULT_DIR", "not ours"),
        ];
        let config = read(&yaml, &environment).unwrap();
        assert_eq!((config.nats.prefix.as_str(), config.section.days), ("theirs", 7));
        assert!(!config.telemetry.json);
        assert_eq!(
            config.auth.service_secret.expose(),
            "00000000000000000000000000000042",
            "digits stay a text"
        );
        assert_eq!(config.section.grpc.listen.port(), 8473);
        assert_eq!(config.section.database.url.expose(), "postgres://secret/h");
        assert!(!format!("{config:?}").contains("secret/h"), "secrets are never printed");
    }

    #[test]
    fn every_error_is_reported_at_once_with_its_path() {
        let yaml = "
nats: { prefix: 'Not A Token', urll: x }
telemetry: { json: maybe }
endpoints: { routing: nowhere }
surprise: {}
history: { grpc: { listen: here, extra: 1 }, days: 1000, dayz: 2 }
";
        let error = read(yaml, &[]).unwrap_err();
        assert_eq!(error.reason(), "INVALID_CONFIG");
        let found = problems(&error);
        for wanted in [
            "nats.urll",
            "telemetry.json",
            "auth.service_secret",
            "auth.verify_key",
            "endpoints.routing",
            "surprise",
            "history.grpc.listen",
            "history.grpc.extra",
            "history.dayz",
            "history.database",
        ] {
            assert!(found.contains(&wanted), "{wanted} is missing in {found:?}");
        }
    }

    #[test]
    fn validation_names_the_path_inside_the_section() {
        let yaml = format!("{}{}", keys(), SECTION.replace("postgres://", "mysql://"));
        let error = read(&yaml, &[("HILO__HISTORY__DAYS", "100"), ("HILO__NATS__PREFIX", "A")]).unwrap_err();
        assert_eq!(problems(&error), ["history.database.url", "history.days", "nats.prefix"]);
        assert!(!error.to_string().contains("mysql"), "values may be secrets");
    }

    #[test]
    fn a_text_that_is_no_mapping_and_a_missing_file_are_said() {
        assert_eq!(read("- 1\n- 2\n", &[]).unwrap_err().reason(), "INVALID_CONFIG");
        let missing = load::<Own>("history", Some(Path::new("/nowhere/hilo.yaml"))).unwrap_err();
        assert!(missing.message().contains("/nowhere/hilo.yaml"));
        let error = read(&format!("{}{SECTION}", keys()), &[("HILO__AUTH__SERVICE_SECRET_FILE", "/nowhere")])
            .unwrap_err();
        assert_eq!(problems(&error), ["HILO__AUTH__SERVICE_SECRET_FILE"]);
    }
}
