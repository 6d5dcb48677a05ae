//! The last lines of `hilo run`: where things listen and what to do next, at most twelve of them.

use std::path::Path;
use std::time::Duration;

use super::folder::DataFolder;
use super::ports::Ports;

/// The text, without the phases above it.
pub fn text(
    folder: &DataFolder,
    ports: &Ports,
    program: &str,
    took: Duration,
    earlier: Option<&str>,
) -> String {
    let data = shown(folder.root());
    // Commands of people who use another folder need to say so; the default one is found by itself.
    let option = if data == ".hilo" { String::new() } else { format!(" --data {data}") };
    let before = earlier.map_or_else(String::new, |earlier| format!(" after {earlier}"));
    let lines = [
        format!(
            "Hilo is running (started in {:.1} s{before}). Ctrl-C stops it; the data stays in {data}/",
            took.as_secs_f64()
        ),
        format!(
            "  gRPC and gRPC-web  127.0.0.1:{}    mail in (SMTP)  127.0.0.1:{}",
            ports.front(),
            ports.smtp()
        ),
        format!(
            "  events (NATS)      127.0.0.1:{}    mail out        {data}/outbox/    log  {data}/log/hilo.log",
            ports.nats()
        ),
        format!(
            "  passwords          {data}/agents.txt (agents ana, luis: soporte, mensajes; rosa, jorge: ventas)"
        ),
        format!(
            "  WhatsApp           127.0.0.1:{}    simulates Meta's Cloud API and the customers' phones",
            ports.simulator()
        ),
        "In another terminal:".to_owned(),
        format!(
            "  {program} mail send --from maria@cliente.example --to soporte@demo.hilo.example --subject Hola --text 'Mi pedido no llega'{option}"
        ),
        format!(
            "  {program} phone send --from +51999111222 --name Rosa --text 'Hola, ¿llegó mi pedido?'{option}"
        ),
        format!("  {program} desk --as ana{option}"),
        format!("  {program} events tail{option}"),
        format!("  {program} history search --words pedido --as ana{option}"),
    ];
    lines.join("\n")
}

/// The folder relative to where the person stands, when it lies there.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok().and_then(|here| here.canonicalize().ok());
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    relative.unwrap_or_else(|| path.to_owned()).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_twelve_lines_without_a_password() {
        let directory = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(directory.path()).unwrap();
        let text =
            text(&folder, &Ports::new(8400).unwrap(), "hilo", Duration::from_secs(2), Some("install 3 s"));
        assert!(text.lines().count() <= 12, "{text}");
        for word in
            ["8470", "8425", "8460", "mail send", "phone send", "desk --as", "events tail", "history search"]
        {
            assert!(text.contains(word), "{word}");
        }
    }
}
