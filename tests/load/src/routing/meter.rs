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

/// What a part used.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// CPU cores on average.
    pub cores: f64,
    /// Largest memory, in KiB.
    pub most_kib: u64,
    /// How memory grew over the second half, in KiB per minute: least squares, so that one look more or less does not decide.
    pub slope_kib: f64,
}

/// CPU seconds between two looks; a process that was started again has counted from 0.
fn spent(earlier: &Usage, later: &Usage) -> f64 {
    if later.cpu_seconds >= earlier.cpu_seconds {
        later.cpu_seconds - earlier.cpu_seconds
    } else {
        later.cpu_seconds
    }
}

/// CPU cores used between each look and the one before, by part.
pub fn cores(samples: &[Sample]) -> BTreeMap<String, Vec<f64>> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for pair in samples.windows(2) {
        let [earlier, later] = pair else { continue };
        let seconds = (later.at - earlier.at).as_secs_f64().max(0.001);
        for (name, usage) in &later.parts {
            let before = earlier.parts.get(name).copied().unwrap_or_default();
            all.entry(name.clone()).or_default().push(spent(&before, usage) / seconds);
        }
    }
    all
}

/// Memory of each look in MiB, by part.
pub fn memory(samples: &[Sample]) -> BTreeMap<String, Vec<f64>> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, usage) in samples.iter().flat_map(|sample| &sample.parts) {
        all.entry(name.clone()).or_default().push(usage.resident_kib as f64 / 1_024.0);
    }
    all
}

/// What each part used.
pub fn used(samples: &[Sample]) -> BTreeMap<String, Used> {
    let mut all: BTreeMap<String, Used> = BTreeMap::new();
    for (name, cores) in cores(samples) {
        all.entry(name).or_default().cores = cores.iter().sum::<f64>() / cores.len().max(1) as f64;
    }
    for (name, used) in &mut all {
        let kib = |sample: &Sample| sample.parts.get(name).map(|usage| usage.resident_kib);
        used.most_kib = samples.iter().filter_map(kib).max().unwrap_or_default();
        let half = samples.get(samples.len() / 2..).unwrap_or_default();
        let points: Vec<(f64, f64)> = half
            .iter()
            .filter_map(|sample| Some((sample.at.as_secs_f64() / 60.0, kib(sample)? as f64)))
            .collect();
        used.slope_kib = slope(&points);
    }
    all
}

fn slope(points: &[(f64, f64)]) -> f64 {
    let many = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (x, y) = (x / many.max(1.0), y / many.max(1.0));
    let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
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

/// `VmRSS` of a process in KiB; 0 when it is gone.
pub fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line_through_the_points() {
        assert!((slope(&[(0.0, 10.0), (1.0, 12.0), (2.0, 14.0)]) - 2.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_process_that_began_anew_has_used_what_it_says() {
        let usage = |cpu_seconds| Usage { cpu_seconds, resident_kib: 0 };
        assert!((spent(&usage(5.0), &usage(7.0)) - 2.0).abs() < 1e-9);
        assert!((spent(&usage(5.0), &usage(1.0)) - 1.0).abs() < 1e-9);
    }
}
