//! The configuration in `deploy/base` is read the way each service reads it, with its secrets as files.
#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::path::Path;
use std::process::Command;

use hilo_kit::auth::generate_keys;

/// Every variable that a Deployment of the base sets for a secret, as `NAME=file`.
fn secret_variables(folder: &Path) -> Vec<(String, String)> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/base");
    let keys = generate_keys().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(base).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        for line in text.lines().filter(|line| line.contains("name: HILO__")) {
            let name = line.split("name: ").nth(1).unwrap().split(',').next().unwrap().to_owned();
            let content = match name.rsplit("__").next().unwrap() {
                "URL_FILE" => "postgres://hilo:secret@db.example/hilo".to_owned(),
                "VERIFY_KEY_FILE" => keys.verify_key.clone(),
                "SIGNING_KEY_FILE" => keys.signing_key.expose().to_owned(),
                _ => keys.service_secret.expose().to_owned(),
            };
            let file = folder.join(&name);
            std::fs::write(&file, content).unwrap();
            found.push((name, file.to_str().unwrap().to_owned()));
        }
    }
    found
}

fn check(variables: &[(String, String)]) -> (bool, String) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/base/hilo.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_hilo"))
        .args(["config", "check", "--config"])
        .arg(config)
        .env_clear()
        .envs(variables.iter().cloned())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_service_accepts_the_base_with_its_secrets_and_names_what_is_missing_without() {
    let folder = tempfile::tempdir().unwrap();
    let variables = secret_variables(folder.path());
    assert!(variables.len() >= 8, "{variables:?}");
    let (accepted, said) = check(&variables);
    assert!(accepted, "{said}");

    let (accepted, said) = check(&[]);
    assert!(!accepted);
    for path in
        ["auth.verify_key", "auth.service_secret", "attention-state.signing_key", "email-ingest.database"]
    {
        assert!(said.contains(path), "{path} in {said}");
    }
}
