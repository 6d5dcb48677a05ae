//! CPU time and memory of every process of a run, from `/proc`: the services by name, PostgreSQL and nats-server with all their
//! children, and the generator itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Kernel clock ticks per second; 100 on every Linux this runs on (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;
const EVERY: Duration = Duration::from_secs(1);

/// What a part had used at an instant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds since the part began.
    pub cpu_seconds: f64,
    /// Resident KiB; PostgreSQL's count shared memory once per process, so theirs is left out.
    pub resident_kib: u64,
}

/// One look at all parts.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When, from the beginning.
    pub at: Duration,
    /// Usage by part.
    pub parts: BTreeMap<String, Usage>,
}

/// Looks once a second until dropped.
#[derive(Debug)]
pub struct Meter {
    samples: Arc<Mutex<Vec<Sample>>>,
    task: JoinHandle<()>,
}

impl Meter {
    /// Starts looking.
    pub fn start() -> Self {
        let samples: Arc<Mutex<Vec<Sample>>> = Arc::default();
        let shared = Arc::clone(&samples);
        let begun = Instant::now();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                ticks.tick().await;
                shared.lock().push(Sample { at: begun.elapsed(), parts: usage() });
            }
        });
        Self { samples, task }
    }

    /// All looks so far, with one of now.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = self.samples.lock().clone();
        if let Some(first) = samples.first().map(|first| first.at) {
            samples.iter_mut().for_each(|sample| sample.at = sample.at.saturating_sub(first));
        }
        samples
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// CPU cores used by each part between the first and the last sample, and its largest memory.
pub fn used(samples: &[Sample]) -> BTreeMap<String, (f64, u64)> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return BTreeMap::new() };
    let seconds = (last.at - first.at).as_secs_f64().max(0.001);
    let cores = |(name, end): (&String, &Usage)| {
        let begin = first.parts.get(name).map_or(0.0, |usage| usage.cpu_seconds);
        let most =
            samples.iter().filter_map(|sample| sample.parts.get(name)).map(|usage| usage.resident_kib).max();
        (name.clone(), ((end.cpu_seconds - begin) / seconds, most.unwrap_or_default()))
    };
    last.parts.iter().map(cores).collect()
}

struct Seen {
    parent: u32,
    ticks: f64,
}

/// Everything this process started, and itself.
pub fn usage() -> BTreeMap<String, Usage> {
    let processes = processes();
    let own = std::process::id();
    let mut parts: BTreeMap<String, Usage> = BTreeMap::new();
    for (id, seen) in &processes {
        let mut top = *id;
        while let Some(parent) = processes.get(&top).map(|one| one.parent).filter(|_| top != own)
            && parent != own
        {
            top = parent;
        }
        let belongs = top == own || processes.get(&top).is_some_and(|one| one.parent == own);
        if let Some(name) = belongs.then(|| name(top, own)).flatten() {
            let memory = if name == "postgres" { 0 } else { resident(*id) };
            let part = parts.entry(name).or_default();
            part.cpu_seconds += seen.ticks / TICKS;
            part.resident_kib += memory;
        }
    }
    parts
}

fn name(process: u32, own: u32) -> Option<String> {
    if process == own {
        return Some("generator".to_owned());
    }
    let line = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let program = words.first()?.rsplit('/').next()?.split(':').next()?.to_owned();
    match program.as_str() {
        "hilo" => words.iter().skip_while(|word| *word != "run").nth(1).cloned(),
        "postgres" | "nats-server" => Some(program),
        _ => Some("others".to_owned()),
    }
}

fn processes() -> BTreeMap<u32, Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    ids.filter_map(|id| Some((id, seen(id)?))).collect()
}

/// `/proc/PID/stat` (proc(5)): the name may hold anything, so counting begins behind its last parenthesis. Children that ended
/// count with their parent.
fn seen(process: u32) -> Option<Seen> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
    let parent = fields.get(1)?.parse().ok()?;
    Some(Seen { parent, ticks: number(14)? + number(15)? + number(16)? + number(17)? })
}

fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or_default()
}
