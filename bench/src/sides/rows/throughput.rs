//! Rows that count processor time for bytes and requests.

use std::fs;
use std::io::{BufWriter, Write};
use std::process::Command;

use anyhow::{Context, Result};

use crate::contestant::Side;
use crate::machine::CLIENT_CORE;
use crate::process::output;
use crate::rows::{Figures, LOAD_LIMIT, Look, of, per};

/// A gigabyte, as the goals count.
const GB: f64 = 1e9;
const PARTITIONS: u64 = 16;

/// Code is compiled, buffers are grown: not measured.
pub(super) fn warm(look: &mut Look<'_>) -> Result<Figures> {
    let seconds = if look.side == Side::Kafka {
        look.sizes.seconds
    } else {
        1
    };
    let seconds = seconds.to_string();
    let bytes = (look.sizes.bytes / 2).to_string();
    let bulk = [
        "produce",
        "--topic",
        "warm",
        "--records",
        "1000",
        "--seconds",
        &seconds,
        "--bytes-max",
        &bytes,
    ];
    look.costed(None, &bulk)?;
    let small = [
        "produce",
        "--topic",
        "warm",
        "--connections",
        "8",
        "--seconds",
        &seconds,
    ];
    look.costed(None, &small)?;
    look.costed(None, &["fetch", "--topic", "warm", "--bytes-max", &bytes])?;
    look.drop_topic("warm")?;
    Ok(Vec::new())
}

pub(super) fn produce_bulk(look: &mut Look<'_>) -> Result<Figures> {
    let bytes = look.sizes.bytes.to_string();
    let mut words = vec![
        "produce",
        "--topic",
        "bulk",
        "--records",
        "1000",
        "--seconds",
        "600",
        "--bytes-max",
        &bytes,
    ];
    let ground = (look.side == Side::Floor)
        .then(|| look.ground("kafka", &[]))
        .transpose()?;
    if ground.is_some() {
        words.push("--no-topic");
    } else {
        look.make_topic("bulk", PARTITIONS as i32, &[])?;
    }
    let (answer, cpu) = look.costed(ground.as_ref(), &words)?;
    if ground.is_none() {
        look.drop_topic("bulk")?;
    }
    Ok(vec![
        (
            "produce_bulk.cpu",
            per(cpu, of(&answer, "plain_bytes")? / GB)?,
        ),
        ("produce_bulk.rate", of(&answer, "plain_mb_per_second")?),
    ])
}

pub(super) fn produce_small(look: &mut Look<'_>) -> Result<Figures> {
    let seconds = look.sizes.seconds.to_string();
    let mut words = vec![
        "produce",
        "--topic",
        "small",
        "--connections",
        "8",
        "--seconds",
        &seconds,
    ];
    let ground = (look.side == Side::Floor)
        .then(|| look.ground("kafka", &[]))
        .transpose()?;
    if ground.is_some() {
        words.push("--no-topic");
    } else {
        look.make_topic("small", PARTITIONS as i32, &[])?;
    }
    let (answer, cpu) = look.costed(ground.as_ref(), &words)?;
    if ground.is_none() {
        look.drop_topic("small")?;
    }
    Ok(vec![
        (
            "produce_small.cpu",
            per(cpu * 1e6, of(&answer, "requests")?)?,
        ),
        ("produce_small.rate", of(&answer, "requests_per_second")?),
    ])
}

/// kcat, which is librdkafka and little else. Its floor is its own: the same work with the mock
/// broker inside it, on the client's core.
pub(super) fn stock_librdkafka(look: &mut Look<'_>) -> Result<Figures> {
    let records = look.sizes.records;
    let lines = look.places.work.join("lines");
    if !lines.exists() {
        let mut to = BufWriter::new(fs::File::create(&lines)?);
        for number in 0..records {
            writeln!(to, "{number:099}")?;
        }
        to.flush()?;
    }
    let mut command = Command::new("taskset");
    command.args([
        "-c",
        CLIENT_CORE,
        "kcat",
        "-P",
        "-q",
        "-X",
        "linger.ms=5",
        "-X",
        "acks=1",
    ]);
    command
        .args([
            "-X",
            "queue.buffering.max.messages=1000000",
            "-t",
            "stock",
            "-l",
        ])
        .arg(&lines);
    if look.side == Side::Floor {
        command.args(["-b", "127.0.0.1:1", "-X", "test.mock.num.brokers=1"]);
    } else {
        look.make_topic("stock", 6, &[])?;
        let address = look.broker()?.address.clone();
        command.args(["-b", &address]);
    }
    let before = match &look.contestant {
        Some(contestant) => contestant.meter.seconds()?,
        None => 0.0,
    };
    let begin = std::time::Instant::now();
    output(&mut command, LOAD_LIMIT)?;
    let seconds = begin.elapsed().as_secs_f64();
    let rate = ("stock_librdkafka.rate", records as f64 / seconds);
    if look.side == Side::Floor {
        return Ok(vec![rate]);
    }
    let cpu = look.broker()?.meter.seconds()? - before;
    look.drop_topic("stock")?;
    Ok(vec![
        ("stock_librdkafka.cpu", cpu * 1e9 / records as f64),
        rate,
    ])
}

