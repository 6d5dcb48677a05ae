//! Named places where a fault test may stop and kill this process. Without `HILO_FAULT_DIR` they cost one load.
//!
//! Protocol, by files in that directory: `<point>.armed` exists, the process renames it to `<point>.reached`
//! (content: its pid) and waits until `<point>.released` exists or it is killed. The rename is atomic, so exactly one
//! process takes an armed point, and the test knows that the kill lands there. Who goes on takes `<point>.reached` away, so that
//! the point is not armed anew, and the release forgotten, before he has seen it.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

static DIRECTORY: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("HILO_FAULT_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from));

/// A point named `<service>.<step>` that a fault test can arm.
pub async fn point(name: &str) {
    if let Some(directory) = DIRECTORY.as_deref() {
        stop_if_armed(directory, name).await;
    }
}

/// The point `<owner>.<step>`, for code that works on behalf of several owners; the name is only built in fault tests.
pub async fn point_of(owner: &str, step: &str) {
    if let Some(directory) = DIRECTORY.as_deref() {
        stop_if_armed(directory, &format!("{owner}.{step}")).await;
    }
}

async fn stop_if_armed(directory: &Path, name: &str) {
    let armed = directory.join(format!("{name}.armed"));
    let reached = directory.join(format!("{name}.reached"));
    let taken = directory.join(format!("{name}.{}.taking", std::process::id()));
    // Absent in the usual case; a lost race with another process is the same answer.
    if tokio::fs::rename(&armed, &taken).await.is_err() {
        return;
    }
    let announced = async {
        tokio::fs::write(&taken, std::process::id().to_string()).await?;
        tokio::fs::rename(&taken, &reached).await
    };
    if let Err(error) = announced.await {
        tracing::warn!(point = name, %error, "fault point could not be announced");
        return;
    }
    tracing::warn!(point = name, "stopped at a fault point");
    let released = directory.join(format!("{name}.released"));
    while !tokio::fs::try_exists(&released).await.unwrap_or(true) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if let Err(error) = tokio::fs::remove_file(&reached).await {
        tracing::debug!(point = name, %error, "going on from a fault point could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_an_armed_point_stops_and_only_until_released() {
        let dir = tempfile::tempdir().unwrap();
        stop_if_armed(dir.path(), "kit.step").await;
        tokio::fs::write(dir.path().join("kit.step.armed"), "").await.unwrap();
        let path = dir.path().to_owned();
        let stopped = tokio::spawn(async move { stop_if_armed(&path, "kit.step").await });
        let reached = dir.path().join("kit.step.reached");
        while !reached.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(std::fs::read_to_string(&reached).unwrap(), std::process::id().to_string());
        assert!(!stopped.is_finished());
        tokio::fs::write(dir.path().join("kit.step.released"), "").await.unwrap();
        stopped.await.unwrap();
        assert!(!reached.exists(), "it says that it goes on");
    }
}
