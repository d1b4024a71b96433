//! The table for people, the same as a page, and JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::contestant::Side;
use crate::draw;
use crate::figures::{shown, today};
use crate::metrics::{Metric, metrics};
use crate::result::{Outcome, Spread};

/// What a line of the table says, column by column.
fn cells(found: &Outcome, metric: &Metric) -> Option<[String; 9]> {
    let value = |side| {
        found
            .median(&metric.key, side)
            .map_or("-".to_owned(), shown)
    };
    found
        .median(&metric.key, Side::Ours)
        .or_else(|| found.median(&metric.key, Side::Kafka))?;
    let spread = |spread: Spread| {
        format!(
            "{} ({}–{})",
            shown(spread.median),
            shown(spread.min),
            shown(spread.max)
        )
    };
    let verdict = match found.met(metric) {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    Some([
        metric.goal_row.to_owned(),
        metric.title.clone(),
        metric.unit.to_owned(),
        value(Side::Ours),
        value(Side::Kafka),
        found.ratio(metric).map_or("-".to_owned(), spread),
        found
            .over_floor(metric)
            .map_or("-".to_owned(), |over| shown(over.median)),
        metric.goal(),
        verdict.to_owned(),
    ])
}

const HEADS: [&str; 9] = [
    "row", "metric", "unit", "ours", "Kafka", "ratio", "floor", "goal", "",
];

pub(crate) fn table(found: &Outcome) -> String {
    let lines: Vec<[String; 9]> = metrics()
        .iter()
        .filter_map(|metric| cells(found, metric))
        .collect();
    let mut widths = HEADS.map(|head| head.chars().count());
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut put = |cells: [&str; 9]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text += padded.join("  ").trim_end();
        text.push('\n');
    };
    put(HEADS);
    for line in &lines {
        put(line.each_ref().map(String::as_str));
    }
    for line in remarks(found) {
        text += &format!("\n{line}");
    }
    text.push('\n');
    text
}

/// Notes and failures, a line each.
fn remarks(found: &Outcome) -> Vec<String> {
    let failures = found.failures.iter().map(|failure| {
        format!(
            "FAILED {} on {}, round {}: {}",
            failure.row,
            failure.side.name(),
            failure.round + 1,
            failure.why
        )
    });
    let notes = found.notes.iter().map(|note| format!("note: {note}"));
    failures.chain(notes).collect()
}

fn page(found: &Outcome) -> String {
    let mut text = format!(
        "# Measured on {}\n\n{}; {} rounds in {:.0} minutes.\n\n",
        today(),
        found.machine,
        found.rounds,
        found.minutes
    );
    text += "| row | metric | unit | ours | Kafka 3.9 | ratio, median (range) | over the floor | goal | |\n";
    text += "|---|---|---|---:|---:|---|---:|---|---|\n";
    for line in metrics().iter().filter_map(|metric| cells(found, metric)) {
        let _never_fails = writeln!(text, "| {} |", line.join(" | "));
    }
    for line in remarks(found) {
        text += &format!("\n- {line}");
    }
    text += "\n\n![How many times better than Kafka](ratios.svg)\n";
    if !found.curves.is_empty() {
        text += "\n![Latency](latency.svg)\n";
    }
    text
}

/// The table of the README: what has a goal against Kafka, without the columns for the curious.
fn short(found: &Outcome) -> String {
    let mut text = format!(
        "Measured on {}, {}; {} rounds, medians. Above 1 is better than Kafka.\n\n",
        today(),
        found.machine,
        found.rounds
    );
    text += "| | ours | Kafka 3.9 | times better | goal |\n|---|---:|---:|---:|---|\n";
    for metric in metrics().iter().filter(|metric| metric.ratio.is_some()) {
        let (Some(line), Some(ratio)) = (cells(found, metric), found.ratio(metric)) else {
            continue;
        };
        let [_, title, unit, ours, kafka, _, _, goal, verdict] = line;
        let missed = if verdict == "MISSED" { ", missed" } else { "" };
        let times = shown(ratio.median);
        let _never_fails = writeln!(
            text,
            "| {title}, {unit} | {ours} | {kafka} | **{times}** | {goal}{missed} |"
        );
    }
    text
}

fn spread(of: Option<Spread>) -> Value {
    of.map_or(
        Value::Null,
        |of| json!({ "median": of.median, "min": of.min, "max": of.max }),
    )
}

fn document(found: &Outcome) -> Value {
    let metrics = metrics().iter().filter_map(|metric| {
        cells(found, metric)?;
        let values = |side| {
            let values = found.values(&metric.key, side);
            values.into_values().collect::<Vec<f64>>()
        };
        Some(json!({
            "metric": metric.key, "row": metric.goal_row, "title": metric.title,
            "unit": metric.unit, "less_is_better": metric.cost, "goal": metric.goal(),
            "ours": found.median(&metric.key, Side::Ours),
            "kafka": found.median(&metric.key, Side::Kafka),
            "floor": found.median(&metric.key, Side::Floor),
            "ratio": spread(found.ratio(metric)),
            "over_floor": spread(found.over_floor(metric)),
            "met": found.met(metric),
            "rounds": {
                "ours": values(Side::Ours), "kafka": values(Side::Kafka),
                "floor": values(Side::Floor),
            },
        }))
    });
    let curves = found.curves.iter().map(
        |((side, row), curve)| json!({ "row": row, "side": side.name(), "quantile_and_us": curve }),
    );
    json!({
        "date": today(), "machine": found.machine, "rounds": found.rounds,
        "minutes": found.minutes, "notes": remarks(found),
        "seconds_spent": found.times.iter().map(|((row, side), time)| {
            json!({ "row": row, "side": side.name(), "seconds": time.as_secs_f64() })
        }).collect::<Vec<_>>(),
        "metrics": metrics.collect::<Vec<_>>(), "curves": curves.collect::<Vec<_>>(),
    })
}

/// All files, replacing what an earlier run wrote.
pub(crate) fn write(found: &Outcome, out: &Path) -> Result<()> {
    let put = |name: &str, text: String| {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    put("results.json", format!("{:#}\n", document(found)))?;
    put("results.md", page(found))?;
    put("table.md", short(found))?;
    put("ratios.svg", draw::ratios(found))?;
    if !found.curves.is_empty() {
        put("latency.svg", draw::latency(found))?;
    }
    Ok(())
}
