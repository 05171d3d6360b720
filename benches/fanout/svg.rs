//! The plots for `docs/performance.md`: the cost by number of subscribers, each system's cost as a ratio to the floor,
//! and the delay by offered load.
//!
//! The plots have their own background, with colours for light and for dark mode. An SVG in an `img` element knows the
//! reader's preferred mode, but not the colour of the page.

use std::fmt::Write as _;

use crate::results::{Results, sample_key};
use crate::scenarios::{backlog, growth, offered, one, saturation};
use crate::systems::{ALL, BUN, FLOOR, TIDINGS};
use crate::table::thousands;
use crate::usage::CPU;

const WIDTH: f64 = 880.0;
const LINES_HEIGHT: f64 = 330.0;
const STYLE: &str = "
  svg { --ground: #ffffff; --ink: #1f2328; --faint: #656d76; --rule: #d8dee4; --ours: #0b6bcb; --busy: #1a7f37; --floor: #8c6d1f; --others: #9aa4af }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #0d1117; --ink: #e6edf3; --faint: #9198a1; --rule: #30363d; --ours: #58a6ff; --busy: #3fb950; --floor: #d4a72c; --others: #6e7681 }
  }
  text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: var(--ink) }
  .title { font-weight: 600; font-size: 15px }
  .faint { fill: var(--faint); font-size: 12px }
  .rule { stroke: var(--rule) }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round }
  .dashed { stroke-dasharray: 5 4 }
";

/// The plots of the cost.
pub fn cost(results: &Results) -> String {
    let mut plot = Plot::default();
    plot.growth(results, 20.0);
    let height = plot.bars(results, LINES_HEIGHT + 50.0);
    plot.file(height, "CPU time a delivery by subscribers, and as a ratio to the floor by system")
}

/// The plot of the delay by offered load.
pub fn delay(results: &Results) -> String {
    let mut plot = Plot::default();
    plot.delay(results, 20.0);
    plot.file(LINES_HEIGHT + 20.0, "Delay from POST to socket by offered load, of tidings and Bun")
}

#[derive(Default)]
struct Plot {
    body: String,
}

/// A line of a plot.
struct Line {
    name: String,
    colour: &'static str,
    dashed: bool,
    /// The positions on the x axis, from 0 to 1, and the values.
    points: Vec<(f64, f64)>,
}

impl Plot {
    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    fn rule(&mut self, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ =
            writeln!(self.body, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"rule\"/>");
    }

