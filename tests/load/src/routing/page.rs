//! A run as one page that needs nothing else: no scripts, no fonts, no network; the plots are drawn into it.

use std::fmt::Write as _;

use super::{Summary, plot};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2733; --paper: #fff; --faint: #d5dbe1; --soft: #66727f;
  --a: #1f6fb4; --b: #d1651a; --c: #2f8f4e; --d: #8a4fb5; --e: #b5383f; --f: #6b7680; --g: #b08a00; --h: #008b8b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --paper: #15191e; --faint: #333c46; --soft: #9aa6b2;
  --a: #64aef0; --b: #f0995a; --c: #6cc98a; --d: #c495e8; --e: #ef7c82; --f: #a5afb9; --g: #e0c04c; --h: #4cc9c9; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 980px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .4rem; } p { color: var(--soft); margin: 0 0 1rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--faint); }
td:first-child { white-space: nowrap; color: var(--soft); } .usage td, .usage th { text-align: right; }
.usage td:first-child, .usage th:first-child { text-align: left; } svg { width: 100%; height: auto; } text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--faint); } .line { fill: none; stroke-width: 1.6; } .key { margin-right: 1rem; } .key i { display: inline-block;
  width: .8rem; height: .8rem; border-radius: 2px; margin-right: .3rem; vertical-align: -1px; }
";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page of a run.
pub fn html(summary: &Summary) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Hilo: {name}</title><style>{STYLE}</style></head><body>\n<h1>{name}</h1>\n<p>{what}</p>\n<table>\n",
        name = escaped(&summary.name),
        what = escaped(&summary.what)
    );
    for (name, figure) in summary.figures() {
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(&figure));
    }
    page.push_str("</table>\n<h2>Time to assign</h2>\n<p>How many messages took how long, from the instant each was due to its ring on the agent's stream.</p>\n");
    page.push_str(&plot::bars(&summary.histogram));
    let seconds =
        |of: fn(&super::summary::Moment) -> f64| summary.seconds.iter().map(of).collect::<Vec<f64>>();
    page.push_str("<h2>Second by second: messages that rang</h2>\n");
    page.push_str(&plot::lines(&[("per second".to_owned(), seconds(|one| one.rang as f64))], "/s"));
    page.push_str("<h2>Second by second: time to assign of what rang</h2>\n");
    let took = [("p50".to_owned(), seconds(|one| one.p50)), ("p99".to_owned(), seconds(|one| one.p99))];
    page.push_str(&plot::lines(&took, "ms"));
    page.push_str("<h2>CPU cores</h2>\n");
    let parts = |of: fn(&super::summary::Part) -> &Vec<f64>| {
        let series = summary.parts.iter().map(|part| (part.name().to_owned(), of(part).clone()));
        series.collect::<Vec<(String, Vec<f64>)>>()
    };
    page.push_str(&plot::lines(&parts(|part| &part.cores_by_second), "cores"));
    page.push_str("<h2>Memory</h2>\n");
    let mut memory = parts(|part| &part.mib_by_second);
    memory.retain(|(name, _)| name != "postgres");
    page.push_str(&plot::lines(&memory, "MiB"));
    page.push_str("<h2>What each part used</h2>\n<table class=\"usage\">\n");
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    page.push_str(&row(&Summary::COLUMNS.map(str::to_owned), "th"));
    summary.usage().iter().for_each(|part| page.push_str(&row(part, "td")));
    page.push_str("</table>\n</body></html>\n");
    page
}
