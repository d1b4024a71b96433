//! From the hash of a key to the offset of its last record, in bounded memory.
//!
//! Keys are not kept, only 128 bits of a keyed hash (SipHash-2-4) whose key is drawn anew for every
//! pass: two keys fall together with a chance of one in 2¹²⁸, and nobody can choose keys that do,
//! which holds for Kafka's MD5 no more.
//!
//! Invariant: at most `slots_max` slots of 24 bytes; at least one in ten stays free, so that a
//! search ends.

/// Bytes a key takes, as `log.cleaner.dedupe.buffer.size` counts them.
pub(crate) const SLOT_BYTES: usize = 24;
/// Slots to begin with; a topic with few keys never takes more.
const SLOTS_MIN: usize = 1024;

/// The map of one pass.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    keys: [u64; 2],
    // (hash, hash, offset + 1); all zero where free.
    slots: Vec<[u64; 3]>,
    len: usize,
    slots_max: usize,
    load: f64,
    latest_offset: i64,
}

/// The map holds as many keys as it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl OffsetMap {
    /// `load` is the part of the slots that may be taken, between 0 and 1.
    pub(crate) fn new(bytes_max: usize, load: f64, seed: [u64; 2]) -> Self {
        let slots_max = (bytes_max / SLOT_BYTES).max(16);
        OffsetMap {
            keys: seed,
            slots: vec![[0; 3]; slots_max.min(SLOTS_MIN)],
            len: 0,
            slots_max,
            load: load.clamp(0.1, 0.9),
            latest_offset: -1,
        }
    }

    /// Forgets all keys, and keeps the room they took.
    pub(crate) fn clear(&mut self) {
        self.slots.fill([0; 3]);
        self.len = 0;
        self.latest_offset = -1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many slots it may have at most.
    pub(crate) fn slots_max(&self) -> usize {
        self.slots_max
    }

    /// Up to and with this offset the map knows every key.
    pub(crate) fn latest_offset(&self) -> i64 {
        self.latest_offset
    }

    pub(crate) fn note_latest_offset(&mut self, offset: i64) {
        self.latest_offset = self.latest_offset.max(offset);
    }

    /// Notes a record. Refused where the key is new and the map full.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> Result<(), Full> {
        if self.len >= self.room() {
            if self.slots.len() >= self.slots_max {
                return Err(Full);
            }
            self.grow();
        }
        let hash = siphash128(self.keys, key);
        let at = self.find(hash);
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            self.len += 1;
        }
        *slot = [hash[0], hash[1], offset.cast_unsigned().wrapping_add(1)];
        Ok(())
    }

    /// The last offset noted for a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots[self.find(siphash128(self.keys, key))];
        slot[2].checked_sub(1).map(u64::cast_signed)
    }

    fn room(&self) -> usize {
        (self.slots.len() as f64 * self.load) as usize
    }

    /// The slot of a hash, or the free one where it would go.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        let mut at = (hash[0] % count as u64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            at = if at + 1 == count { 0 } else { at + 1 };
        }
    }

    fn grow(&mut self) {
        let count = (self.slots.len() * 4).min(self.slots_max);
        let old = std::mem::replace(&mut self.slots, vec![[0; 3]; count]);
        for slot in old.into_iter().filter(|slot| slot[2] != 0) {
            let at = self.find([slot[0], slot[1]]);
            self.slots[at] = slot;
        }
    }
}

/// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein).
fn siphash128(keys: [u64; 2], bytes: &[u8]) -> [u64; 2] {
    let mut v = [
        keys[0] ^ 0x736f_6d65_7073_6575,
        keys[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        keys[0] ^ 0x6c79_6765_6e65_7261,
        keys[1] ^ 0x7465_6462_7974_6573,
    ];
    let mut words = bytes.chunks_exact(8);
    for word in words.by_ref() {
        absorb(
            &mut v,
            u64::from_le_bytes(word.try_into().expect("chunks of eight")),
        );
    }
    let mut last = [0; 8];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    absorb(&mut v, u64::from_le_bytes(last));
    v[2] ^= 0xee;
    let squeeze = |v: &mut [u64; 4]| {
        (0..4).for_each(|_| sip_round(v));
        v[0] ^ v[1] ^ v[2] ^ v[3]
    };
    let first = squeeze(&mut v);
    v[1] ^= 0xdd;
    [first, squeeze(&mut v)]
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        let keys = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let empty = siphash128(keys, b"");
        let bytes = [empty[0].to_le_bytes(), empty[1].to_le_bytes()].concat();
        assert_eq!(bytes[..8], [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6]);
        assert_eq!(bytes[8..], [0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93]);
        let one = siphash128(keys, &[0]);
        let bytes = [one[0].to_le_bytes(), one[1].to_le_bytes()].concat();
        assert_eq!(bytes[..8], [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44]);
    }

    #[test]
    fn the_last_offset_of_each_key_is_kept_while_the_map_grows() {
        let mut map = OffsetMap::new(24 * 40_000, 0.9, [1, 2]);
        for round in 0..2 {
            for key in 0..20_000i64 {
                map.put(&key.to_le_bytes(), round * 20_000 + key).unwrap();
            }
        }
        assert_eq!(map.len(), 20_000);
        for key in 0..20_000i64 {
            assert_eq!(map.get(&key.to_le_bytes()), Some(20_000 + key));
        }
        assert_eq!(map.get(b"never seen"), None);
    }

    #[test]
    fn a_map_that_was_cleared_knows_no_key_and_takes_all_again() {
        let mut map = OffsetMap::new(24 * 100, 0.9, [1, 2]);
        let fill = |map: &mut OffsetMap| {
            let mut keys = 0..200i64;
            keys.position(|key| map.put(&key.to_le_bytes(), key) == Err(Full))
        };
        assert_eq!(fill(&mut map), Some(90));
        map.note_latest_offset(90);
        map.clear();
        assert_eq!((map.len(), map.latest_offset()), (0, -1));
        assert_eq!(map.get(&5i64.to_le_bytes()), None);
        assert_eq!(fill(&mut map), Some(90));
    }

    #[test]
    fn a_full_map_refuses_instead_of_growing() {
        let mut map = OffsetMap::new(24 * 100, 0.9, [1, 2]);
        let refused = (0..200i64).position(|key| map.put(&key.to_le_bytes(), key) == Err(Full));
        assert_eq!(refused, Some(90));
        assert_eq!(map.get(&5i64.to_le_bytes()), Some(5));
    }
}
