//! The plots, as SVG: lines over the number of logins with both axes logarithmic, and bars. They follow the reader's light or dark setting.

use std::fmt::Write as _;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 470.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 56.0;
/// From one label to the next below it.
const LABEL: f64 = 16.0;
/// Height of a bar with its gap.
const BAR: f64 = 22.0;

/// One line of a plot.
#[derive(Debug)]
pub(super) struct Series<'a> {
    pub(super) label: &'a str,
    pub(super) colour: &'a str,
    /// A variant of another line.
    pub(super) dashed: bool,
    /// Ascending by number of logins.
    pub(super) points: Vec<Point>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) logins: f64,
    pub(super) value: f64,
    /// Not all logins were asked for: a ring.
    pub(super) part: bool,
}

/// What a plot says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) title: &'a str,
    /// What stands at the left axis.
    pub(super) axis: &'a str,
    /// The label of 10 to this power.
    pub(super) unit: fn(i32) -> String,
}

/// The name of a time of 10^power nanoseconds: 1 ns, 10 ns … 1 s.
pub(super) fn time(power: i32) -> String {
    let unit = ["ns", "µs", "ms", "s"][usize::try_from(power / 3).unwrap_or(0).min(3)];
    format!("{} {unit}", 10_i32.pow(u32::try_from(power % 3).unwrap_or(0)))
}

/// The name of a rate of 10^power a second: 1, 10 … 1 thousand, 1 million.
pub(super) fn rate(power: i32) -> String {
    let unit = ["", " thousand", " million"][usize::try_from(power / 3).unwrap_or(0).min(2)];
    format!("{}{unit}", 10_i32.pow(u32::try_from(power % 3).unwrap_or(0)))
}

fn head(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>.paper {{ fill: #ffffff }} text {{ fill: #24292f }} .grid {{ stroke: #d8dee4 }}\n\
         @media (prefers-color-scheme: dark) {{ .paper {{ fill: #0d1117 }} text {{ fill: #e6edf3 }} .grid {{ stroke: #30363d }} }}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n"
    )
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn grid(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(svg, "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

/// A value over the number of logins. `None` where there is nothing to draw.
pub(super) fn lines(words: Words<'_>, series: &[Series<'_>]) -> Option<String> {
    let all = || series.iter().flat_map(|one| one.points.iter());
    let power = |value: f64| value.max(1.0).log10();
    let (low, high) = (
        all().map(|point| power(point.value).floor()).reduce(f64::min)?,
        all().map(|point| power(point.value).ceil()).reduce(f64::max)?,
    );
    let high = high.max(low + 1.0);
    let (first, last) = (
        all().map(|point| power(point.logins)).reduce(f64::min)?,
        all().map(|point| power(point.logins)).reduce(f64::max)?,
    );
    let span = (last - first).max(1.0);
    let x = |logins: f64| LEFT + 12.0 + (power(logins) - first) / span * (WIDTH - LEFT - RIGHT - 24.0);
    let y = |value: f64| HEIGHT - BOTTOM - (power(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = head(HEIGHT, words.title);
    text(&mut svg, LEFT, 42.0, "start", words.axis);
    for step in low as i32..=high as i32 {
        let at = y(10_f64.powi(step));
        grid(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
        text(&mut svg, LEFT - 8.0, at + 4.0, "end", &(words.unit)(step));
    }
    let mut sizes: Vec<_> = all().map(|point| point.logins).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    for size in sizes {
        grid(&mut svg, (x(size), TOP), (x(size), HEIGHT - BOTTOM));
        text(&mut svg, x(size), HEIGHT - BOTTOM + 20.0, "middle", &super::report::thousands(size));
    }
    text(&mut svg, f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 14.0, "middle", "logins");
    for (one, label) in series.iter().zip(labels(series, &y)) {
        let (colour, dash) = (one.colour, if one.dashed { " stroke-dasharray=\"6 4\"" } else { "" });
        let path: Vec<_> =
            one.points.iter().map(|point| format!("{:.1},{:.1}", x(point.logins), y(point.value))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"{dash}/>",
            path.join(" ")
        );
        for point in &one.points {
            let (x, y) = (x(point.logins), y(point.value));
            let inside = if point.part { "class=\"paper\"".into() } else { format!("fill=\"{colour}\"") };
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" stroke=\"{colour}\" stroke-width=\"1.5\" {inside}/>"
            );
        }
        let (from, to) = (WIDTH - RIGHT + 8.0, WIDTH - RIGHT + 28.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{from:.1}\" y1=\"{label:.1}\" x2=\"{to:.1}\" y2=\"{label:.1}\" stroke=\"{colour}\" stroke-width=\"2.5\"{dash}/>"
        );
        text(&mut svg, to + 6.0, label + 4.0, "start", one.label);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Where each label stands: at the right end of its line, pushed apart, none below the plot.
fn labels(series: &[Series<'_>], y: &dyn Fn(f64) -> f64) -> Vec<f64> {
    let mut places: Vec<f64> = series.iter().map(|one| one.points.last().map_or(TOP, |point| y(point.value))).collect();
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&left, &right| places[left].total_cmp(&places[right]));
    let mut free = TOP;
    for &at in &order {
        places[at] = places[at].max(free);
        free = places[at] + LABEL;
    }
    let mut lowest = HEIGHT - BOTTOM;
    for &at in order.iter().rev() {
        places[at] = places[at].min(lowest);
        lowest = places[at] - LABEL;
    }
    places
}

/// Bars of MiB: private memory, and behind it what is mapped and shared.
pub(super) fn bars(title: &str, rows: &[(String, f64, f64)]) -> Option<String> {
    let most = rows.iter().map(|row| row.1 + row.2).reduce(f64::max)?.max(1.0);
    let left = 290.0;
    let scale = (WIDTH - left - 130.0) / most;
    let mut svg = head(TOP + BAR * rows.len() as f64 + 16.0, title);
    text(&mut svg, LEFT, 42.0, "start", "MiB: private (red) + mapped data that all readers share (blue)");
    for (at, (label, private, mapped)) in rows.iter().enumerate() {
        let y = BAR.mul_add(at as f64, TOP + 4.0);
        text(&mut svg, left - 8.0, y + 14.0, "end", label);
        let mut x = left;
        for (value, colour) in [(private, "#e5383b"), (mapped, "#58a6ff")] {
            let width = value * scale;
            let height = BAR - 6.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                y + 2.0
            );
            x += width;
        }
        text(&mut svg, x + 6.0, y + 14.0, "start", &format!("{private:.1} + {mapped:.1}"));
    }
    svg.push_str("</svg>\n");
    Some(svg)
}
