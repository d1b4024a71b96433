//! Four-letter words: what an operator asks with `nc`.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::config::Config;
use crate::pipeline::Pipeline;
use crate::pipeline::connection::Connection;
use crate::stats::{ConnectionStats, Latency, Stats};
use protocol::zookeeper::ops;

/// What is said of the version; clients read the number only.
pub(crate) const VERSION: &str = "3.9.5-rotpeter, built on 2026-01-01 00:00 UTC";

/// THE list of words.
pub(crate) const WORDS: [&[u8; 4]; 18] = [
    b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"ruok", b"stmk", b"srst",
    b"srvr", b"stat", b"wchc", b"wchp", b"wchs", b"mntr", b"isro", b"hash",
];

/// Whoever asks a word, as the connections are counted and listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub(crate) peer: std::net::SocketAddr,
    /// All connections there are, with this one and those that have not said yet what they want.
    pub(crate) connections: usize,
}

/// Connections end, at the earliest, at whole multiples of this: ZooKeeper's default.
const CONNECTION_TICK_MS: i64 = 10_000;

/// A moment as Java prints it, in UTC.
fn date(wall_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = wall_ms.div_euclid(1_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March here, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or_default()],
        MONTHS[usize::try_from(month).unwrap_or_default()],
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Java's `println` for a number with a fraction, at most four digits of it.
fn fraction(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') {
        format!("{text}0")
    } else {
        text.to_owned()
    }
}

impl Pipeline {
    /// The answer to one word.
    pub(crate) fn word(&mut self, word: [u8; 4], mask: i64, visitor: Visitor) -> String {
        let name = String::from_utf8_lossy(&word).into_owned();
        // ZooKeeper: always allowed, since its own script asks it.
        let always = &word == b"srvr";
        if !always
            && !self
                .config
                .words
                .iter()
                .any(|allowed| *allowed == name || allowed == "*")
        {
            return format!("{name} is not executed because it is not in the whitelist.\n");
        }
        if self.failed && !matches!(&word, b"ruok" | b"gtmk" | b"stmk") {
            return "This ZooKeeper instance is not currently serving requests\n".to_owned();
        }
        let mut out = String::new();
        let _infallible = match &word {
            b"ruok" => write!(out, "imok"),
            b"isro" => write!(out, "rw"),
            b"gtmk" => write!(out, "{}", self.trace_mask),
            b"stmk" => {
                self.trace_mask = mask;
                write!(out, "{mask}")
            }
            b"srvr" => self.write_server(&mut out, visitor, false),
            b"stat" => self.write_server(&mut out, visitor, true),
            b"mntr" => self.write_monitor(&mut out, visitor.connections),
            b"conf" => self.write_conf(&mut out),
            b"cons" => self.write_connections(&mut out, visitor),
            b"envi" => self.write_environment(&mut out),
            b"dirs" => self.write_dirs(&mut out),
            b"dump" => self.write_dump(&mut out, visitor),
            b"wchs" => self.write_watch_summary(&mut out),
            b"wchc" => self.write_watches(&mut out, false),
            b"wchp" => self.write_watches(&mut out, true),
            b"hash" => self
                .tree
                .digest_log()
                .try_for_each(|entry| writeln!(out, "{:x}: {}", entry.zxid, entry.digest)),
            b"crst" => {
                for connection in self.connections.values_mut() {
                    connection.stats = ConnectionStats::new(connection.stats.established_ms);
                }
                writeln!(out, "Connection stats reset.")
            }
            b"srst" => {
                self.stats = Stats::default();
                writeln!(out, "Server stats reset.")
            }
            _ => Ok(()),
        };
        out
    }

    fn write_server(&self, out: &mut String, visitor: Visitor, clients: bool) -> std::fmt::Result {
        writeln!(out, "Zookeeper version: {VERSION}")?;
        if clients {
            writeln!(out, "Clients:")?;
            for connection in self.connections.values() {
                write_connection(out, connection, true)?;
            }
            write_visitor(out, visitor)?;
            writeln!(out)?;
        }
        let latency = &self.stats.latency;
        let mean = fraction(latency.mean_ms());
        writeln!(
            out,
            "Latency min/avg/max: {}/{mean}/{}",
            latency.min_ms, latency.max_ms
        )?;
        writeln!(out, "Received: {}", self.stats.received)?;
        writeln!(out, "Sent: {}", self.stats.sent)?;
        writeln!(out, "Connections: {}", visitor.connections)?;
        writeln!(out, "Outstanding: {}", self.in_flight.len())?;
        writeln!(out, "Zxid: 0x{:x}", self.tree.last_zxid)?;
        writeln!(out, "Mode: standalone")?;
        writeln!(out, "Node count: {}", self.tree.count())
    }

