//! `docs/KAFKA.md` lists every key with what becomes of it here; this test writes and compares it.
//!
//! `BLESS=1 cargo test -p settings --test documentation` writes the section anew.

use std::path::Path;

use settings::keys;
use settings::row::{Row, State};

const BEGIN: &str =
    "<!-- settings: written by broker/settings/tests/documentation.rs, BLESS=1 -->\n";
const END: &str = "<!-- settings: end -->\n";

fn section() -> String {
    let mut text = String::from(BEGIN);
    let ours: Vec<&Row> = keys::broker_rows()
        .filter(|row| keys::is_ours(row.name))
        .collect();
    let mut kafkas: Vec<&Row> = keys::broker_rows()
        .filter(|row| !keys::is_ours(row.name))
        .collect();
    kafkas.extend(keys::dynamic_only_rows());
    kafkas.sort_by_key(|row| row.name);
    let topics: Vec<&Row> = keys::topic_rows().collect();
    text += &format!(
        "\nKafka 3.9 knows {} keys of a broker and {} of a topic. A key that *works* is obeyed; one \
         *without meaning* is accepted and changes nothing, for the reason given; one that comes \
         *later* is accepted, told by name at the start when it is set, and not obeyed yet.\n",
        kafkas.len(),
        topics.len()
    );
    for (title, rows) in [("Broker", &kafkas), ("Topic", &topics)] {
        list(&mut text, &format!("{title}: works"), rows, |row| {
            matches!(row.state, State::Works(_))
        });
        list(&mut text, &format!("{title}: later"), rows, |row| {
            matches!(row.state, State::Later)
        });
        list(
            &mut text,
            &format!("{title}: without meaning here"),
            rows,
            |row| matches!(row.state, State::NoMeaning(_)),
        );
    }
    list(&mut text, "Keys that only this broker has", &ours, |_| true);
    text.push('\n');
    text.push_str(END);
    text
}

fn list(text: &mut String, title: &str, rows: &[&Row], keep: impl Fn(&Row) -> bool) {
    let rows: Vec<&&Row> = rows.iter().filter(|row| keep(row)).collect();
    text.push_str(&format!(
        "\n### {title} ({})\n\n| key | default | |\n|---|---|---|\n",
        rows.len()
    ));
    for row in rows {
        let default = match row.default {
            None => "–".to_owned(),
            Some("") => "empty".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        let why = match row.state {
            State::NoMeaning(why) => format!(" *Here: {why}.*"),
            State::Works(_) | State::Later => String::new(),
        };
        let doc = row.doc.replace('|', "\\|");
        text.push_str(&format!("| `{}` | {default} | {doc}{why} |\n", row.name));
    }
}

#[test]
fn the_documentation_lists_every_key_with_what_becomes_of_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/KAFKA.md");
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    let (before, after) = match (held.split_once(BEGIN), held.split_once(END)) {
        (Some((before, _)), Some((_, after))) => (before.to_owned(), after.to_owned()),
        _ => (format!("{held}\n## Settings\n\n"), String::new()),
    };
    let wanted = format!("{before}{}{after}", section());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, wanted).expect("docs/ can be written");
    } else {
        assert!(
            held == wanted,
            "docs/KAFKA.md is not up to date: run this test with BLESS=1"
        );
    }
}
