//! What the producer's test sends.

use base::chance::Chance;

use crate::args::Args;
use crate::failure::Failure;
use crate::print::Out;
use crate::say;

/// What is sent: random letters, lines of a file, or numbers.
pub(super) struct Payloads {
    size: usize,
    list: Vec<Vec<u8>>,
    monotonic: bool,
    chance: Chance,
}

impl Payloads {
    pub(super) fn read(args: &Args, out: &mut Out) -> Result<Payloads, Failure> {
        let size = args.parsed::<usize>("record-size")?;
        let monotonic = args.has("payload-monotonic");
        let kinds = [size.is_some(), args.has("payload-file"), monotonic];
        if kinds.iter().filter(|kind| **kind).count() != 1 {
            return Err(args.misuse(
                "one of the arguments --record-size --payload-file --payload-monotonic is required",
            ));
        }
        let mut list = Vec::new();
        if let Some(path) = args.get("payload-file") {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.into());
            say!(out, "Reading payloads from: {}", whole.display());
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.is_empty() {
                return Err(Failure::said("File does not exist or empty file provided."));
            }
            let delimiter = args
                .get("payload-delimiter")
                .unwrap_or("\\n")
                .replace("\\n", "\n");
            list = text
                .split(delimiter.as_str())
                .map(|one| one.as_bytes().to_vec())
                .collect();
            // Java's split leaves out what is empty at the end.
            while list.last().is_some_and(Vec::is_empty) {
                list.pop();
            }
            say!(out, "Number of messages read: {}", list.len());
        }
        // The same letters every time, as Apache's has them.
        Ok(Payloads {
            size: size.unwrap_or(0),
            list,
            monotonic,
            chance: Chance::seeded(0),
        })
    }

    pub(super) fn fill(&mut self, value: &mut Option<Vec<u8>>, at: u64) {
        let value = value.get_or_insert_default();
        if self.monotonic {
            *value = at.to_string().into_bytes();
        } else if !self.list.is_empty() {
            let one = self.chance.below(self.list.len() as u64) as usize;
            value.clone_from(&self.list[one]);
        } else {
            value.resize(self.size, 0);
            for piece in value.chunks_mut(8) {
                let mut random = self.chance.next_u64();
                for byte in piece {
                    *byte = b'A' + (random & 0xff) as u8 % 26;
                    random >>= 8;
                }
            }
        }
    }
}
