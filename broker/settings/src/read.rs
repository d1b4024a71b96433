//! A file of settings, as properties or YAML, and what it says that nobody understands.

use serde_yaml::Value as Yaml;

use crate::keys;
use crate::layers::Texts;
use crate::nearest::nearest;
use crate::value::Fault;

/// Something worth telling that does not stop the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Properties,
    Yaml,
}

impl Format {
    /// By the file's name: `.yaml` and `.yml` are YAML, all else is properties.
    pub fn of(name: &str) -> Format {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".yaml") || name.ends_with(".yml") {
            Format::Yaml
        } else {
            Format::Properties
        }
    }
}

/// The texts of a file.
pub fn parse(bytes: &[u8], format: Format) -> Result<Texts, Vec<Fault>> {
    match format {
        Format::Properties => match base::properties::parse(bytes) {
            Ok(pairs) => Ok(pairs.into_iter().collect()),
            Err(why) => Err(vec![Fault::between("", why.to_string())]),
        },
        Format::Yaml => yaml(bytes),
    }
}

/// `key=value`, as `--override` takes it.
pub fn override_pair(text: &str) -> Result<(String, String), Fault> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err(Fault::between(
            "",
            format!("`{text}` is not of the form key=value."),
        )),
    }
}

/// Keys may be written flat (`log.dirs: …`), nested (`log: {dirs: …}`) or mixed; a list is its
/// items with commas between.
fn yaml(bytes: &[u8]) -> Result<Texts, Vec<Fault>> {
    let tree: Yaml = serde_yaml::from_slice(bytes).map_err(|error| {
        vec![Fault::between(
            "",
            format!("The file is not YAML: {error}."),
        )]
    })?;
    let mut texts = Texts::new();
    let mut faults = Vec::new();
    match tree {
        Yaml::Null => {}
        Yaml::Mapping(_) => flatten(String::new(), &tree, &mut texts, &mut faults),
        _ => faults.push(Fault::between(
            "",
            "The file must be a mapping of keys to values.",
        )),
    }
    if faults.is_empty() {
        Ok(texts)
    } else {
        Err(faults)
    }
}

fn flatten(key: String, tree: &Yaml, texts: &mut Texts, faults: &mut Vec<Fault>) {
    if let Yaml::Mapping(entries) = tree {
        for (name, below) in entries {
            match scalar(name) {
                Some(name) if key.is_empty() => flatten(name, below, texts, faults),
                Some(name) => flatten(format!("{key}.{name}"), below, texts, faults),
                None => faults.push(Fault::between(
                    &key,
                    format!("A key below `{key}` is not a name."),
                )),
            }
        }
        return;
    }
    let text = match tree {
        Yaml::Null => return,
        Yaml::Sequence(items) => items
            .iter()
            .map(scalar)
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        other => scalar(other),
    };
    let Some(text) = text else {
        faults.push(Fault::between(
            &key,
            format!("`{key}` is neither a value nor a list of values."),
        ));
        return;
    };
    if texts.insert(key.clone(), text).is_some() {
        faults.push(Fault::between(&key, format!("`{key}` is set twice.")));
    }
}

fn scalar(tree: &Yaml) -> Option<String> {
    match tree {
        Yaml::String(text) => Some(text.clone()),
        Yaml::Bool(flag) => Some(flag.to_string()),
        Yaml::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// One warning for each key that means nothing to anyone, with the name that was probably meant.
pub fn unknown_keys(texts: &Texts) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for key in texts.keys() {
        if keys::broker_or_listener(key).is_some() || belongs_to_a_plugin(key) {
            continue;
        }
        let known = || keys::broker_rows().map(|row| row.name);
        let meant = match (another_images(key), nearest(key, known())) {
            (Some(advice), _) => advice,
            (None, Some(name)) => format!("; did you mean `{name}`?"),
            (None, None) => match keys::topic(key).and_then(|row| row.broker_key) {
                Some(name) => format!("; for all topics it is called `{name}`."),
                None => " and is not used.".to_owned(),
            },
        };
        warnings.push(Warning(format!("The key `{key}` is not known{meant}")));
    }
    warnings
}

/// What old releases and other images call by a name of their own.
fn another_images(key: &str) -> Option<String> {
    let now = match key {
        "port" | "host.name" => "listeners",
        "advertised.host.name" | "advertised.port" => "advertised.listeners",
        // Bitnami's variables.
        _ => {
            let plain = key.strip_prefix("cfg.")?;
            keys::broker_or_listener(plain)?;
            return Some(format!(
                "; the variable is called KAFKA_{} here, without CFG_.",
                plain.to_ascii_uppercase().replace('.', "_")
            ));
        }
    };
    Some(format!(
        " since Kafka 3; what it said is said by `{now}`, as in {now}=PLAINTEXT://HOST:PORT."
    ))
}

/// Keys that Kafka hands to plug-ins, and that are no mistake.
fn belongs_to_a_plugin(key: &str) -> bool {
    const PREFIXES: [&str; 8] = [
        "authorizer.",
        "rlmm.config.",
        "rsm.config.",
        "confluent.",
        "config.providers",
        "listener.name.",
        "super.users",
        "allow.everyone.if.no.acl.found",
    ];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_old_releases_or_other_images_is_told_by_its_name_here() {
        for (key, told) in [
            ("port", "as in listeners=PLAINTEXT://HOST:PORT."),
            ("advertised.host.name", "`advertised.listeners`"),
            (
                "cfg.advertised.listeners",
                "KAFKA_ADVERTISED_LISTENERS here",
            ),
        ] {
            let texts = Texts::from([(key.to_owned(), "x".to_owned())]);
            let warnings = unknown_keys(&texts);
            assert!(warnings[0].0.contains(told), "{warnings:?}");
        }
    }

    #[test]
    fn yaml_may_be_flat_nested_or_both() {
        let text = b"log.dirs: [/a, /b]\nnum:\n  partitions: 3\nlog:\n  retention.hours: 2\n  cleaner:\n    enable: false\nbroker.rack: ~\n";
        let texts = parse(text, Format::Yaml).unwrap();
        let got: Vec<_> = texts
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            got,
            [
                ("log.cleaner.enable", "false"),
                ("log.dirs", "/a,/b"),
                ("log.retention.hours", "2"),
                ("num.partitions", "3"),
            ]
        );
    }

    #[test]
    fn yaml_faults_are_told_together() {
        let faults = parse(b"a: {b: 1}\na.b: 2\nc: [[1]]", Format::Yaml).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(parse(b"- a", Format::Yaml).is_err());
        assert_eq!(parse(b"", Format::Yaml), Ok(Texts::new()));
    }

    #[test]
    fn an_unknown_key_is_told_with_the_name_that_was_meant() {
        let said = |key: &str| {
            let texts = Texts::from([(key.to_owned(), "1".to_owned())]);
            unknown_keys(&texts)
                .into_iter()
                .map(|w| w.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            said("num.partition"),
            ["The key `num.partition` is not known; did you mean `num.partitions`?"]
        );
        assert_eq!(
            said("my.plugin.key.of.old"),
            ["The key `my.plugin.key.of.old` is not known and is not used."]
        );
        assert_eq!(
            said("delete.retention.ms"),
            [
                "The key `delete.retention.ms` is not known; for all topics it is called `log.cleaner.delete.retention.ms`."
            ]
        );
        assert!(said("listener.name.internal.ssl.keystore.location").is_empty());
        assert!(said("super.users").is_empty());
    }
}
