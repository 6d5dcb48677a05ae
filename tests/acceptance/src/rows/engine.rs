//! The routing engine alone, by its own benchmark, which stands beside this program.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::report::{Measured, Verdict};
use crate::targets::Engine;

/// Runs `engine_bench` and reads what it prints.
///
/// # Errors
/// When it is not there, fails, or prints something else.
pub fn run(target: &Engine) -> Result<Measured> {
    let own = std::env::current_exe().context("this program")?;
    let program = own.parent().context("its folder")?.join("examples/engine_bench");
    let output = Command::new(&program).args(["targets", "--json"]).output().with_context(|| {
        format!("{}; `cargo build --release -p hilo-routing --example engine_bench`", program.display())
    })?;
    anyhow::ensure!(output.status.success(), "engine_bench: {}", output.status);
    let printed: Value = serde_json::from_slice(&output.stdout).context("what engine_bench prints")?;
    let (rates, ratios) = (every(&printed, "decisions_per_second"), every(&printed, "ratio"));
    anyhow::ensure!(
        !rates.is_empty() && !ratios.is_empty(),
        "engine_bench printed something else: {printed}"
    );
    let slowest = rates.iter().copied().fold(f64::MAX, f64::min);
    let dearest = ratios.iter().copied().fold(0.0, f64::max);
    let figure = format!(
        "{slowest:.0} decisions/s in the slowest of {} modes; cost at 500,000 waiting {dearest:.2} times that at 1,000",
        rates.len()
    );
    let holds = slowest >= target.decisions_per_second_at_least && dearest <= target.cost_at_most_times;
    let verdict = if holds { Verdict::Pass(figure) } else { Verdict::Fail(figure) };
    Ok(Measured::from(verdict).with("decisions_per_second", slowest).with("cost_times", dearest))
}

/// The figures of a name.
fn every(printed: &Value, name: &str) -> Vec<f64> {
    let figures = printed.get("figures").and_then(Value::as_array);
    figures.into_iter().flatten().filter_map(|figure| figure.get(name)?.as_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::every;

    #[test]
    fn what_the_benchmark_prints_is_read() {
        let printed = serde_json::json!({"measured": "targets", "figures": [
            {"mode": "Random", "decisions_per_second": 1_700_000.0, "with_skills_and_priorities": 900_000.0},
            {"wide": false, "ns_at_1000": 676.0, "ns_at_500000": 1_120.0, "ratio": 1.66},
        ]});
        assert_eq!(every(&printed, "decisions_per_second"), [1_700_000.0]);
        assert_eq!(every(&printed, "ratio"), [1.66]);
        assert!(every(&printed, "anything").is_empty());
    }
}