pub(super) fn stock_java(look: &mut Look<'_>) -> Result<Figures> {
    let records = look.sizes.records;
    look.make_topic("stock", 6, &[])?;
    let address = look.broker()?.address.clone();
    let tool = look
        .places
        .peers
        .join("kafka-3.9/bin/kafka-producer-perf-test.sh");
    let mut command = Command::new("taskset");
    command.args(["-c", CLIENT_CORE]).arg(tool);
    command.args([
        "--topic",
        "stock",
        "--record-size",
        "100",
        "--throughput",
        "-1",
    ]);
    command.args([
        "--num-records",
        &records.to_string(),
        "--producer-props",
        "acks=1",
    ]);
    command.args([
        "linger.ms=5",
        "batch.size=65536",
        &format!("bootstrap.servers={address}"),
    ]);
    let before = look.broker()?.meter.seconds()?;
    let said = output(&mut command, LOAD_LIMIT)?;
    let cpu = look.broker()?.meter.seconds()? - before;
    look.drop_topic("stock")?;
    // "3000000 records sent, 549000.1 records/sec (…), …": the last such line is the sum.
    let rate = said
        .lines()
        .rev()
        .find_map(|line| {
            line.split_once("records sent, ")?
                .1
                .split_once(" records/sec")
        })
        .and_then(|(rate, _)| rate.parse::<f64>().ok())
        .context("read what the Java producer says")?;
    Ok(vec![
        ("stock_java.cpu", cpu * 1e9 / records as f64),
        ("stock_java.rate", rate),
    ])
}

pub(super) fn fetch(look: &mut Look<'_>) -> Result<Figures> {
    let bytes = look.sizes.bytes.to_string();
    let each = (look.sizes.bytes / PARTITIONS).to_string();
    let ground = (look.side == Side::Floor)
        .then(|| look.ground("kafka", &["--fetch-bytes", &each]))
        .transpose()?;
    if ground.is_none() {
        look.make_topic("catchup", PARTITIONS as i32, &[])?;
        let fill = [
            "produce",
            "--topic",
            "catchup",
            "--records",
            "1000",
            "--seconds",
            "600",
            "--bytes-max",
            &bytes,
        ];
        look.costed(None, &fill)?;
    }
    let one = ["fetch", "--topic", "catchup"];
    let (answer_1, cpu_1) = look.costed(ground.as_ref(), &one)?;
    let four = [
        "fetch",
        "--topic",
        "catchup",
        "--consumers",
        "4",
        "--bytes-max",
        &bytes,
    ];
    let (answer_4, cpu_4) = look.costed(ground.as_ref(), &four)?;
    if ground.is_none() {
        look.drop_topic("catchup")?;
    }
    Ok(vec![
        ("fetch.cpu_1", per(cpu_1, of(&answer_1, "bytes")? / GB)?),
        ("fetch.cpu_4", per(cpu_4, of(&answer_4, "bytes")? / GB)?),
        ("fetch.rate_1", of(&answer_1, "mb_per_second")?),
    ])
}

/// Batches of 64 KiB of plain bytes; the server unpacks them to check them.
pub(super) fn codec(look: &mut Look<'_>) -> Result<Figures> {
    const CODECS: [(&str, &str); 4] = [
        ("lz4", "codec.lz4"),
        ("zstd", "codec.zstd"),
        ("gzip", "codec.gzip"),
        ("snappy", "codec.snappy"),
    ];
    let bytes = (look.sizes.bytes / 4).to_string();
    let seconds = look.sizes.seconds.to_string();
    let mut figures = Vec::new();
    for (codec, key) in CODECS {
        look.make_topic(codec, PARTITIONS as i32, &[])?;
        let words = [
            "produce",
            "--topic",
            codec,
            "--records",
            "64",
            "--codec",
            codec,
            "--seconds",
            &seconds,
            "--bytes-max",
            &bytes,
        ];
        let (answer, cpu) = look.costed(None, &words)?;
        look.drop_topic(codec)?;
        figures.push((key, per(cpu, of(&answer, "plain_bytes")? / GB)?));
    }
    Ok(figures)
}
