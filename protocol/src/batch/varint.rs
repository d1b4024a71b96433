//! Zig-zag variable-length integers, as record bodies use them.
//!
//! Reading refuses what Java refuses: more than five bytes for a 32-bit number, more than ten for
//! a 64-bit one.

use crate::batch::Fault;

const TOO_LONG: Fault = Fault::Record("variable-length integer is too long");
const ENDED: Fault = Fault::Record("record ends inside a field");

/// Appends a 32-bit number.
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_unsigned(
        out,
        u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()),
    );
}

/// Appends a 64-bit number.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// How many bytes [`put_i32`] takes.
pub fn len_i32(value: i32) -> usize {
    len_unsigned(u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()))
}

/// How many bytes [`put_i64`] takes.
pub fn len_i64(value: i64) -> usize {
    len_unsigned(((value << 1) ^ (value >> 63)).cast_unsigned())
}

/// Takes a 32-bit number off the front of `input`.
pub fn take_i32(input: &mut &[u8]) -> Result<i32, Fault> {
    read_i32(|| {
        let (first, rest) = input.split_first().ok_or(ENDED)?;
        *input = rest;
        Ok(*first)
    })
}

/// Takes a 64-bit number off the front of `input`.
pub fn take_i64(input: &mut &[u8]) -> Result<i64, Fault> {
    read_i64(|| {
        let (first, rest) = input.split_first().ok_or(ENDED)?;
        *input = rest;
        Ok(*first)
    })
}

/// Reads a 32-bit number from wherever `byte` reads.
#[inline]
pub(crate) fn read_i32(mut byte: impl FnMut() -> Result<u8, Fault>) -> Result<i32, Fault> {
    let first = byte()?;
    if first < 0x80 {
        return Ok(i32::from(first >> 1) ^ -i32::from(first & 1));
    }
    let mut raw = u32::from(first & 0x7f);
    for shift in [7, 14, 21, 28] {
        let next = byte()?;
        // Kafka: bits beyond the 32nd are dropped, not refused (ByteUtils).
        raw |= u32::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
        }
    }
    Err(TOO_LONG)
}

/// Reads a 64-bit number from wherever `byte` reads.
#[inline]
pub(crate) fn read_i64(mut byte: impl FnMut() -> Result<u8, Fault>) -> Result<i64, Fault> {
    let first = byte()?;
    if first < 0x80 {
        return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
    }
    let mut raw = u64::from(first & 0x7f);
    for shift in [7, 14, 21, 28, 35, 42, 49, 56, 63] {
        let next = byte()?;
        raw |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
        }
    }
    Err(TOO_LONG)
}

fn put_unsigned(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push((raw & 0x7f) as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

fn len_unsigned(raw: u64) -> usize {
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_take_the_bytes_foretold() {
        let numbers = [
            0,
            1,
            -1,
            63,
            -64,
            64,
            8191,
            8192,
            i64::from(i32::MAX),
            i64::MAX,
            i64::MIN,
        ];
        for number in numbers {
            let mut out = Vec::new();
            put_i64(&mut out, number);
            assert_eq!(out.len(), len_i64(number));
            let mut input = &out[..];
            assert_eq!(take_i64(&mut input), Ok(number));
            assert!(input.is_empty());
            if let Ok(small) = i32::try_from(number) {
                let mut out = Vec::new();
                put_i32(&mut out, small);
                assert_eq!(out.len(), len_i32(small));
                assert_eq!(take_i32(&mut &out[..]), Ok(small));
            }
        }
    }

    #[test]
    fn an_endless_number_is_refused() {
        assert_eq!(take_i32(&mut &[0xff; 6][..]), Err(TOO_LONG));
        assert_eq!(take_i64(&mut &[0xff; 11][..]), Err(TOO_LONG));
        assert_eq!(take_i64(&mut &[0xff; 4][..]), Err(ENDED));
    }
}
