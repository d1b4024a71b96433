//! What is held back: the table in `docs/KAFKA.md`, and whether ours answers as it says.

use protocol::kafka::apis::Api;

use crate::fields::Messages;
use crate::golden::{self, Masks};
use crate::script::Exchange;

/// One answer of ours behind which something is held back.
pub(crate) struct Answered {
    row: String,
    asked: String,
    text: String,
}

pub(crate) fn answered(
    messages: &Messages,
    masks: &Masks,
    exchanges: &[Exchange],
) -> Vec<Answered> {
    let held = exchanges.iter().filter_map(|exchange| {
        let name = Api::name(exchange.api);
        Some(Answered {
            row: exchange.held.clone()?,
            asked: format!("{name} {}: {}", exchange.version, exchange.case),
            text: golden::text(messages, masks, exchange),
        })
    });
    held.collect()
}

/// The rows of the table: what is held back, and the code it is answered with.
fn rows() -> Vec<(String, Option<String>)> {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/KAFKA.md");
    let text = std::fs::read_to_string(page).unwrap();
    let table = text
        .lines()
        .skip_while(|line| !line.starts_with("| API | held back |"))
        .skip(2);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let code = cells[3]
                .split_once('(')
                .and_then(|(_, rest)| rest.split_once(')'))
                .map(|(code, _)| code.to_owned());
            (cells[1].to_owned(), code)
        })
        .collect()
}

/// Every answer is the one its row names; a row that is gone holds nothing back any more.
pub(crate) fn check(all: &[Answered]) {
    let rows = rows();
    for Answered { row, asked, text } in all {
        let known = rows.iter().find(|(name, _)| name == row);
        let (_, code) = known.unwrap_or_else(|| {
            panic!("docs/KAFKA.md holds nothing back at {row:?}: compare {asked} with Apache")
        });
        if let Some(code) = code {
            assert!(
                text.contains(&format!("errorCode: {code}")),
                "{asked} is not answered with {code}:\n{text}"
            );
        }
    }
}
