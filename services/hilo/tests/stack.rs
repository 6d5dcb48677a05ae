//! The embedded stack as a person meets it: started, stopped, killed, started on what was left. On a real PostgreSQL
//! and a real nats-server, through the binary.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a step that fails ends its test")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

/// The wheel that `make tools` installs, when nothing else was named: the build folder may lie outside the repository.
fn nats_server() -> Option<(&'static str, PathBuf)> {
    let wheel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.hilo/tools/venv/bin/nats-server");
    (std::env::var_os("HILO_NATS_SERVER").is_none() && wheel.exists()).then_some(("HILO_NATS_SERVER", wheel))
}

/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// `hilo run --parts-only` on a folder; killed when dropped.
struct Stack {
    child: Child,
    folder: PathBuf,
    said: String,
}

fn hilo(folder: &Path, port_base: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hilo"));
    command.args(["run", "--parts-only", "--port-base", &port_base.to_string(), "--data"]).arg(folder);
    command.envs(nats_server()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Stack {
    /// Starts and waits until it says that it runs.
    fn start(folder: &Path) -> Self {
        let mut child = hilo(folder, 0).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("nats-server run;") {
            let before = said.len();
            lines.read_line(&mut said).unwrap();
            if said.len() == before {
                let mut errors = String::new();
                child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                panic!("did not start: {said}{errors}");
            }
        }
        // Whoever prints into a closed pipe is killed, so somebody must go on reading.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, folder: folder.to_owned(), said }
    }

    /// Process ids of PostgreSQL and nats-server.
    fn parts(&self) -> [u32; 2] {
        self.parts_now().map(Option::unwrap)
    }

    /// While a part is started again its file may be missing or empty.
    fn parts_now(&self) -> [Option<u32>; 2] {
        ["postgres.pid", "nats.pid"]
            .map(|name| std::fs::read_to_string(self.folder.join("run").join(name)).ok()?.trim().parse().ok())
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(mut self) {
        self.signal("INT");
        assert!(self.wait().success());
    }

    async fn database(&self) -> PgConnection {
        let yaml: serde_yaml_ng::Value =
            serde_yaml_ng::from_str(&read(&self.folder.join("hilo.yaml"))).unwrap();
        let url = yaml["history"]["database"]["url"].as_str().unwrap();
        PgConnection::connect(url).await.unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, name: &str) {
    // The shell's own kill: a minimal machine has no program of that name (it comes with procps).
    let line = format!("kill -s {name} {pid}");
    assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A zombie does not count: its parent, this test's process tree, has not fetched it yet.
fn alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}

fn gone_soon(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| alive(*pid)) {
        assert!(Instant::now() < deadline, "{pids:?} still run");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that other users may enter, so that root's PostgreSQL needs no capability.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn refused(folder: &Path, port_base: u16) -> String {
    let output = hilo(folder, port_base).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn ctrl_c_leaves_no_process_and_a_second_start_keeps_the_data() {
    let folder = folder();
    let mut first = Stack::start(folder.path());
    let mut database = first.database().await;
    sqlx::query("create table kept (word text)").execute(&mut database).await.unwrap();
    sqlx::query("insert into kept values ('still here')").execute(&mut database).await.unwrap();
    let secrets = read(&folder.path().join("secrets.json"));
    let parts = first.parts();
    first.signal("INT");
    assert!(first.wait().success());
    assert!(parts.iter().all(|pid| !alive(*pid)), "something outlived the stack");
    assert!(!folder.path().join("run/nats.pid").exists() && !folder.path().join("run/postgres.pid").exists());

    let second = Stack::start(folder.path());
    let word: String =
        sqlx::query_scalar("select word from kept").fetch_one(&mut second.database().await).await.unwrap();
    assert_eq!(word, "still here");
    assert_eq!(read(&folder.path().join("secrets.json")), secrets);
    second.stop();
}

#[test]
fn sigterm_stops_it_as_well() {
    let folder = folder();
    let mut stack = Stack::start(folder.path());
    let parts = stack.parts();
    stack.signal("TERM");
    assert!(stack.wait().success());
    assert!(parts.iter().all(|pid| !alive(*pid)));
}

#[test]
fn kill_9_takes_the_parts_along() {
    let folder = folder();
    let mut stack = Stack::start(folder.path());
    let parts = stack.parts();
    stack.signal("KILL");
    stack.wait();
    gone_soon(&parts);
    Stack::start(folder.path()).stop();
}

#[test]
fn a_part_that_dies_is_started_again() {
    let folder = folder();
    let stack = Stack::start(folder.path());
    let [postgres, nats] = stack.parts();
    signal(nats, "KILL");
    signal(postgres, "KILL");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let again = |now: Option<u32>, before| now.is_some_and(|pid| pid != before && alive(pid));
        let [now_postgres, now_nats] = stack.parts_now();
        if again(now_postgres, postgres) && again(now_nats, nats) {
            break;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    stack.stop();
}

#[test]
fn a_postgres_left_behind_is_ended_and_a_foreign_one_is_not() {
    let folder = folder();
    let stack = Stack::start(folder.path());
    let [postgres, _] = stack.parts();
    let command = std::fs::read(format!("/proc/{postgres}/cmdline")).unwrap();
    let program = std::fs::read_link(format!("/proc/{postgres}/exe")).unwrap();
    let status = read(Path::new(&format!("/proc/{postgres}/status")));
    let user =
        status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().split_whitespace().next().unwrap();
    let arguments: Vec<String> = command
        .split(|byte| *byte == 0)
        .skip(1)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    let arguments: Vec<String> = arguments.iter().take(arguments.len() - 1).cloned().collect();
    let own = Command::new("id").arg("-u").output().unwrap().stdout;
    let root = String::from_utf8_lossy(&own).trim() == "0";
    let user = user.to_owned();
    stack.stop();

    // The same server on the same folder, without the death signal: what a killed stack of another kind could leave.
    let mut left = Command::new("setpriv");
    if root {
        left.args([format!("--reuid={user}"), "--clear-groups".to_owned()]);
    }
    let mut left = left
        .arg("--")
        .arg(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = folder.path().join("pg/data/postmaster.pid");
    let deadline = Instant::now() + PATIENCE;
    while !pid_file.exists() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let reaper = std::thread::spawn(move || left.wait().unwrap());
    let stack = Stack::start(folder.path());
    assert!(stack.said.contains("ended a PostgreSQL that an earlier run left behind"), "{}", stack.said);
    reaper.join().unwrap();
    stack.stop();

    // A stale pid file whose number a foreign process has now: that one lives on.
    let mut foreign = Command::new("sleep").arg("120").spawn().unwrap();
    std::fs::write(&pid_file, format!("{}\n", foreign.id())).unwrap();
    std::fs::write(folder.path().join("run/nats.pid"), format!("{}\n", foreign.id())).unwrap();
    Stack::start(folder.path()).stop();
    assert!(foreign.try_wait().unwrap().is_none());
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

#[test]
fn an_occupied_port_is_named_before_anything_is_started() {
    let folder = folder();
    // A block that is free, below the range that outgoing connections take their ports from; its nats port is ours.
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
    let (base, taken) = (300..327u16)
        .map(|step| step * 100)
        .filter(|base| {
            [70, 71, 72, 73, 74, 75, 25, 26, 23, 32].iter().all(|offset| free(base + offset).is_some())
        })
        .find_map(|base| Some((base, free(base + 22)?)))
        .unwrap();
    let said = refused(folder.path(), base);
    assert!(
        said.contains(&format!(
            "port {} (nats-server) is in use by process {}",
            base + 22,
            std::process::id()
        )),
        "{said}"
    );
    assert!(!folder.path().join("pg").exists() && !folder.path().join("secrets.json").exists());
    drop(taken);
}

#[test]
fn a_second_stack_on_the_same_folder_is_told_who_runs() {
    let folder = folder();
    let stack = Stack::start(folder.path());
    let said = refused(folder.path(), 0);
    assert!(said.contains("already running") && said.contains(&stack.child.id().to_string()), "{said}");
    stack.stop();
}

#[test]
fn a_half_initialised_folder_is_healed_and_a_damaged_one_refused() {
    let folder = folder();
    // Interrupted before anything was moved into place.
    std::fs::create_dir_all(folder.path().join("pg/data.new/base")).unwrap();
    std::fs::write(folder.path().join("pg/data.new/PG_VERSION"), "15\n").unwrap();
    // And something in its place that was never completed.
    std::fs::create_dir_all(folder.path().join("pg/data/base")).unwrap();
    let stack = Stack::start(folder.path());
    assert!(stack.said.contains("was moved to") && stack.said.contains("was thrown away"), "{}", stack.said);
    stack.stop();

    // A database that was complete once is never touched.
    std::fs::remove_file(folder.path().join("pg/data/global/pg_control")).unwrap();
    let said = refused(folder.path(), 0);
    assert!(said.contains("DATABASE_DAMAGED") && said.contains("make clean-data"), "{said}");
    assert!(folder.path().join("pg/data/base").exists());
}

#[test]
fn killed_while_the_database_is_made() {
    let folder = folder();
    for milliseconds in [30, 120, 250] {
        let mut child = hilo(folder.path(), 0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    Stack::start(folder.path()).stop();
}

#[test]
fn a_folder_that_only_its_owner_may_enter_will_do() {
    let outer = tempfile::tempdir().unwrap();
    std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    Stack::start(&outer.path().join("data")).stop();
}

#[test]
fn a_missing_tool_names_the_command_that_installs_it() {
    let folder = folder();
    for variable in ["PG_BIN", "HILO_NATS_SERVER"] {
        let output = hilo(folder.path(), 0).env(variable, "/nowhere").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("TOOL_MISSING") && said.contains("make tools"),
            "{said}"
        );
    }
    let data = folder.path().join("pg/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("PG_VERSION"), "9\n").unwrap();
    let said = refused(folder.path(), 0);
    assert!(said.contains("OTHER_POSTGRES_VERSION") && said.contains("PostgreSQL 9"), "{said}");
}
