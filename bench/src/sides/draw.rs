//! Drawings: a bar for each ratio, with its goal; latency against the share of requests.

use std::fmt::Write as _;

use crate::contestant::Side;
use crate::figures::{shown, today};
use crate::metrics::metrics;
use crate::result::Outcome;

const STYLE: &str = "<style>text{font:12px sans-serif;fill:#333}.t{font-size:15px;font-weight:bold}\
    .s{fill:#777}.g{stroke:#ddd}.one{stroke:#777}.e{text-anchor:end}.m{text-anchor:middle}</style>";

fn begin(width: u32, height: u32, title: &str, found: &Outcome) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">{STYLE}<rect width=\"{width}\" height=\"{height}\" \
         fill=\"#fff\"/><text class=\"t\" x=\"16\" y=\"24\">{title}</text>\
         <text class=\"s\" x=\"16\" y=\"42\">{}, {}, {} rounds</text>\n",
        today(),
        escaped(&found.machine),
        found.rounds
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Where `value` lies between `from` and `to` on a logarithmic axis of `pixels`.
fn along(value: f64, from: f64, to: f64, pixels: f64) -> f64 {
    let share = (value.max(from) / from).ln() / (to / from).ln();
    share.min(1.0) * pixels
}

/// Ratios from a half to two hundred; the line at 1 is Kafka.
pub(crate) fn ratios(found: &Outcome) -> String {
    const LEFT: f64 = 330.0;
    const WIDTH: f64 = 430.0;
    const STEP: u32 = 20;
    const FROM: f64 = 0.25;
    const TO: f64 = 200.0;
    let bars: Vec<_> = metrics()
        .iter()
        .filter_map(|metric| Some((metric, found.ratio(metric)?)))
        .collect();
    let height = 80 + STEP * bars.len() as u32 + 20;
    let mut svg = begin(
        850,
        height,
        "How many times better than Apache Kafka 3.9",
        found,
    );
    let bottom = height - 28;
    for mark in [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let x = LEFT + along(mark, FROM, TO, WIDTH);
        let class = if mark == 1.0 { "one" } else { "g" };
        let _never_fails = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x:.0}\" x2=\"{x:.0}\" y1=\"56\" y2=\"{bottom}\"/>\
             <text class=\"s m\" x=\"{x:.0}\" y=\"{}\">{mark}</text>",
            bottom + 16
        );
    }
    let one = LEFT + along(1.0, FROM, TO, WIDTH);
    for (at, (metric, ratio)) in bars.iter().enumerate() {
        let y = 60 + STEP * at as u32;
        let x = LEFT + along(ratio.median, FROM, TO, WIDTH);
        let (low, high) = (
            LEFT + along(ratio.min, FROM, TO, WIDTH),
            LEFT + along(ratio.max, FROM, TO, WIDTH),
        );
        let color = match found.met(metric) {
            Some(true) => "#3b8f5a",
            Some(false) => "#c9822b",
            None => "#5b7fa6",
        };
        let (from, width) = (one.min(x), (x - one).abs().max(1.0));
        let middle = y + 7;
        let _never_fails = writeln!(
            svg,
            "<text class=\"e\" x=\"{:.0}\" y=\"{}\">{}</text>\
             <rect x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"14\" fill=\"{color}\"/>\
             <line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#222\"/>\
             <text x=\"{:.0}\" y=\"{}\">{}</text>",
            LEFT - 8.0,
            y + 11,
            escaped(&metric.title),
            x.max(one).max(high) + 6.0,
            y + 11,
            shown(ratio.median)
        );
        if let Some(goal) = metric.ratio {
            let x = LEFT + along(goal, FROM, TO, WIDTH);
            let _never_fails = writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#b00\" \
                 stroke-width=\"2\"/>",
                y - 2,
                y + 16
            );
        }
    }
    svg + "</svg>\n"
}

/// The slowest share of requests to the right, microseconds upward, both logarithmic.
pub(crate) fn latency(found: &Outcome) -> String {
    const LEFT: f64 = 70.0;
    const TOP: f64 = 64.0;
    const WIDTH: f64 = 620.0;
    const HEIGHT: f64 = 320.0;
    const FROM: f64 = 10.0;
    const TO: f64 = 1_000_000.0;
    let mut svg = begin(
        850,
        430,
        "Produce latency at 2,000 requests/s, against the intended time",
        found,
    );
    for (mark, name) in [
        (10.0, "10 µs"),
        (100.0, "100 µs"),
        (1_000.0, "1 ms"),
        (10_000.0, "10 ms"),
        (100_000.0, "100 ms"),
        (1_000_000.0, "1 s"),
    ] {
        let y = TOP + HEIGHT - along(mark, FROM, TO, HEIGHT);
        let _never_fails = writeln!(
            svg,
            "<line class=\"g\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.0}\" y2=\"{y:.0}\"/>\
             <text class=\"s e\" x=\"{}\" y=\"{:.0}\">{name}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0
        );
    }
    for quantile in [0.0, 0.9, 0.99, 0.999, 0.9999] {
        let x = LEFT + rare(quantile) * WIDTH;
        let _never_fails = writeln!(
            svg,
            "<text class=\"s m\" x=\"{x:.0}\" y=\"{}\">{} %</text>",
            TOP + HEIGHT + 18.0,
            (quantile * 1e6_f64).round() / 1e4
        );
    }
    for (number, (side, color)) in [
        (Side::Ours, "#3b8f5a"),
        (Side::Kafka, "#c0504d"),
        (Side::Floor, "#999"),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(curve) = found.curves.get(&(side, "latency")) else {
            continue;
        };
        let points: Vec<String> = curve
            .iter()
            .map(|(quantile, us)| {
                let x = LEFT + rare(*quantile) * WIDTH;
                let y = TOP + HEIGHT - along(*us, FROM, TO, HEIGHT);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let y = TOP + 20.0 * number as f64 + 10.0;
        let _never_fails = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>\
             <rect x=\"710\" y=\"{y}\" width=\"14\" height=\"4\" fill=\"{color}\"/>\
             <text x=\"730\" y=\"{}\">{}</text>",
            points.join(" "),
            y + 6.0,
            side.name()
        );
    }
    svg + "</svg>\n"
}

/// How far to the right a quantile lies: each step of ten times rarer is as wide as the last.
fn rare(quantile: f64) -> f64 {
    ((1.0 - quantile).max(1e-5).log10() / -5.0).clamp(0.0, 1.0)
}