    /// The SVG file.
    fn file(&self, height: f64, about: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
             aria-label=\"{about}\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" style=\"fill: var(--ground)\"/>\n{}</svg>\n",
            self.body
        )
    }

    fn growth(&mut self, results: &Results, top: f64) {
        let largest = growth::SIZES.iter().max().copied().unwrap_or(1) as f64;
        let x = |size: f64| size.log10() / largest.log10();
        let cases = growth::SIZES.map(|size| (size as f64, size.to_string()));
        let line = |name: &str, system, figure, colour| {
            let of = |(size, case): &(f64, String)| {
                let stat = results.stat(sample_key(growth::SUBSCRIBERS, case, system), figure)?;
                Some((x(*size), stat.median / 1e3))
            };
            Line { name: name.into(), colour, dashed: false, points: cases.iter().filter_map(of).collect() }
        };
        let lines = [
            line("tidings, one at a time", TIDINGS.name, CPU, "ours"),
            line("the floor, one at a time", FLOOR.name, CPU, "floor"),
            line("tidings, 64 in flight", TIDINGS.name, growth::BUSY, "busy"),
        ];
        let ticks: Vec<(f64, String)> = growth::SIZES.iter().map(|&size| (x(size as f64), thousands(size))).collect();
        self.lines(top, "CPU time a delivery, by subscribers of the channel", &ticks, "µs", &lines);
    }

    fn delay(&mut self, results: &Results, top: f64) {
        let most = offered::SHARES.iter().max().copied().unwrap_or(100);
        let x = |share: u32| f64::from(share) / f64::from(most);
        let line = |system: &str, percentile: &str, figure, colour, dashed| {
            let of = |&share: &u32| {
                let stat = results.stat(sample_key(offered::OFFERED, &offered::case(share), system), figure)?;
                Some((x(share), stat.median / 1e3))
            };
            let points = offered::SHARES.iter().filter_map(of).collect();
            Line { name: format!("{system}, {percentile}"), colour, dashed, points }
        };
        let both = |system, colour| {
            [line(system, "p99", saturation::P99, colour, false), line(system, "p50", saturation::P50, colour, true)]
        };
        let [ours, buns] = [both(TIDINGS.name, "ours"), both(BUN.name, "floor")];
        let lines: Vec<Line> = ours.into_iter().chain(buns).collect();
        let ticks: Vec<(f64, String)> = offered::SHARES.iter().map(|&share| (x(share), offered::case(share))).collect();
        let title = "Delay from POST to socket, by events offered, in per cent of what the server can deliver";
        self.lines(top, title, &ticks, "ms", &lines);
    }

    /// Draws lines over a logarithmic y axis.
    fn lines(&mut self, top: f64, title: &str, ticks: &[(f64, String)], unit: &str, lines: &[Line]) {
        self.text(24.0, top + 10.0, "title", "start", title);
        let values = || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let Some(lowest) = values().reduce(f64::min) else {
            self.text(24.0, top + 40.0, "faint", "start", "not measured");
            return;
        };
        // The axis ends at powers of ten, so that small and large values are both visible.
        let low = lowest.log10().floor();
        let high = values().fold(lowest, f64::max).log10().ceil().max(low + 1.0);
        let (left, right, over, under) = (70.0, WIDTH - 200.0, top + 30.0, top + LINES_HEIGHT - 40.0);
        let x = |position: f64| left + (right - left) * position;
        let y = |value: f64| under - (under - over) * (value.log10() - low) / (high - low);
        for power in low as i32..=high as i32 {
            let at = y(10f64.powi(power));
            self.rule((left, at), (right, at));
            self.text(left - 8.0, at + 4.0, "faint", "end", &format!("{} {unit}", 10f64.powi(power)));
        }
        let mut before = f64::MIN;
        for (position, name) in ticks {
            let anchor = if position - before < 0.1 { "start" } else { "middle" };
            self.text(x(*position), under + 20.0, "faint", anchor, name);
            before = *position;
        }
        // Each name is at the end of its line, with some space between two names.
        let mut ends: Vec<(f64, &Line)> =
            lines.iter().filter_map(|line| Some((y(line.points.last()?.1), line))).collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut above = f64::MIN;
        for (at, line) in ends {
            let at = at.max(above + 17.0);
            above = at;
            let style = format!("style=\"fill: var(--{})\"", line.colour);
            let _ = writeln!(
                self.body,
                "<text x=\"{:.1}\" y=\"{:.1}\" {style}>{}</text>",
                right + 10.0,
                at + 4.0,
                line.name
            );
        }
        for Line { colour, dashed, points, .. } in lines {
            let style = format!("var(--{colour})");
            let class = if *dashed { "line dashed" } else { "line" };
            let path: Vec<String> =
                points.iter().map(|(position, value)| format!("{:.1},{:.1}", x(*position), y(*value))).collect();
            let _ = writeln!(
                self.body,
                "<polyline points=\"{}\" class=\"{class}\" style=\"stroke: {style}\"/>",
                path.join(" ")
            );
            for (position, value) in points {
                let (x, y) = (x(*position), y(*value));
                let _ = writeln!(self.body, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" style=\"fill: {style}\"/>");
            }
        }
    }

    /// Draws the bars, and returns the y coordinate of their end.
    fn bars(&mut self, results: &Results, top: f64) -> f64 {
        const PANELS: [(&str, &str); 4] = [
            (one::THOUSAND, "1,000, one at a time"),
            (one::TEN_THOUSAND, "10,000, one at a time"),
            (backlog::ALL_CORES, "1,000, 64 in flight"),
            (backlog::ONE_CORE, "the same on one core"),
        ];
        const ROW: f64 = 26.0;
        self.text(
            24.0,
            top,
            "title",
            "start",
            "CPU time a delivery as a multiple of the floor's (the line); less is better",
        );
        let systems: Vec<&str> = ALL.iter().map(|system| system.name).filter(|name| *name != FLOOR.name).collect();
        let times =
            |scenario, system| results.against_floor(sample_key(scenario, "", system), CPU).map(|stat| stat.median);
        let all = PANELS.iter().flat_map(|(scenario, _)| systems.iter().filter_map(|system| times(scenario, system)));
        let most = all.fold(1.5, f64::max);
        let (names, first) = (150.0, top + 46.0);
        let width = (WIDTH - names - 20.0) / PANELS.len() as f64;
        let bottom = first + ROW * systems.len() as f64;
        for (row, system) in systems.iter().enumerate() {
            self.text(names - 10.0, first + ROW * row as f64 + 14.0, "", "end", system);
        }
        for (panel, (scenario, title)) in PANELS.iter().enumerate() {
            let left = names + width * panel as f64;
            // The longest bar leaves space for its figure.
            let scale = (width - 60.0) / most;
            self.text(left, first - 14.0, "faint", "start", title);
            for (row, system) in systems.iter().enumerate() {
                let y = first + ROW * row as f64;
                let Some(times) = times(scenario, system) else {
                    self.text(left + 4.0, y + 14.0, "faint", "start", "–");
                    continue;
                };
                let colour = if system.starts_with(TIDINGS.name) { "ours" } else { "others" };
                let long = (times * scale).max(1.5);
                let _ = writeln!(
                    self.body,
                    "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"18\" rx=\"2\" style=\"fill: var(--{colour})\"/>"
                );
                let digits = if times < 0.1 { format!("{times:.3} ×") } else { format!("{times:.2} ×") };
                self.text(left + long.max(if times < 1.0 { scale } else { 0.0 }) + 5.0, y + 14.0, "", "start", &digits);
            }
            self.rule((left, first - 6.0), (left, bottom));
            let at = left + scale;
            let _ = writeln!(
                self.body,
                "<line x1=\"{at:.1}\" y1=\"{:.1}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\" style=\"stroke: var(--floor); stroke-dasharray: 3 3\"/>",
                first - 6.0
            );
        }
        bottom + 20.0
    }
}
