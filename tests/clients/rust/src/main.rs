//! rskafka: partitions and records, no groups. See `../../README.md`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, stdin};

use chrono::{TimeZone, Utc};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;

type Done = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let at = std::env::args().nth(1).ok_or("an address")?;
    let client = ClientBuilder::new(vec![at]).build().await?;
    let mut lines = stdin().lock().lines().map_while(Result::ok);
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split('\t').collect();
        let done = match words[0] {
            "produce" => produce(&client, &words[1..], &mut lines).await,
            "read" => read(&client, &words[1..]).await,
            other => Err(format!("no such order: {other}").into()),
        };
        match done {
            Ok(()) => println!("ok"),
            Err(e) => println!("error\t{}", e.to_string().replace(['\n', '\t'], " ")),
        }
    }
    Ok(())
}

async fn open(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient, Box<dyn Error>> {
    Ok(client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?)
}

async fn produce(client: &Client, words: &[&str], lines: &mut impl Iterator<Item = String>) -> Done {
    let codec = match words[1] {
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => Compression::NoCompression,
    };
    let mut records: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    for line in lines.take(words[2].parse()?) {
        let words: Vec<&str> = line.split('\t').collect();
        let bytes = |word: &str| (word != "-").then(|| word.as_bytes().to_vec());
        let headers = words[4].split(',').filter_map(|pair| pair.split_once('='));
        records.entry(words[0].parse()?).or_default().push(Record {
            key: bytes(words[1]),
            value: bytes(words[2]),
            timestamp: Utc.timestamp_millis_opt(words[3].parse()?).single().ok_or("a timestamp")?,
            headers: headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect(),
        });
    }
    for (partition, records) in records {
        open(client, words[0], partition).await?.produce(records, codec).await?;
    }
    Ok(())
}

async fn read(client: &Client, words: &[&str]) -> Done {
    let partition: i32 = words[1].parse()?;
    let mut from: i64 = words[2].parse()?;
    let mut left: usize = words[3].parse()?;
    let reader = open(client, words[0], partition).await?;
    while left > 0 {
        let (records, _watermark) = reader.fetch_records(from, 1..1_000_000, 30_000).await?;
        if records.is_empty() {
            return Err("nothing came".into());
        }
        for one in records.into_iter().take(left) {
            let text = |held: Option<Vec<u8>>| {
                held.map_or("-".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
            };
            let pairs = one.record.headers.iter();
            let pairs: Vec<_> =
                pairs.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
            let headers = if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") };
            let at = one.record.timestamp.timestamp_millis();
            println!("{partition}\t{}\t{}\t{}\t{at}\t{headers}", one.offset, text(one.record.key), text(one.record.value));
            from = one.offset + 1;
            left -= 1;
        }
    }
    Ok(())
}
