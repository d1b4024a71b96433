//! Whether the folders of a node are fit to lie where they are to lie.

use std::path::{Path, PathBuf};

use settings::layers::Texts;
use settings::value::Fault;

/// Folders that two would write to. What a log directory holds are replicas: the coordinator's
/// `version-2` would be taken for one, and be deleted with a topic called `version`.
pub(super) fn shared(texts: &Texts) -> Vec<Fault> {
    let named = ["log.dirs", "log.dir"]
        .iter()
        .find_map(|key| texts.get(*key));
    let named = named.map_or("", String::as_str).split(',').map(str::trim);
    let logs: Vec<PathBuf> = named
        .filter(|dir| !dir.is_empty())
        .map(|dir| real(Path::new(dir)))
        .collect();
    let mut faults = Vec::new();
    for (number, dir) in logs.iter().enumerate() {
        if logs[..number].contains(dir) {
            let words = format!("{} is named twice", dir.display());
            faults.push(Fault::between("log.dirs", words));
        }
    }
    if let Some(coordinator) = texts.get("coordinator.data.dir") {
        let own = real(Path::new(coordinator));
        if let Some(within) = logs.iter().find(|dir| own.starts_with(dir)) {
            let words = format!(
                "coordinator.data.dir={coordinator} lies in the log directory {}, which holds nothing but \
                 replicas: choose a folder beside it, or other log directories, such as {}",
                within.display(),
                within.join("broker").display()
            );
            faults.push(Fault::between("coordinator.data.dir", words));
        }
    }
    faults
}

/// The folder a path leads to, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut missing = Vec::new();
    for there in whole.ancestors() {
        if let Ok(found) = there.canonicalize() {
            return missing.iter().rev().fold(found, |at, name| at.join(name));
        }
        missing.extend(there.file_name());
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(logs: &[&Path], coordinator: &Path) -> Vec<String> {
        let logs: Vec<&str> = logs.iter().map(|dir| dir.to_str().unwrap()).collect();
        let coordinator = coordinator.to_str().unwrap();
        let texts = [
            ("log.dirs", &*logs.join(",")),
            ("coordinator.data.dir", coordinator),
        ];
        let texts = texts.map(|(key, text)| (key.to_owned(), text.to_owned()));
        let faults = shared(&Texts::from(texts));
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn logs_and_the_coordinator_lie_beside_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, link) = (dir.path().join("logs"), dir.path().join("link"));
        std::fs::create_dir(&logs).unwrap();
        std::os::unix::fs::symlink(&logs, &link).unwrap();
        let beside = dir.path().join("logs-coordinator");
        assert_eq!(told(&[&logs], &beside), Vec::<String>::new());
        assert_eq!(told(&[&logs], dir.path()), Vec::<String>::new());
        for within in [
            logs.clone(),
            logs.join("deeper/down"),
            link.join("new"),
            logs.join("../logs"),
        ] {
            assert_eq!(told(&[&logs], &within).len(), 1, "{}", within.display());
        }
        assert_eq!(told(&[&logs, &link], &beside).len(), 1, "the same twice");
    }
}
