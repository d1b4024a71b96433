//! The fuzz targets over a fixed corpus: real frames damaged in thousands of ways. Nothing panics,
//! and nobody makes a decoder reserve memory by a number that nothing stands behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use protocol::kafka::apis::{Api, ROWS};
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
}

/// Remembers the largest block that a thread asked for.
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
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `System` by `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

fn largest_block_of(work: impl FnOnce()) -> usize {
    LARGEST.set(0);
    work();
    LARGEST.get()
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
