//! The loader: the first two bytes say how much of the rest is a snapshot; the remainder is a log.

#![no_main]

use std::path::Path;

use base::disk::Open;
use base::faulty_disk::FaultyDisk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((len, rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let (snapshot, log) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
    let disk = FaultyDisk::new(1).shared();
    let dir = Path::new("/version-2");
    disk.create_dir_all(dir).expect("memory takes it");
    for (name, bytes) in [("snapshot.0", snapshot), ("log.1", log)] {
        let file = disk.open(&dir.join(name), Open::Create);
        file.and_then(|file| file.write_at(bytes, 0)).expect("memory takes it");
    }
    let _outcome = coordinator::last_zxid_in(&*disk, dir);
});
