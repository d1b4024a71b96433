//! Rows that count processor time for bytes and requests.

use std::fs;
use std::io::{BufWriter, Write};
use std::process::Command;

use anyhow::{Context, Result};

use crate::contestant::Side;
use crate::machine::{CLIENT_CORE, settle};
use crate::process::output;
use crate::rows::{Figures, LOAD_LIMIT, Look, of, per};

/// A gigabyte, as the goals count.
const GB: f64 = 1e9;
const PARTITIONS: i32 = 16;
/// Requests of 1 MiB, until so many bytes are through.
const BULK: [&str; 5] = ["--records", "1000", "--seconds", "200", "--bytes-max"];

/// Code is compiled, buffers are grown: not measured.
pub(super) fn warm(look: &mut Look<'_>) -> Result<Figures> {
    // What the JVM has not compiled by then costs its first turn up to twice its second.
    let (seconds, bytes) = match look.side {
        Side::Kafka => (look.sizes.seconds * 2, look.sizes.bytes * 4),
        Side::Ours | Side::Floor => (1, look.sizes.bytes / 2),
    };
    let (seconds, bytes) = (seconds.to_string(), bytes.to_string());
    look.on_topic("warm", (PARTITIONS, &[]), &[], |look, _| {
        let bulk = [
            "--records",
            "1000",
            "--seconds",
            &seconds,
            "--bytes-max",
            &bytes,
        ];
        look.produce(None, "warm", &bulk)?;
        let small = ["--connections", "8", "--seconds", &seconds];
        look.produce(None, "warm", &small)?;
        look.costed(None, &["fetch", "--topic", "warm", "--bytes-max", &bytes])
    })?;
    Ok(Figures::default())
}

pub(super) fn produce_bulk(look: &mut Look<'_>) -> Result<Figures> {
    let bytes = look.sizes.bytes.to_string();
    let (answer, cpu) = look.on_topic("bulk", (PARTITIONS, &[]), &[], |look, ground| {
        look.produce(ground, "bulk", &[&BULK[..], &[&bytes]].concat())
    })?;
    let cpu = per(cpu, of(&answer, "plain_bytes")? / GB)?;
    Ok(Figures::from([
        ("produce_bulk.cpu", cpu),
        ("produce_bulk.rate", of(&answer, "plain_mb_per_second")?),
    ]))
}

pub(super) fn produce_small(look: &mut Look<'_>) -> Result<Figures> {
    let seconds = look.sizes.seconds.to_string();
    let (answer, cpu) = look.on_topic("small", (PARTITIONS, &[]), &[], |look, ground| {
        let words = ["--connections", "8", "--seconds", &seconds];
        look.produce(ground, "small", &words)
    })?;
    let cpu = per(cpu * 1e6, of(&answer, "requests")?)?;
    Ok(Figures::from([
        ("produce_small.cpu", cpu),
        ("produce_small.rate", of(&answer, "requests_per_second")?),
    ]))
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
    command.args(["-c", CLIENT_CORE, "kcat", "-P", "-q"]);
    command.args(["-X", "linger.ms=5", "-X", "acks=1"]);
    command.args(["-X", "queue.buffering.max.messages=1000000"]);
    command.args(["-t", "stock", "-l"]).arg(&lines);
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
    let mut figures = Figures::from([("stock_librdkafka.rate", records as f64 / seconds)]);
    if look.side != Side::Floor {
        let cpu = look.broker()?.meter.seconds()? - before;
        look.drop_topic("stock")?;
        figures.put("stock_librdkafka.cpu", cpu * 1e9 / records as f64);
    }
    Ok(figures)
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
    command.args(["--topic", "stock", "--record-size", "100"]);
    command.args(["--throughput", "-1"]);
    command.args(["--num-records", &records.to_string()]);
    command.args(["--producer-props", "acks=1", "linger.ms=5"]);
    command.args(["batch.size=65536", &format!("bootstrap.servers={address}")]);
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
    Ok(Figures::from([
        ("stock_java.cpu", cpu * 1e9 / records as f64),
        ("stock_java.rate", rate),
    ]))
}

pub(super) fn fetch(look: &mut Look<'_>) -> Result<Figures> {
    let bytes = look.sizes.bytes.to_string();
    let each = (look.sizes.bytes / PARTITIONS as u64).to_string();
    let found = |look: &mut Look<'_>, ground: Option<&_>| {
        if ground.is_none() {
            look.produce(None, "catchup", &[&BULK[..], &[&bytes]].concat())?;
        }
        // What is read is not being written out meanwhile.
        settle();
        let one = look.costed(ground, &["fetch", "--topic", "catchup"])?;
        let mut four = vec!["fetch", "--topic", "catchup"];
        four.extend(["--consumers", "4", "--bytes-max", &bytes]);
        Ok((one, look.costed(ground, &four)?))
    };
    let settings = (PARTITIONS, &[][..]);
    let partitions = PARTITIONS.to_string();
    let holds = ["--fetch-bytes", &each, "--fetch-partitions", &partitions];
    let ((answer_1, cpu_1), (answer_4, cpu_4)) =
        look.on_topic("catchup", settings, &holds, found)?;
    Ok(Figures::from([
        ("fetch.cpu_1", per(cpu_1, of(&answer_1, "bytes")? / GB)?),
        ("fetch.cpu_4", per(cpu_4, of(&answer_4, "bytes")? / GB)?),
        ("fetch.rate_1", of(&answer_1, "mb_per_second")?),
    ]))
}

/// Batches of 64 KiB of plain bytes; the server unpacks them to check them.
pub(super) fn codec(look: &mut Look<'_>) -> Result<Figures> {
    let bytes = (look.sizes.bytes / 4).to_string();
    let seconds = look.sizes.seconds.to_string();
    let mut figures = Figures::default();
    for codec in ["lz4", "zstd", "gzip", "snappy"] {
        let (answer, cpu) = look.on_topic(codec, (PARTITIONS, &[]), &[], |look, _| {
            let mut words = vec!["--records", "64", "--codec", codec];
            words.extend(["--seconds", &seconds, "--bytes-max", &bytes]);
            look.produce(None, codec, &words)
        })?;
        let cpu = per(cpu, of(&answer, "plain_bytes")? / GB)?;
        figures.put(format!("codec.{codec}"), cpu);
    }
    Ok(figures)
}
