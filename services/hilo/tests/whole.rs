//! `hilo run` with all five services, as a newcomer starts it: ready, a person can sign in through the public port,
//! a second start keeps everything, data of a newer release is refused.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a step that fails ends its test")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hilo_kit::grpc::Bearer;
use hilo_proto::directory::v1::GetDirectoryRequest;
use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::identity::v1::LoginRequest;
use hilo_proto::identity::v1::identity_service_client::IdentityServiceClient;
use sqlx::{Connection, PgConnection};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// The wheel that `make tools` installs, when nothing else was named: the build folder may lie outside the repository.
fn nats_server() -> Option<(&'static str, PathBuf)> {
    let wheel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.hilo/tools/venv/bin/nats-server");
    (std::env::var_os("HILO_NATS_SERVER").is_none() && wheel.exists()).then_some(("HILO_NATS_SERVER", wheel))
}

/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

struct Running {
    child: Child,
    said: String,
    /// The rest of what it says, until it ends.
    rest: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hilo"))
            .args(["run", "--port-base", "0", "--data"])
            .arg(folder)
            .envs(nats_server())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("history search") {
            let before = said.len();
            lines.read_line(&mut said).unwrap();
            if said.len() == before {
                let mut errors = String::new();
                child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                let log = std::fs::read_to_string(folder.join("log/hilo.log")).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(10).collect();
                panic!("did not start: {said}{errors}\n{}", end.join("\n"));
            }
        }
        let rest = std::thread::spawn(move || {
            let mut rest = String::new();
            lines.read_to_string(&mut rest).map(|_| rest).unwrap_or_default()
        });
        Self { child, said, rest: Some(rest) }
    }

    fn stop(mut self) {
        let begun = Instant::now();
        // The shell's own kill: a minimal machine has no program of that name (it comes with procps).
        let line = format!("kill -s INT {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                let rest = self.rest.take().unwrap().join().unwrap();
                let mut errors = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                assert_eq!((rest.lines().last(), errors.as_str()), (Some("== stopped"), ""), "{rest}");
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "still running");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stack(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("stack.json")).unwrap()).unwrap()
}

/// Names of the campaigns, as a user sees them through the public port.
async fn campaigns(folder: &Path, user: &str) -> Vec<String> {
    let agents = std::fs::read_to_string(folder.join("agents.txt")).unwrap();
    let line = agents.lines().find(|line| line.starts_with(&format!("{user} "))).unwrap();
    let password = line.split_whitespace().nth(1).unwrap().to_owned();
    let front = stack(folder)["front"].as_str().unwrap().to_owned();
    let channel = Channel::from_shared(front).unwrap().connect().await.unwrap();
    let login = LoginRequest { user: user.to_owned(), password };
    let token = IdentityServiceClient::new(channel.clone()).login(login).await.unwrap().into_inner().token;
    let mut directory = DirectoryServiceClient::new(InterceptedService::new(channel, Bearer(token)));
    let answer = directory.get_directory(GetDirectoryRequest {}).await.unwrap().into_inner();
    answer.directory.unwrap_or_default().campaigns.into_iter().map(|campaign| campaign.name).collect()
}

async fn database(folder: &Path, section: &str) -> PgConnection {
    let text = std::fs::read_to_string(folder.join("hilo.yaml")).unwrap();
    let yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    PgConnection::connect(yaml[section]["database"]["url"].as_str().unwrap()).await.unwrap()
}

/// What a command of the README prints; `typed` is its input.
fn hilo(folder: &Path, words: &[&str], typed: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hilo"));
    command.args(words).env("HILO_DATA", folder).env_remove("HILO_PHONE").env_remove("HILO_ENDPOINT");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Asks the customer's phone until it shows the text.
fn phone_shows(folder: &Path, text: &str) -> String {
    let begun = Instant::now();
    loop {
        let chat = hilo(folder, &["phone", "read", "--of", "51999111222"], "");
        if chat.contains(text) {
            return chat;
        }
        assert!(begun.elapsed() < PATIENCE, "the phone does not show {text:?}: {chat}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_plays_customer_and_agent_of_whatsapp_with_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path());
    let data = folder.path();
    let rosa =
        ["phone", "send", "--from", "+51999111222", "--name", "Rosa Quispe", "--text", "¿Llegó mi pedido?"];
    assert!(hilo(data, &rosa, "").contains("is new here"));
    let desk = hilo(data, &["desk", "--as", "ana"], "wait 60\nopen\nreply Lo revisamos.\n");
    assert!(desk.contains("Rosa Quispe  ¿Llegó mi pedido?  [mensajes, WhatsApp 23:"), "{desk}");
    assert!(desk.contains("24 h: 23:") && desk.contains("[🕓 queued]"), "{desk}");
    let chat = phone_shows(data, "    Lo revisamos.");
    assert!(chat.contains("business  text"), "{chat}");
    first.stop();

    // The phones outlive a restart with the rest; the attention goes on, by number and window.
    let second = Running::start(data);
    phone_shows(data, "    Lo revisamos.");
    hilo(data, &["phone", "reply", "--of", "51999111222", "--text", "Gracias."], "");
    let late = ["phone", "send", "--from", "51988000111", "--text", "Escribí ayer", "--ago", "86400"];
    hilo(data, &late, "");
    let desk =
        hilo(data, &["desk", "--as", "ana", "--channel", "whatsapp"], "wait 60\nopen #1\nreply De nada.\n");
    assert!(desk.contains("window closed"), "{desk}");
    phone_shows(data, "    De nada.");
    let desk = hilo(data, &["desk", "--as", "ana"], "open #1\nform motivo=Consulta\nend\n");
    assert!(desk.contains("[✓✓ ") && desk.ends_with("interaction ended, attention closed\n"), "{desk}");
    second.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_starts_signs_in_stops_and_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = Running::start(folder.path());
    let lines = first.said.lines().skip_while(|line| !line.starts_with("Hilo is running")).count();
    assert!(lines > 0 && lines <= 12, "{}", first.said);
    assert!(first.said.contains("demo directory loaded"), "{}", first.said);
    assert!(first.said.contains("WhatsApp webhooks subscribed"), "{}", first.said);
    let agents = folder.path().join("agents.txt");
    assert_eq!(std::fs::metadata(&agents).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(campaigns(folder.path(), "ana").await, ["Mensajes de WhatsApp", "Soporte técnico"]);
    assert_eq!(campaigns(folder.path(), "coordinadora").await.len(), 3);
    let passwords = std::fs::read_to_string(&agents).unwrap();
    for password in passwords.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)) {
        assert!(!first.said.contains(password), "a password was printed");
    }
    first.stop();
    assert!(!folder.path().join("stack.json").exists());

    let second = Running::start(folder.path());
    assert!(!second.said.contains("demo directory"), "{}", second.said);
    assert!(second.said.contains("WhatsApp webhooks subscribed"), "{}", second.said);
    assert_eq!(std::fs::read_to_string(&agents).unwrap(), passwords);
    assert_eq!(campaigns(folder.path(), "rosa").await, ["Ventas"]);

    // A migration that this binary does not know: a newer release was here.
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                 values (99990101000000, 'of a newer release', true, '', 0)";
    sqlx::query(newer).execute(&mut database(folder.path(), "history").await).await.unwrap();
    second.stop();
    let refused = Command::new(env!("CARGO_BIN_EXE_hilo"))
        .args(["run", "--port-base", "0", "--data"])
        .arg(folder.path())
        .envs(nats_server())
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("written by a newer Hilo"), "{said}");
}
