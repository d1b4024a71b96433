//! The fuzz targets over a fixed corpus: real frames damaged in thousands of ways. Nothing panics,
//! and nobody makes a decoder reserve memory by a number that nothing stands behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use protocol::kafka::apis::{Api, ROWS};
use protocol::kafka::codec::CheckedRequest;
use protocol::kafka::header::Opening;

#[path = "../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "public to the fuzz targets, which are a crate of their own"
)]
mod targets;

/// What one element of a message takes in memory at most, over the one byte it may take on the
/// wire: the decoder's structs are that large.
const BYTES_PER_BYTE_MAX: usize = 1024;
/// What is reserved whatever comes: the frame's copy, shapes compiled at their first use.
const BYTES_ALWAYS: usize = 64 << 10;
const DAMAGES_PER_FRAME: usize = 20;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<usize> = const { Cell::new(0) };
    static HELD_MOST: Cell<usize> = const { Cell::new(0) };
}

/// Remembers the largest block that a thread asked for, and how much it held at most.
struct Watched;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

#[expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one only counts"
)]
// SAFETY: every call is handed on unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ended = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
        let _ended = HELD.try_with(|held| {
            held.set(held.get().wrapping_add(layout.size()));
            HELD_MOST.with(|most| most.set(most.get().max(held.get())));
        });
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let _ended = HELD.try_with(|held| held.set(held.get().wrapping_sub(layout.size())));
        // SAFETY: the block came from `System` by `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

fn largest_block_of(work: impl FnOnce()) -> usize {
    LARGEST.set(0);
    work();
    LARGEST.get()
}

fn most_held_by(work: impl FnOnce()) -> usize {
    // What other tests of this thread left behind is given back below zero, not counted.
    HELD.set(1 << 40);
    HELD_MOST.set(1 << 40);
    work();
    HELD_MOST.get() - (1 << 40)
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// Real requests, and their answers where there were any.
fn frames() -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let lines = include_str!("golden/frames.txt").lines();
    let pairs = lines.map(|line| line.split_once(' ').expect("two frames a line"));
    pairs
        .map(|(request, answer)| (hex(request), (answer != "-").then(|| hex(answer))))
        .collect()
}

/// The same seeds do the same damage everywhere.
struct Damage(u64);

impl Damage {
    fn next(&mut self) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize
    }

    fn inflict(&mut self, bytes: &mut Vec<u8>, from: usize) {
        for _ in 0..=self.next() % 4 {
            let at = from + self.next() % bytes.len().saturating_sub(from).max(1);
            if at >= bytes.len() {
                continue;
            }
            match self.next() % 6 {
                0 => bytes[at] = 0xff,
                1 => bytes[at] = 0x7f,
                2 => bytes[at] = self.next() as u8,
                3 => bytes.truncate(at),
                4 => bytes.insert(at, self.next() as u8),
                _ => drop(bytes.remove(at)),
            }
        }
    }
}

fn allowed(len: usize) -> usize {
    BYTES_ALWAYS + len * BYTES_PER_BYTE_MAX
}

#[test]
fn damaged_requests_of_every_api_and_version_take_no_more_memory_than_they_brought() {
    let mut damage = Damage(75);
    for (frame, _) in frames() {
        targets::request(&frame);
        for _ in 0..DAMAGES_PER_FRAME {
            let mut damaged = frame.clone();
            damage.inflict(&mut damaged, 8);
            let largest = largest_block_of(|| targets::request(&damaged));
            assert!(
                largest <= allowed(damaged.len()),
                "{largest} bytes for {damaged:02x?}"
            );
        }
    }
}

#[test]
fn damaged_answers_of_every_api_and_version_take_no_more_memory_than_they_brought() {
    let mut damage = Damage(76);
    for (request, answer) in frames() {
        let (Ok(opening), Some(answer)) = (Opening::read(&request), answer) else {
            continue;
        };
        let Some(api) = Api::from_key(opening.api_key) else {
            continue;
        };
        let mut input = vec![api.index() as u8, opening.api_version as u8];
        input.extend(answer);
        targets::answer(&input);
        for _ in 0..DAMAGES_PER_FRAME {
            let mut damaged = input.clone();
            damage.inflict(&mut damaged, 6);
            let largest = largest_block_of(|| targets::answer(&damaged));
            assert!(
                largest <= allowed(damaged.len()),
                "{largest} bytes for {damaged:02x?}"
            );
        }
    }
}

#[test]
fn noise_is_no_request() {
    let mut damage = Damage(77);
    for row in 0..ROWS.len() {
        for version in 0..18 {
            for _ in 0..20 {
                let mut input = vec![row as u8, version];
                input.extend((0..damage.next() % 64).map(|_| damage.next() as u8));
                let largest = largest_block_of(|| targets::body(&input));
                assert!(
                    largest <= allowed(input.len()),
                    "{largest} bytes for {input:02x?}"
                );
            }
        }
    }
}

/// Decodes a body; how much that may take by what was told beforehand, and how much it took.
fn told_and_taken(api: Api, version: i16, body: &[u8]) -> Option<(usize, usize)> {
    let body = Bytes::copy_from_slice(body);
    let checked = CheckedRequest::check(api, version, body).ok()?;
    let told = checked.memory();
    let mut is_read = false;
    let taken = most_held_by(|| is_read = checked.decode().is_ok());
    // A refusal carries words and, where asked for, a backtrace.
    is_read.then_some((told, taken))
}

#[test]
fn decoding_takes_no_more_memory_than_was_told_beforehand() {
    // What is not of the message: the owner of a shared frame.
    const BESIDES: usize = 256;
    let mut damage = Damage(12);
    let mut decoded = 0;
    for row in ROWS {
        for version in row.version_min..=row.version_max {
            for round in 0..200_usize {
                // Small numbers are short texts, few elements, unknown tags.
                let mut body: Vec<u8> = (0..round * 8).map(|_| (damage.next() % 3) as u8).collect();
                body.resize(body.len() + 512, 0);
                if let Some((told, taken)) = told_and_taken(row.api, version, &body) {
                    decoded += 1;
                    let what = format!("{:?} {version}: {taken} of {told}", row.api);
                    assert!(taken <= told + BESIDES, "{what}");
                }
            }
        }
    }
    assert!(decoded > 1_000, "{decoded}");
}

#[test]
fn what_small_elements_grow_to_is_told() {
    // Ten thousand groups without a name, each with one tag that nobody knows.
    let mut body = vec![0x91, 0x4e];
    body.extend([1, 0, 0, 0, 0, 0, 0, 1, 9, 0].repeat(10_000));
    body.extend([0, 0]);
    let (told, taken) = told_and_taken(Api::OffsetFetch, 9, &body).expect("is well formed");
    assert!(taken > 40 * body.len(), "{taken} for {}", body.len());
    assert!(taken <= told && told < 3 * taken, "{taken} of {told}");
}
