//! The loader of snapshots and logs. The first byte says what the rest is.
//!
//! Even: two bytes of length, a snapshot of so many bytes as it would lie on the disk, then a log.
//! Odd: a snapshot's sessions, lists and nodes, then transactions, each with two bytes of length
//! before it; checksums and frames are put around them here, so that what lies behind is reached.

#![no_main]

use std::path::Path;

use base::disk::{Disk, Open};
use base::faulty_disk::FaultyDisk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let (snapshot, log) = sized(rest);
    if kind % 2 == 0 {
        load(snapshot, log);
    } else {
        load(&sealed(snapshot), &framed(log));
    }
});

/// What two bytes of length announce, as far as it is there, and the rest.
fn sized(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.split_first_chunk::<2>() {
        Some((len, rest)) => rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len())),
        None => (&[], &[]),
    }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut file = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    file.extend_from_slice(body);
    let sum = adler(&file);
    file.extend_from_slice(&sum.to_be_bytes());
    file.extend_from_slice(b"\0\0\0\x01/");
    file
}

fn framed(mut bodies: &[u8]) -> Vec<u8> {
    let mut file = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    while !bodies.is_empty() {
        let (body, rest) = sized(bodies);
        bodies = rest;
        file.extend_from_slice(&adler(body).to_be_bytes());
        file.extend_from_slice(&(body.len() as u32).to_be_bytes());
        file.extend_from_slice(body);
        file.push(b'B');
    }
    file
}

fn adler(bytes: &[u8]) -> u64 {
    let (mut a, mut b) = (1_u64, 0_u64);
    for byte in bytes {
        a = (a + u64::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    (b << 16) | a
}

fn load(snapshot: &[u8], log: &[u8]) {
    let disk = FaultyDisk::new(1).shared();
    let dir = Path::new("/version-2");
    disk.create_dir_all(dir).expect("memory takes it");
    // The names fit the first transaction, behind the file's header and 24 bytes of its own.
    let first = log.get(40..48).and_then(|zxid| zxid.try_into().ok());
    let first = first.map_or(1, i64::from_be_bytes).max(1);
    let (before, begins) = (format!("snapshot.{:x}", first - 1), format!("log.{first:x}"));
    for (name, bytes) in [(before, snapshot), (begins, log)] {
        let file = disk.open(&dir.join(name), Open::Create);
        file.and_then(|file| file.write_at(bytes, 0))
            .expect("memory takes it");
    }
    let _outcome = coordinator::last_zxid_in(&*disk, dir);
}