    /// Names and values of the moment, as ZooKeeper calls them.
    fn gauges(&self, connections: usize) -> Vec<(&'static str, String)> {
        let latency = &self.stats.latency;
        let uptime_ms = (self.config.clock.monotonic_us() - self.started_us) / 1_000;
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let open_files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        vec![
            ("avg_latency", fraction(latency.mean_ms())),
            ("max_latency", latency.max_ms.to_string()),
            ("min_latency", latency.min_ms.to_string()),
            ("packets_received", self.stats.received.to_string()),
            ("packets_sent", self.stats.sent.to_string()),
            ("num_alive_connections", connections.to_string()),
            ("outstanding_requests", self.in_flight.len().to_string()),
            ("uptime", uptime_ms.to_string()),
            ("znode_count", self.tree.count().to_string()),
            ("watch_count", self.watches.count().to_string()),
            ("ephemerals_count", self.tree.ephemeral_count().to_string()),
            ("approximate_data_size", self.tree.data_size().to_string()),
            ("open_file_descriptor_count", open_files.to_string()),
            (
                "max_file_descriptor_count",
                files.current.unwrap_or(u64::MAX).to_string(),
            ),
            ("global_sessions", self.sessions.len().to_string()),
            ("local_sessions", "0".to_owned()),
            ("auth_failed_count", self.stats.auth_failures.to_string()),
            ("log_backlog_bytes", self.log.backlog().to_string()),
        ]
    }

