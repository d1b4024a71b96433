//! `kafka-dump-log`: prints what a log directory's files hold, as Apache's tool does.
//!
//! ```text
//! .log                 batches, and records with --deep-iteration or --print-data-log
//! .index .timeindex    entries, compared with the log beside them
//! .txnindex .snapshot  aborted transactions, producers
//! ```
//!
//! Kafka: `DumpLogSegments`, line for line on standard output. Faults found in what was read are told
//! at the end, on standard error; a file that cannot be read ends the run with exit code 1. What
//! Java prints beside that, stack traces and object identities, is not imitated.

mod options;
mod java_text;
pub(crate) mod decode;
mod files;
mod log;
mod indexes;

use std::io::{self, Write};

use crate::dump_log::files::DumpedFile;
pub(crate) use crate::dump_log::options::FLAGS;
use crate::dump_log::options::{Options, Wanted};
use crate::failure::Failure;
use crate::print::Out;

/// Why the tool stops before it is through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// Nobody reads what we print.
    #[error("print")]
    Print(#[source] io::Error),
    #[error("{act} {path}: {source}")]
    File {
        act: &'static str,
        path: String,
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("{0}")]
    Content(String),
}

impl Stop {
    fn content(fault: impl std::fmt::Display) -> Stop {
        Stop::Content(fault.to_string())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Print(error)
    }
}

/// Runs the tool.
pub(crate) async fn run(line: &[String], out: &mut Out) -> Result<(), Failure> {
    match run_into(line, &mut Printed(out), &mut io::stderr().lock()) {
        0 => Ok(()),
        code => Err(Failure::Exit(code)),
    }
}

/// Standard output as a writer.
struct Printed<'a>(&'a mut Out);

impl Write for Printed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush();
        Ok(())
    }
}

/// Runs the tool on any two streams; gives its exit code.
fn run_into(line: &[String], out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let options = match options::read(line) {
        // Kafka: an empty line is misuse, and what is said then goes to stderr.
        Ok(Wanted::Text(text)) if line.is_empty() => {
            let _gone = err.write_all(text.as_bytes());
            return 1;
        }
        Ok(Wanted::Dump(options)) => options,
        Ok(Wanted::Text(text)) => {
            let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            return 0;
        }
        Err(misuse) => {
            let _gone = err.write_all(misuse.as_bytes());
            return 1;
        }
    };
    let dumped = dump(&options, out, err);
    let flushed = out.flush().map_err(Stop::Print);
    match dumped.and(flushed) {
        Ok(()) => 0,
        // Whoever closed the pipe has seen enough.
        Err(Stop::Print(e)) if e.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(stop) => {
            let _gone = writeln!(err, "{stop}");
            1
        }
    }
}

fn dump(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Stop> {
    for notice in &options.notices {
        writeln!(out, "{notice}")?;
    }
    let mut faults = Faults::default();
    for name in &options.files {
        let file = DumpedFile::named(name);
        writeln!(out, "Dumping {file}")?;
        match file.suffix() {
            // `.checkpoint` is a snapshot of KRaft's own log: batches, too.
            ".log" | ".checkpoint" => log::dump(&file, options, &mut faults, out)?,
            ".index" => indexes::dump_offsets(&file, options, &mut faults, out)?,
            ".timeindex" => indexes::dump_times(&file, options, &mut faults, out)?,
            ".snapshot" => indexes::dump_producers(&file, out, err)?,
            ".txnindex" => indexes::dump_aborted(&file, out)?,
            _ if file.name() == "leader-epoch-checkpoint" => indexes::dump_epochs(&file, out)?,
            _ => {
                out.flush()?;
                writeln!(err, "Ignoring unknown file {file}")?;
            }
        }
    }
    out.flush()?;
    faults.tell(err)?;
    Ok(())
}

/// Pairs of numbers that should have fitted, by file, in the order of finding.
#[derive(Debug, Default)]
struct Findings(Vec<(String, Vec<(i64, i64)>)>);

impl Findings {
    fn note(&mut self, file: &DumpedFile, pair: (i64, i64)) {
        let path = file.absolute();
        match self.0.iter_mut().find(|(known, _)| *known == path) {
            Some((_, pairs)) => pairs.push(pair),
            None => self.0.push((path, vec![pair])),
        }
    }
}

/// What was found wrong, told after everything was printed.
#[derive(Debug, Default)]
struct Faults {
    offset_index: Findings,
    time_mismatches: Findings,
    time_disorder: Findings,
    offsets_not_found: Findings,
    not_consecutive: Findings,
}

impl Faults {
    fn tell(&self, err: &mut dyn Write) -> io::Result<()> {
        for (path, pairs) in &self.offset_index.0 {
            writeln!(err, "Mismatches in :{path}")?;
            // Kafka: these two lists are told from their end.
            for (index, log) in pairs.iter().rev() {
                writeln!(err, "  Index offset: {index}, log offset: {log}")?;
            }
        }
        for (path, pairs) in &self.time_mismatches.0 {
            writeln!(err, "Found timestamp mismatch in :{path}")?;
            for (index, log) in pairs {
                writeln!(err, "  Index timestamp: {index}, log timestamp: {log}")?;
            }
        }
        for (path, pairs) in &self.time_disorder.0 {
            writeln!(err, "Found out of order timestamp in :{path}")?;
            for (index, previous) in pairs {
                writeln!(
                    err,
                    "  Index timestamp: {index}, Previously indexed timestamp: {previous}"
                )?;
            }
        }
        for (_, pairs) in &self.offsets_not_found.0 {
            writeln!(
                err,
                "The following indexed offsets are not found in the log."
            )?;
            for (index, log) in pairs {
                writeln!(err, "Indexed offset: {index}, found log offset: {log}")?;
            }
        }
        for (path, pairs) in &self.not_consecutive.0 {
            writeln!(err, "Non-consecutive offsets in {path}")?;
            for (first, second) in pairs.iter().rev() {
                writeln!(err, "  {first} is followed by {second}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
