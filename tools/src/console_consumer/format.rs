//! What is printed of a record: Apache's formatters and their properties.

use protocol::batch::TimestampType;

use crate::args::Args;
use crate::console_consumer::deserializers::Deserializer;
use crate::failure::Failure;
use crate::internal_topics;
use crate::kafka::consumer::Taken;
use crate::print::Out;
use crate::properties::Properties;
use crate::warn;

#[derive(PartialEq)]
enum Kind {
    Default,
    Logging,
    Nothing,
    Internal(internal_topics::Formatter),
}

pub(super) struct Format {
    kind: Kind,
    timestamp: bool,
    key: bool,
    value: bool,
    partition: bool,
    offset: bool,
    headers: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_shown: Option<Deserializer>,
    value_shown: Option<Deserializer>,
    headers_shown: Option<Deserializer>,
}

impl Format {
    pub(super) fn read(args: &Args) -> Result<Format, Failure> {
        let mut properties = Properties::load(args.get("formatter-config"))?;
        properties.add_pairs(args.all("property"))?;
        let class = args.get("formatter").unwrap_or("DefaultMessageFormatter");
        let name = class.rsplit(['.', '$']).next().unwrap_or_default();
        if class.starts_with("kafka.") {
            warn!(
                "WARNING: {class} is deprecated and will be removed in the next major release. Please use org.apache.kafka.tools.consumer.{name} instead"
            );
        }
        let package = class.strip_suffix(name).unwrap_or_default();
        let known = ["", "kafka.tools.", "org.apache.kafka.tools.consumer."].contains(&package);
        let kind = match (name, internal_topics::Formatter::named(class)) {
            (_, Some(internal)) => Kind::Internal(internal),
            ("DefaultMessageFormatter", _) if known => Kind::Default,
            ("LoggingMessageFormatter", _) if known => Kind::Logging,
            ("NoOpMessageFormatter", _) if known => Kind::Nothing,
            _ => return Err(Failure::Absent(format!("the formatter {class}"))),
        };
        let word =
            |key: &str, default: &str| properties.get(key).unwrap_or(default).as_bytes().to_vec();
        let is = |key: &str, default| properties.is_true(key, default);
        let class = |flag, key: &str| {
            let class = args.get(flag).or(properties.get(key));
            class.map(Deserializer::named).transpose()
        };
        Ok(Format {
            kind,
            timestamp: is("print.timestamp", false),
            key: is("print.key", false),
            value: is("print.value", true),
            partition: is("print.partition", false),
            offset: is("print.offset", false),
            headers: is("print.headers", false),
            key_separator: word("key.separator", "\t"),
            line_separator: word("line.separator", "\n"),
            headers_separator: word("headers.separator", ","),
            null_literal: word("null.literal", "null"),
            key_shown: class("key-deserializer", "key.deserializer")?,
            value_shown: class("value-deserializer", "value.deserializer")?,
            headers_shown: class("", "headers.deserializer")?,
        })
    }

    /// Prints a record; what stands before a value that is none was printed then.
    pub(super) fn write(&self, taken: &Taken, out: &mut Out) -> Result<(), String> {
        match self.kind {
            Kind::Nothing => return Ok(()),
            Kind::Internal(formatter) => {
                if let Some(text) = formatter.show(taken.key.as_deref(), taken.value.as_deref()) {
                    out.text(format_args!("{text}"));
                }
                return Ok(());
            }
            Kind::Default | Kind::Logging => {}
        }
        let stamp = |out: &mut Out| match (taken.timestamp_ms, taken.timestamp_type) {
            (..0, TimestampType::Create) => out.text(format_args!("NO_TIMESTAMP")),
            (ms, kind) => out.text(format_args!("{}:{ms}", kind.name())),
        };
        let gap = |out: &mut Out, more: bool| {
            out.bytes(if more {
                &self.key_separator
            } else {
                &self.line_separator
            });
        };
        let rest = [
            self.partition,
            self.offset,
            self.headers,
            self.key,
            self.value,
        ];
        let after = |at: usize| rest[at..].contains(&true);
        if self.timestamp {
            stamp(out);
            gap(out, after(0));
        }
        if self.partition {
            out.text(format_args!("Partition:{}", taken.partition));
            gap(out, after(1));
        }
        if self.offset {
            out.text(format_args!("Offset:{}", taken.offset));
            gap(out, after(2));
        }
        if self.headers {
            self.write_headers(taken, out)?;
            gap(out, after(3));
        }
        if self.key {
            self.show(self.key_shown, taken.key.as_deref(), out)?;
            gap(out, after(4));
        }
        if self.value {
            self.show(self.value_shown, taken.value.as_deref(), out)?;
            out.bytes(&self.line_separator);
        }
        Ok(())
    }

    /// Kafka: what stands for null is read as a value is.
    fn show(
        &self,
        how: Option<Deserializer>,
        bytes: Option<&[u8]>,
        out: &mut Out,
    ) -> Result<(), String> {
        let bytes = bytes.unwrap_or(&self.null_literal);
        match how {
            None => out.bytes(bytes),
            Some(how) => out.bytes(&how.text(bytes)?),
        }
        Ok(())
    }

    fn write_headers(&self, taken: &Taken, out: &mut Out) -> Result<(), String> {
        if taken.headers.is_empty() {
            out.text(format_args!("NO_HEADERS"));
        }
        for (at, (key, value)) in taken.headers.iter().enumerate() {
            if at > 0 {
                out.bytes(&self.headers_separator);
            }
            out.bytes(&key);
            out.bytes(b":");
            self.show(self.headers_shown, value.as_deref(), out)?;
        }
        Ok(())
    }
}