    /// What only grows, as ZooKeeper calls it.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let stats = &self.stats;
        vec![
            ("bytes_received_count", stats.bytes_received),
            ("connection_request_count", stats.connect_requests),
            ("stale_sessions_expired", stats.sessions_expired),
            ("snap_count", stats.snapshots),
        ]
    }

    /// How long things took in milliseconds, as ZooKeeper calls them.
    fn durations(&self) -> [(&'static str, Latency); 3] {
        [
            ("fsynctime", self.log.syncs()),
            ("readlatency", self.stats.reads),
            ("updatelatency", self.stats.updates),
        ]
    }

    fn write_monitor(&self, out: &mut String, connections: usize) -> std::fmt::Result {
        writeln!(out, "zk_version\t{VERSION}")?;
        writeln!(out, "zk_server_state\tstandalone")?;
        for (name, value) in self.gauges(connections) {
            writeln!(out, "zk_{name}\t{value}")?;
        }
        for (name, value) in self.counters() {
            writeln!(out, "zk_{name}\t{value}")?;
        }
        for (name, took) in self.durations() {
            writeln!(out, "zk_avg_{name}\t{}", fraction(took.mean_ms()))?;
            writeln!(out, "zk_min_{name}\t{}", took.min_ms)?;
            writeln!(out, "zk_max_{name}\t{}", took.max_ms)?;
            writeln!(out, "zk_cnt_{name}\t{}", took.count)?;
            writeln!(out, "zk_sum_{name}\t{}", took.sum_ms)?;
        }
        Ok(())
    }

    /// The metrics in Prometheus's text form.
    pub(crate) fn metrics(&self, connections: usize) -> String {
        let mut out = String::new();
        for (name, value) in self.gauges(connections) {
            let _infallible = write!(out, "# TYPE {name} gauge\n{name} {value}\n");
        }
        for (name, value) in self.counters() {
            let _infallible = write!(out, "# TYPE {name} counter\n{name} {value}\n");
        }
        for (name, took) in self.durations() {
            let (count, sum) = (took.count, took.sum_ms);
            let _infallible = write!(
                out,
                "# TYPE {name} summary\n{name}_count {count}\n{name}_sum {sum}\n"
            );
        }
        out
    }

    fn write_conf(&self, out: &mut String) -> std::fmt::Result {
        let config = &self.config;
        let absolute = |dir: &std::path::Path| {
            std::path::absolute(dir)
                .unwrap_or_else(|_| dir.to_path_buf())
                .display()
                .to_string()
        };
        let (snapshots, logs) = (config.snapshots_dir(), config.logs_dir());
        let shown = |port: Option<u16>| port.map_or(-1, i32::from);
        writeln!(out, "clientPort={}", shown(self.ports.plain))?;
        writeln!(out, "secureClientPort={}", shown(self.ports.secure))?;
        writeln!(out, "dataDir={}", absolute(&snapshots))?;
        writeln!(out, "dataDirSize={}", self.dir_size(&snapshots))?;
        writeln!(out, "dataLogDir={}", absolute(&logs))?;
        writeln!(out, "dataLogSize={}", self.dir_size(&logs))?;
        writeln!(out, "tickTime={}", config.tick_ms)?;
        writeln!(out, "maxClientCnxns={}", config.max_client_connections)?;
        writeln!(out, "minSessionTimeout={}", config.min_timeout_ms())?;
        writeln!(out, "maxSessionTimeout={}", config.max_timeout_ms())?;
        // ZooKeeper: −1 where nothing is set.
        let backlog = match config.listen_backlog {
            Config::LISTEN_BACKLOG => -1,
            set => i64::from(set),
        };
        writeln!(out, "clientPortListenBacklog={backlog}")?;
        writeln!(out, "serverId=0")
    }

    fn dir_size(&self, dir: &std::path::Path) -> u64 {
        let disk = &self.config.disk;
        let entries = disk.list(dir).unwrap_or_default();
        let files = entries.iter().filter(|entry| !entry.is_dir);
        files
            .filter_map(|entry| disk.facts(&dir.join(&entry.name)).ok())
            .map(|facts| facts.len)
            .sum()
    }

    fn write_dirs(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "datadir_size: {}",
            self.dir_size(&self.config.snapshots_dir())
        )?;
        writeln!(
            out,
            "logdir_size: {}",
            self.dir_size(&self.config.logs_dir())
        )
    }

    fn write_connections(&self, out: &mut String, visitor: Visitor) -> std::fmt::Result {
        for connection in self.connections.values() {
            write_connection(out, connection, false)?;
        }
        write_visitor(out, visitor)?;
        writeln!(out)
    }

    /// ZooKeeper's names; what only Java has is not available.
    fn write_environment(&self, out: &mut String) -> std::fmt::Result {
        const ABSENT: &str = "<NA>";
        const JAVA: [&str; 7] = [
            "version",
            "vendor",
            "home",
            "class.path",
            "library.path",
            "io.tmpdir",
            "compiler",
        ];
        let variable = |name| std::env::var(name).unwrap_or_else(|_| ABSENT.to_owned());
        writeln!(out, "Environment:")?;
        writeln!(out, "zookeeper.version={VERSION}")?;
        let host = rustix::system::uname();
        writeln!(out, "host.name={}", host.nodename().to_string_lossy())?;
        for key in JAVA {
            writeln!(out, "java.{key}={ABSENT}")?;
        }
        writeln!(out, "os.name={}", host.sysname().to_string_lossy())?;
        // Java has a name of its own for it.
        let machine = host.machine().to_string_lossy();
        let machine = match &*machine {
            "x86_64" => "amd64",
            other => other,
        };
        writeln!(out, "os.arch={machine}")?;
        writeln!(out, "os.version={}", host.release().to_string_lossy())?;
        writeln!(out, "user.name={}", variable("USER"))?;
        writeln!(out, "user.home={}", variable("HOME"))?;
        let dir = std::env::current_dir();
        let dir = dir.map_or_else(|_| ABSENT.to_owned(), |dir| dir.display().to_string());
        writeln!(out, "user.dir={dir}")?;
        let machine = rustix::system::sysinfo();
        let megabytes = |units: u64| (units.saturating_mul(machine.mem_unit.into())) >> 20;
        let (free, all) = (megabytes(machine.freeram), megabytes(machine.totalram));
        writeln!(out, "os.memory.free={free}MB")?;
        writeln!(out, "os.memory.max={all}MB")?;
        writeln!(out, "os.memory.total={all}MB")
    }

    fn write_dump(&self, out: &mut String, visitor: Visitor) -> std::fmt::Result {
        writeln!(out, "SessionTracker dump:")?;
        let sessions = self
            .sessions
            .iter()
            .map(|(id, session)| (session.deadline_ms, format!("0x{id:x}")));
        self.write_deadlines(out, "Session", sessions)?;
        writeln!(out, "ephemeral nodes dump:")?;
        let owners: Vec<(i64, Vec<String>)> = self.tree.ephemerals().collect();
        writeln!(out, "Sessions with Ephemerals ({}):", owners.len())?;
        for (session, paths) in owners {
            writeln!(out, "0x{session:x}:")?;
            paths
                .iter()
                .try_for_each(|path| writeln!(out, "\t{path}"))?;
        }
        writeln!(out, "Connections dump:")?;
        let now_ms = self.sessions.now_ms();
        let next = |ms: i64| (ms / CONNECTION_TICK_MS + 1) * CONNECTION_TICK_MS;
        let told = |peer, session| format!("ip: /{peer} sessionId: 0x{session:x}");
        let connections = self.connections.values().map(|connection| {
            let session = self.sessions.get(connection.session);
            let deadline_ms = session.map_or(now_ms, |session| session.deadline_ms);
            (next(deadline_ms), told(connection.peer, connection.session))
        });
        let visitor = (next(now_ms), told(visitor.peer, 0));
        self.write_deadlines(out, "Connections", connections.chain([visitor]))
    }

    /// Things by the moment at which they end.
    fn write_deadlines(
        &self,
        out: &mut String,
        what: &str,
        things: impl Iterator<Item = (i64, String)>,
    ) -> std::fmt::Result {
        let mut by_deadline: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        let mut count = 0;
        for (deadline_ms, thing) in things {
            count += 1;
            by_deadline.entry(deadline_ms).or_default().push(thing);
        }
        writeln!(out, "{what} Sets ({})/({count}):", by_deadline.len())?;
        let (now_ms, wall_ms) = (self.sessions.now_ms(), self.config.clock.wall_ms());
        for (deadline_ms, things) in by_deadline {
            let at = date(wall_ms + deadline_ms - now_ms);
            writeln!(out, "{} expire at {at}:", things.len())?;
            things
                .iter()
                .try_for_each(|thing| writeln!(out, "\t{thing}"))?;
        }
        Ok(())
    }

    fn write_watch_summary(&self, out: &mut String) -> std::fmt::Result {
        let table = &self.watches.data;
        let watchers = table.by_watcher().count();
        let pairs: usize = table.by_watcher().map(|(_, paths)| paths.len()).sum();
        let paths = table.by_path().count();
        writeln!(out, "{watchers} connections watching {paths} paths")?;
        writeln!(out, "Total watches:{pairs}")
    }

    fn write_watches(&self, out: &mut String, by_path: bool) -> std::fmt::Result {
        let session = |id| {
            self.connections
                .get(&id)
                .map_or(0, |connection| connection.session)
        };
        if by_path {
            for (path, watchers) in self.watches.data.by_path() {
                writeln!(out, "{path}")?;
                watchers
                    .iter()
                    .try_for_each(|(id, _)| writeln!(out, "\t0x{:x}", session(*id)))?;
            }
        } else {
            for (id, paths) in self.watches.data.by_watcher() {
                writeln!(out, "0x{:x}", session(id))?;
                paths
                    .iter()
                    .try_for_each(|path| writeln!(out, "\t{path}"))?;
            }
        }
        writeln!(out)
    }
}

