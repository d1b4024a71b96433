//! A broker under test, its measurements, and our command-line tool.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use harness::ports::free_port;
use harness::process::{Single, program};
use harness::tool;
use tempfile::TempDir;

/// Generous: reached by failures only.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// A broker that serves `/metrics` and `/health`, in a folder of its own.
pub(crate) struct Running {
    pub(crate) single: Single,
    pub(crate) metrics_port: u16,
    pub(crate) dir: TempDir,
}

impl Running {
    pub(crate) fn start(overrides: &[&str]) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let metrics_port = free_port();
        let port = format!("metrics.port={metrics_port}");
        let mut all = vec![port.as_str(), "group.initial.rebalance.delay.ms=0"];
        all.extend_from_slice(overrides);
        let single = Single::start(dir.path(), &all);
        Running {
            single,
            metrics_port,
            dir,
        }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.metrics_port, path).unwrap()
    }

    /// `kafka TOOL --bootstrap-server …`; what it said, and whether it was content.
    pub(crate) fn tool(&self, words: &[&str], input: &str) -> (bool, String) {
        let mut command = Command::new(program("kafka"));
        command
            .arg(words[0])
            .args(["--bootstrap-server", &self.single.bootstrap()])
            .args(&words[1..]);
        let output = tool::run(&mut command, input);
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }

    /// The same, which must be content.
    pub(crate) fn does(&self, words: &[&str]) -> String {
        let (content, said) = self.tool(words, "");
        assert!(content, "{words:?}: {said}");
        said
    }

    /// These lines through a topic, written by one tool and read by another in group "g".
    pub(crate) fn pass_through(&self, topic: &str, lines: &[&str]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (sent, said) = self.tool(&["console-producer", "--topic", topic], &text);
        assert!(sent, "{said}");
        let count = lines.len().to_string();
        let read = ["console-consumer", "--topic", topic, "--group", "g"];
        self.does(&[&read[..], &["--from-beginning", "--max-messages", &count]].concat());
    }
}

/// One HTTP request: the status and the body, chunks joined. `None` while nobody listens.
pub(crate) fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if !head.contains("chunked") {
        return Some((status, body.to_owned()));
    }
    let (mut whole, mut rest) = (String::new(), body);
    loop {
        let (length, after) = rest.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return Some((status, whole));
        }
        whole.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
}
