//! What to set where settings contradict each other: Kafka's words say what is wrong, and leave the
//! rest to whoever knows the manual.
//!
//! Told at the start only. Answers to clients carry Kafka's words alone.

use settings::layers::Texts;
use settings::value::Fault;

/// The settings that would mend what `faults` complain about, each in a sentence of its own.
pub(super) fn of(texts: &Texts, faults: &[Fault], host_name: &str) -> Vec<Fault> {
    let complains = |key: &str| faults.iter().any(|fault| fault.key == key);
    let mut fixes = Vec::new();
    if complains("node.id") && texts.contains_key("broker.id") {
        fixes.push("To mend it, leave out either broker.id or node.id.".to_owned());
    }
    let listening = [
        "listeners",
        "advertised.listeners",
        "inter.broker.listener.name",
    ];
    if listening.into_iter().any(complains) {
        fixes.extend(shapes(texts));
        fixes.extend(protocols(texts));
        fixes.extend(bound(texts));
        fixes.extend(inter_broker(texts));
        fixes.extend(ports(texts));
        fixes.extend(addresses(texts, host_name));
    }
    if complains("zookeeper.connect") && !texts.contains_key("zookeeper.connect") {
        fixes.push(
            "To mend it, name the ZooKeeper (zookeeper.connect=HOST:PORT, or ZOOKEEPER_HOSTS), or \
             leave coordinator.enable=false out, and the broker brings its own."
                .to_owned(),
        );
    }
    let fix = |words: String| Fault::between("", words);
    fixes.into_iter().map(fix).collect()
}

fn items<'a>(texts: &'a Texts, key: &str) -> impl Iterator<Item = &'a str> {
    let text = texts.get(key).map_or("", String::as_str);
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Names and the rest of each listener, without those of KRaft's controllers.
fn listeners(texts: &Texts, key: &str) -> Vec<(String, String)> {
    let controllers: Vec<String> = items(texts, "controller.listener.names")
        .map(str::to_uppercase)
        .collect();
    items(texts, key)
        .filter_map(|item| item.split_once("://"))
        .map(|(name, address)| (name.to_uppercase(), address.to_owned()))
        .filter(|(name, _)| !controllers.contains(name))
        .collect()
}

/// The names by which brokers and clients come in.
fn advertised(texts: &Texts) -> Vec<(String, String)> {
    let told = listeners(texts, "advertised.listeners");
    if told.is_empty() {
        listeners(texts, "listeners")
    } else {
        told
    }
}

/// Name, host and port for every listener that lacks one of them.
fn shapes(texts: &Texts) -> Vec<String> {
    let shaped = |item: &str| {
        let (name, address) = item.split_once("://").unwrap_or(("PLAINTEXT", item));
        let ported = address
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if ported { "" } else { ":9092" };
        format!("{name}://{address}{port}")
    };
    let mended = |key: &str| {
        let now: Vec<&str> = items(texts, key).collect();
        let then: Vec<String> = now.iter().map(|item| shaped(item)).collect();
        (now != then).then(|| {
            format!(
                "To mend it, set {key}={}: each is NAME://HOST:PORT.",
                then.join(",")
            )
        })
    };
    ["listeners", "advertised.listeners"]
        .into_iter()
        .filter_map(mended)
        .collect()
}

/// A protocol for every name that has none.
fn protocols(texts: &Texts) -> Option<String> {
    const PLAIN: &str =
        "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL";
    let key = "listener.security.protocol.map";
    let mut map: Vec<String> = items(texts, key).map(str::to_owned).collect();
    let untouched = map.is_empty();
    let known = |map: &[String], name: &str| {
        let of_item = |item: &str| item.rsplit_once(':').map(|(name, _)| name.to_uppercase());
        let in_map = map
            .iter()
            .any(|item| of_item(item).as_deref() == Some(name));
        in_map
            || (untouched
                && PLAIN
                    .split(',')
                    .any(|item| of_item(item).as_deref() == Some(name)))
    };
    let mut missing: Vec<String> = Vec::new();
    for (name, _) in listeners(texts, "listeners")
        .into_iter()
        .chain(advertised(texts))
    {
        if !known(&map, &name) && !missing.contains(&name) {
            missing.push(name);
        }
    }
    if missing.is_empty() {
        return None;
    }
    if untouched
        && listeners(texts, "listeners")
            .iter()
            .any(|(name, _)| name == "PLAINTEXT")
    {
        map.push("PLAINTEXT:PLAINTEXT".to_owned());
    }
    map.extend(missing.into_iter().map(|name| format!("{name}:PLAINTEXT")));
    Some(format!("To mend it, set {key}={}.", map.join(",")))
}

/// A listener for every name that is advertised without one.
fn bound(texts: &Texts) -> Option<String> {
    let mut bound: Vec<String> = items(texts, "listeners").map(str::to_owned).collect();
    let own = listeners(texts, "listeners");
    let before = bound.len();
    for (name, address) in advertised(texts) {
        if own.iter().all(|(other, _)| *other != name) {
            let port = address.rsplit_once(':').map_or("9092", |(_, port)| port);
            bound.push(format!("{name}://:{port}"));
        }
    }
    let advice = format!(
        "To mend it, set listeners={} (ports of your choice, each its own), or advertise only \
         names that listen.",
        bound.join(",")
    );
    (before > 0 && bound.len() > before).then_some(advice)
}