/// The one who asks is a connection too, of which nothing more is known.
fn write_visitor(out: &mut String, visitor: Visitor) -> std::fmt::Result {
    writeln!(out, " /{}[0](queued=0,recved=1,sent=0)", visitor.peer)
}

fn write_connection(out: &mut String, connection: &Connection, brief: bool) -> std::fmt::Result {
    let stats = &connection.stats;
    write!(
        out,
        " /{}[1](queued={}",
        connection.peer,
        connection.waiting.len()
    )?;
    write!(
        out,
        ",recved={},sent={}",
        stats.whole.received, stats.whole.sent
    )?;
    if !brief && connection.session != 0 {
        let latency = &stats.whole.latency;
        write!(
            out,
            ",sid=0x{:x},lop={}",
            connection.session,
            ops::short_name(stats.last_op)
        )?;
        write!(
            out,
            ",est={},to={}",
            stats.established_ms, connection.timeout_ms
        )?;
        if stats.last_xid >= 0 {
            write!(out, ",lcxid=0x{:x}", stats.last_xid)?;
        }
        write!(
            out,
            ",lzxid=0x{:x},lresp={}",
            stats.last_zxid, stats.last_response_ms
        )?;
        write!(
            out,
            ",llat={},minlat={}",
            stats.last_latency_ms, latency.min_ms
        )?;
        write!(
            out,
            ",avglat={},maxlat={}",
            latency.mean_ms() as i64,
            latency.max_ms
        )?;
    }
    writeln!(out, ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_javas() {
        for (wall_ms, expected) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_700_000_000_000, "Tue Nov 14 22:13:20 UTC 2023"),
            (4_107_542_399_999, "Sun Feb 28 23:59:59 UTC 2100"),
        ] {
            assert_eq!(date(wall_ms), expected);
        }
    }
}
