//! The programs beside this one: where they lie, which of them run, how they are started and told
//! to end.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::failure::Failure;
use crate::properties::Properties;

/// The server lies beside this program; where it does not, the path is searched.
fn program(name: &str) -> PathBuf {
    beside(name).unwrap_or_else(|| name.into())
}

fn beside(name: &str) -> Option<PathBuf> {
    let path = home()?.join(name);
    path.exists().then_some(path)
}

/// The folder this program itself lies in, not the one of the link it was called by.
fn home() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?.canonicalize().ok()?;
    own.parent().map(Path::to_path_buf)
}

fn failed(act: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |cause| Failure::File {
        act,
        path: path.clone(),
        cause,
    }
}

/// Turns this process into the program. Comes back only with the reason it could not.
pub(super) fn become_it(name: &str, words: &[String]) -> Failure {
    let program = program(name);
    let cause = Command::new(&program).args(words).exec();
    failed("start", &program)(cause)
}

/// Starts the program on its own, with what it says in `<logs>/<said_to>.out`.
pub(super) fn in_background(name: &str, words: &[String], said_to: &str) -> Result<Child, Failure> {
    apart(&program(name), words, said_to)
}

/// The same with this program, as the tool `words` begin with.
pub(super) fn own_in_background(words: &[String], said_to: &str) -> Result<Child, Failure> {
    let own = std::env::current_exe().map_err(failed("find", Path::new("this program")))?;
    apart(&own, words, said_to)
}

fn apart(program: &Path, words: &[String], said_to: &str) -> Result<Child, Failure> {
    let logs = logs();
    fs::create_dir_all(&logs).map_err(failed("make", &logs))?;
    let path = logs.join(format!("{said_to}.out"));
    let out = File::create(&path).map_err(failed("write", &path))?;
    let err = out.try_clone().map_err(failed("write", &path))?;
    let mut command = Command::new(program);
    command
        .args(words)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    command.spawn().map_err(failed("start", program))
}

/// Kafka: LOG_DIR, or `logs` beside the scripts' folder; where there is no such folder, here.
fn logs() -> PathBuf {
    for name in ["LOG_DIR", "ZOO_LOG_DIR"] {
        if let Some(set) = std::env::var_os(name).filter(|set| !set.is_empty()) {
            return set.into();
        }
    }
    let home = home().filter(|home| home.ends_with("bin"));
    let above = home.as_deref().and_then(Path::parent);
    above.unwrap_or(Path::new("")).join("logs")
}

/// A process of one of our programs.
pub(super) struct Running {
    pub(super) id: u32,
}

impl Running {
    /// What it was started with: its file, and `--override` above it.
    pub(super) fn settings(&self) -> Properties {
        let line = fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .skip(1)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let mut settings = Properties::default();
        let mut pairs = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--override" {
                pairs.extend(words.next());
            } else if let Some(pair) = word.strip_prefix("--override=") {
                pairs.push(pair.to_owned());
            } else if word.starts_with("--") {
                // The other flags have a value each, which is no file of settings.
                if !word.contains('=') {
                    words.next();
                }
            } else if !word.is_empty() {
                let file = Path::new(&format!("/proc/{}/cwd", self.id)).join(word);
                settings = Properties::load(file.to_str()).unwrap_or_default();
            }
        }
        // A pair that is none was refused when it started.
        let _refused_there = settings.add_pairs(&pairs);
        settings
    }
}

/// The processes that run the program beside this one. Other programs of that name, and those of
/// another installation, are somebody else's.
pub(super) fn running(name: &str) -> Vec<Running> {
    let own = beside(name).and_then(|path| fs::metadata(path).ok());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let link = entry.path().join("exe");
        let ours = match (&own, fs::metadata(&link)) {
            (Some(own), Ok(its)) => (own.dev(), own.ino()) == (its.dev(), its.ino()),
            _ => false,
        };
        if ours || replaced(&link, name) {
            found.push(Running { id });
        }
    }
    found
}

/// Whether a process runs what lay here until a newer program took its place.
fn replaced(link: &Path, name: &str) -> bool {
    let (Ok(its), Some(home)) = (fs::read_link(link), home()) else {
        return false;
    };
    its.to_string_lossy() == format!("{} (deleted)", home.join(name).display())
}

/// Sends a signal by name, as `kill -s NAME` does.
pub(super) fn signal(name: &str, ids: &[String]) -> Result<(), Failure> {
    let mut command = Command::new("sh");
    command
        .args(["-c", "kill -s \"$0\" \"$@\"", name])
        .args(ids);
    let done = command.status().map_err(failed("run", Path::new("sh")))?;
    // What went wrong `kill` has said itself.
    done.success().then_some(()).ok_or(Failure::Exit(1))
}