/// A port of its own for every listener that has another's.
fn ports(texts: &Texts) -> Option<String> {
    let mut apart = Vec::new();
    let mut taken: Vec<u16> = Vec::new();
    let mut moved = false;
    let key = if texts.contains_key("listeners") {
        "listeners"
    } else {
        "advertised.listeners"
    };
    for item in items(texts, key) {
        let (rest, port) = item.rsplit_once(':')?;
        let own: u16 = port.parse().ok()?;
        let free = (own..=u16::MAX).find(|port| *port == 0 || !taken.contains(port))?;
        moved |= free != own;
        taken.push(free);
        apart.push(format!("{rest}:{free}"));
    }
    moved.then(|| {
        format!(
            "To mend it, set listeners={}, and advertise the ports that lead there.",
            apart.join(",")
        )
    })
}

/// Somewhere to go for clients that would be sent everywhere.
fn addresses(texts: &Texts, host_name: &str) -> Option<String> {
    let told = advertised(texts);
    let nowhere = |(_, address): &(String, String)| address.starts_with("0.0.0.0:");
    let named = |(name, address): &(String, String)| {
        let port = address.strip_prefix("0.0.0.0:");
        let address = port.map_or_else(|| address.clone(), |port| format!("{host_name}:{port}"));
        format!("{name}://{address}")
    };
    told.iter().any(nowhere).then(|| {
        format!(
            "To mend it, set advertised.listeners={}, or another name by which clients reach this \
             machine.",
            told.iter().map(named).collect::<Vec<_>>().join(",")
        )
    })
}

/// Which listener brokers use among themselves, where the usual name is not advertised.
fn inter_broker(texts: &Texts) -> Option<String> {
    let names: Vec<String> = advertised(texts)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let key = "inter.broker.listener.name";
    let named = texts
        .get(key)
        .or_else(|| texts.get("security.inter.broker.protocol"))
        .map_or("PLAINTEXT", String::as_str);
    let first = names.first()?;
    let there = names.iter().any(|name| name.eq_ignore_ascii_case(named));
    (!there).then(|| {
        format!(
            "To mend it, set {key}={first}: brokers reach each other by a listener of that name."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(pairs: &[(&str, &str)]) -> Vec<String> {
        let texts: Texts = pairs
            .iter()
            .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
            .collect();
        let faults: Vec<Fault> = texts.keys().map(|key| Fault::between(key, "")).collect();
        of(&texts, &faults, "box")
            .iter()
            .map(Fault::to_string)
            .collect()
    }

    #[test]
    fn a_listener_without_a_protocol_gets_one_beside_those_there_are() {
        let fixes = mended(&[
            ("listeners", "PLAINTEXT://:9092,INSIDE://:9093"),
            ("inter.broker.listener.name", "INSIDE"),
        ]);
        assert_eq!(
            fixes,
            [
                "To mend it, set listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT."
            ]
        );
        let fixes = mended(&[
            ("listeners", "A://:9092,b://:9093,CONTROLLER://:9094"),
            ("listener.security.protocol.map", "A:PLAINTEXT"),
            ("controller.listener.names", "CONTROLLER"),
            ("inter.broker.listener.name", "A"),
        ]);
        assert_eq!(
            fixes,
            ["To mend it, set listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT."]
        );
    }

    #[test]
    fn a_listener_is_a_name_a_host_and_a_port() {
        for (key, wrong, right) in [
            (
                "advertised.listeners",
                "localhost:9095",
                "PLAINTEXT://localhost:9095",
            ),
            (
                "listeners",
                "PLAINTEXT://localhost",
                "PLAINTEXT://localhost:9092",
            ),
        ] {
            let fix = format!("To mend it, set {key}={right}: each is NAME://HOST:PORT.");
            assert_eq!(mended(&[(key, wrong)])[0], fix);
        }
    }

    #[test]
    fn brokers_are_given_a_listener_that_is_advertised() {
        let fixes = mended(&[
            ("listeners", "A://:9092"),
            ("listener.security.protocol.map", "A:PLAINTEXT"),
        ]);
        assert!(
            fixes[0].starts_with("To mend it, set inter.broker.listener.name=A:"),
            "{fixes:?}"
        );
    }

    #[test]
    fn what_is_advertised_gets_a_listener() {
        let fixes = mended(&[
            ("listeners", "PLAINTEXT://:9092"),
            (
                "advertised.listeners",
                "PLAINTEXT://kafka:9092,HOST://localhost:19092",
            ),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT",
            ),
        ]);
        assert!(
            fixes[0].starts_with("To mend it, set listeners=PLAINTEXT://:9092,HOST://:19092 "),
            "{fixes:?}"
        );
    }

    #[test]
    fn listeners_get_ports_of_their_own_and_clients_an_address() {
        let fixes = mended(&[(
            "listeners",
            "PLAINTEXT://0.0.0.0:9092,SSL://kafka:9092,SASL_SSL://kafka:9093",
        )]);
        let apart = "listeners=PLAINTEXT://0.0.0.0:9092,SSL://kafka:9093,SASL_SSL://kafka:9094,";
        assert!(fixes[0].contains(apart), "{fixes:?}");
        let reached =
            "advertised.listeners=PLAINTEXT://box:9092,SSL://kafka:9092,SASL_SSL://kafka:9093,";
        assert!(fixes[1].contains(reached), "{fixes:?}");
    }

    #[test]
    fn a_broker_without_either_zookeeper_is_told_of_both() {
        let texts = Texts::from([("coordinator.enable".to_owned(), "false".to_owned())]);
        let faults = [Fault::between("zookeeper.connect", "")];
        let fixes = of(&texts, &faults, "box");
        assert!(
            fixes[0].to_string().contains("ZOOKEEPER_HOSTS"),
            "{fixes:?}"
        );
    }

    #[test]
    fn what_fits_together_needs_no_advice() {
        assert_eq!(mended(&[("listeners", "PLAINTEXT://:9092")]), [""; 0]);
        assert_eq!(mended(&[("num.partitions", "none")]), [""; 0]);
    }
}
