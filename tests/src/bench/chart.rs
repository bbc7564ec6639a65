//! The plots, as SVG: lines over the number of logins with both axes logarithmic, and bars.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 200.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 10] =
    ["#777777", "#d62728", "#ff9896", "#1f77b4", "#17becf", "#9467bd", "#2ca02c", "#ff7f0e", "#bcbd22", "#8c564b"];

/// One line of a plot.
#[derive(Debug)]
pub(super) struct Series<'a> {
    pub(super) label: &'a str,
    /// Logins and nanoseconds, ascending.
    pub(super) points: Vec<(f64, f64)>,
}

fn head(title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    )
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>");
}

/// 1 ns, 10 ns … 1 s.
fn time(power: i32) -> String {
    let unit = ["ns", "µs", "ms", "s"][usize::try_from(power / 3).unwrap_or(0).min(3)];
    format!("{} {unit}", 10_i32.pow(u32::try_from(power % 3).unwrap_or(0)))
}

/// Time over number of logins.
pub(super) fn lines(title: &str, series: &[Series<'_>]) -> Option<String> {
    let all = || series.iter().flat_map(|one| one.points.iter());
    let power = |value: f64| value.max(1.0).log10();
    let (low, high) = (
        all().map(|point| power(point.1).floor()).reduce(f64::min)?,
        all().map(|point| power(point.1).ceil()).reduce(f64::max)?,
    );
    let high = high.max(low + 1.0);
    let (first, last) =
        (all().map(|point| power(point.0)).reduce(f64::min)?, all().map(|point| power(point.0)).reduce(f64::max)?);
    let span = (last - first).max(1.0);
    let x = |logins: f64| LEFT + (power(logins) - first) / span * (WIDTH - LEFT - RIGHT);
    let y = |ns: f64| HEIGHT - BOTTOM - (power(ns) - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = head(title);
    for step in low as i32..=high as i32 {
        let at = y(10_f64.powi(step));
        line(&mut svg, (LEFT, at), (WIDTH - RIGHT, at), "#dddddd");
        text(&mut svg, LEFT - 8.0, at + 4.0, "end", &time(step));
    }
    let mut sizes: Vec<_> = all().map(|point| point.0).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    for size in sizes {
        line(&mut svg, (x(size), TOP), (x(size), HEIGHT - BOTTOM), "#eeeeee");
        text(&mut svg, x(size), HEIGHT - BOTTOM + 18.0, "middle", &super::report::thousands(size));
    }
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", "logins");
    // Labels at the right end of each line, pushed apart.
    let mut labels: Vec<_> =
        series.iter().enumerate().filter_map(|(at, one)| Some((y(one.points.last()?.1), at))).collect();
    labels.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut free = TOP;
    for (wanted, at) in labels {
        let (one, colour) = (&series[at], COLOURS[at % COLOURS.len()]);
        let path: Vec<_> = one.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for point in &one.points {
            let _ =
                writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(point.0), y(point.1));
        }
        let label = wanted.max(free);
        free = label + 15.0;
        line(&mut svg, (WIDTH - RIGHT + 8.0, label), (WIDTH - RIGHT + 24.0, label), colour);
        text(&mut svg, WIDTH - RIGHT + 30.0, label + 4.0, "start", one.label);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Bars of MiB: private memory, and behind it what is mapped and shared.
pub(super) fn bars(title: &str, rows: &[(String, f64, f64)]) -> Option<String> {
    let most = rows.iter().map(|row| row.1 + row.2).reduce(f64::max)?.max(1.0);
    let height = ((HEIGHT - TOP - BOTTOM) / rows.len() as f64).min(28.0);
    let left = 230.0;
    let scale = (WIDTH - left - 150.0) / most;
    let mut svg = head(title);
    for (at, (label, private, mapped)) in rows.iter().enumerate() {
        let y = TOP + height * at as f64;
        text(&mut svg, left - 8.0, y + height * 0.65, "end", label);
        let mut x = left;
        for (value, colour) in [(private, "#d62728"), (mapped, "#aec7e8")] {
            let width = value * scale;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                y + 2.0,
                height - 4.0
            );
            x += width;
        }
        text(&mut svg, x + 6.0, y + height * 0.65, "start", &format!("{private:.1} + {mapped:.1}"));
    }
    text(&mut svg, left, HEIGHT - 16.0, "start", "MiB: private (red) + mapped data that all readers share (blue)");
    svg.push_str("</svg>\n");
    Some(svg)
}
