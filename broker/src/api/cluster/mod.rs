//! The cluster as clients and operators see it.

pub mod metadata;
pub mod describe_cluster;
pub mod elect_leaders;
pub mod update_features;
pub mod describe_log_dirs;
pub mod alter_replica_log_dirs;
pub mod envelope;

use std::path::Path;

/// A log directory as Kafka spells it, whatever the settings say. Java: `File.getAbsolutePath`:
/// without slashes that are doubled or at the end, and with its dots.
fn shown_directory(path: &Path) -> String {
    let path = path.to_string_lossy();
    let here = match path.starts_with('/') {
        true => String::new(),
        false => std::env::current_dir()
            .map(|here| here.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    let steps = here.split('/').chain(path.split('/'));
    let steps: String = steps
        .filter(|step| !step.is_empty())
        .flat_map(|step| ["/", step])
        .collect();
    match &*steps {
        "" => "/".to_owned(),
        _ => steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_spelled_as_java_spells_them() {
        let shown = |path: &str| shown_directory(Path::new(path));
        for path in ["/data/kafka", "/data/kafka/", "//data//kafka"] {
            assert_eq!(shown(path), "/data/kafka");
        }
        assert_eq!(shown("/"), "/");
        let here = std::env::current_dir().unwrap();
        assert_eq!(shown("./logs/"), format!("{}/./logs", here.display()));
    }
}
