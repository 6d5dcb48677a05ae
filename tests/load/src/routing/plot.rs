//! Plots as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 230.0;
/// Room for the numbers beside and below.
const LEFT: f64 = 62.0;
const BELOW: f64 = 24.0;
const ABOVE: f64 = 8.0;
/// Most points of a line; of more, each is the largest of its share.
const POINTS: usize = 480;
const COLOURS: [&str; 8] = ["--a", "--b", "--c", "--d", "--e", "--f", "--g", "--h"];

/// A round number at least as large: 1, 2, 2.5 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0].into_iter().find(|step| step * power >= value * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// A number with as many digits as help.
fn number(value: f64) -> String {
    match value.abs() {
        small if small < 1.0 && small > 0.0 => format!("{value:.2}"),
        few if few < 10.0 && few.fract() > 0.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn height(value: f64, top: f64) -> f64 {
    ABOVE + (HEIGHT - ABOVE - BELOW) * (1.0 - value / top)
}

/// The frame: lines across with their numbers.
fn frame(top: f64, unit: &str) -> String {
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    for quarter in 0..=4 {
        let value = top * f64::from(quarter) / 4.0;
        let y = height(value, top);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {unit}</text>",
            LEFT - 6.0,
            y + 4.0,
            number(value)
        );
    }
    svg
}

fn shortened(points: &[f64]) -> Vec<f64> {
    let share = points.len().div_ceil(POINTS).max(1);
    points.chunks(share).map(|chunk| chunk.iter().copied().fold(0.0, f64::max)).collect()
}

/// Lines over the seconds of a run.
pub fn lines(series: &[(String, Vec<f64>)], unit: &str) -> String {
    let top = round_up(series.iter().flat_map(|one| &one.1).copied().fold(0.0, f64::max));
    let seconds = series.iter().map(|one| one.1.len()).max().unwrap_or_default();
    let mut svg = frame(top, unit);
    for quarter in 0..=4_u32 {
        let share = f64::from(quarter) / 4.0;
        let anchor = if quarter == 4 { "end" } else { "start" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{} s</text>",
            LEFT + (WIDTH - LEFT) * share,
            HEIGHT - 6.0,
            number((seconds as f64 * share).round())
        );
    }
    let mut keys = String::from("<div>");
    for ((name, points), colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let points = shortened(points);
        let step = (WIDTH - LEFT) / points.len().saturating_sub(1).max(1) as f64;
        let path: Vec<String> = points
            .iter()
            .enumerate()
            .map(|(at, value)| format!("{:.1},{:.1}", LEFT + step * at as f64, height(*value, top)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"line\" style=\"stroke: var({colour})\" points=\"{}\"/>",
            path.join(" ")
        );
        let _ = write!(keys, "<span class=\"key\"><i style=\"background: var({colour})\"></i>{name}</span>");
    }
    format!("{svg}</svg>\n{keys}</div>\n")
}

/// Bars of a histogram whose steps grow evenly by their logarithm: lower edges in milliseconds, and counts.
pub fn bars(steps: &[(f64, u64)]) -> String {
    let top = round_up(steps.iter().map(|step| step.1 as f64).fold(0.0, f64::max));
    let mut svg = frame(top, "");
    let width = (WIDTH - LEFT) / steps.len().max(1) as f64;
    // Numbers must not run into each other.
    let every = (60.0 / width).ceil().max(1.0) as usize;
    for (at, (edge, count)) in steps.iter().enumerate() {
        let (x, y) = (LEFT + width * at as f64, height(*count as f64, top));
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" style=\"fill: var(--a)\"><title>{count} from {} ms</title></rect>",
            (width - 1.0).max(0.5),
            height(0.0, top) - y,
            number(*edge)
        );
        if at % every == 0 {
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.1}\">{} ms</text>", HEIGHT - 6.0, number(*edge));
        }
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_is_round_and_nothing_is_cut_off() {
        for (value, top) in
            [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (1.3, 2.0), (2.4, 2.5), (30.0, 50.0), (501.0, 1_000.0)]
        {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}");
        }
    }

    #[test]
    fn a_long_line_is_shortened_and_keeps_its_peak() {
        let mut points = vec![1.0; 10_000];
        points.insert(7_000, 99.0);
        let short = shortened(&points);
        assert!(short.len() <= POINTS, "{}", short.len());
        assert!(short.contains(&99.0));
        assert_eq!(shortened(&[1.0, 2.0]), [1.0, 2.0]);
    }

    #[test]
    fn every_step_is_a_bar_and_every_series_a_line() {
        assert_eq!(bars(&[(0.1, 3), (0.2, 0), (0.3, 9)]).matches("<rect").count(), 3);
        let series = [("a".to_owned(), vec![1.0, 2.0]), ("b".to_owned(), Vec::new())];
        assert_eq!(lines(&series, "ms").matches("<polyline").count(), 2);
    }
}
