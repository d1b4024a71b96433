//! The length prefix: where a frame ends, and when its length is a lie.

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::LENGTH_PREFIX_BYTES;

/// A length no frame may have; the connection is beyond repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame length {0} is negative")]
    Negative(i32),
    #[error("frame length {length} is over the {most} bytes allowed")]
    TooLong { length: usize, most: usize },
}

/// What lies at the beginning of the bytes received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Not even the length is there.
    Unknown,
    /// A frame of so many bytes, prefix not counted, `missing` of them still on their way.
    Length { length: usize, missing: usize },
}

/// Reads the length at the beginning of `received` without taking anything.
pub fn front(received: &[u8], bytes_max: usize) -> Result<Front, FrameError> {
    let Some((prefix, rest)) = received.split_first_chunk::<LENGTH_PREFIX_BYTES>() else {
        return Ok(Front::Unknown);
    };
    let length = i32::from_be_bytes(*prefix);
    let length = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
    if length > bytes_max {
        return Err(FrameError::TooLong {
            length,
            most: bytes_max,
        });
    }
    Ok(Front::Length {
        length,
        missing: length.saturating_sub(rest.len()),
    })
}

/// Takes the first whole frame out of `received`, without its prefix and without a copy.
pub fn take(received: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
    match front(received, bytes_max)? {
        Front::Length { length, missing: 0 } => {
            received.advance(LENGTH_PREFIX_BYTES);
            Ok(Some(received.split_to(length).freeze()))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_its_last_byte_is_there() {
        let mut received = BytesMut::from(&[0, 0, 0, 3, 1, 2][..]);
        assert_eq!(take(&mut received, 100), Ok(None));
        assert_eq!(
            front(&received, 100),
            Ok(Front::Length {
                length: 3,
                missing: 1
            })
        );
        received.extend_from_slice(&[3, 0]);
        assert_eq!(
            take(&mut received, 100),
            Ok(Some(Bytes::from_static(&[1, 2, 3])))
        );
        assert_eq!(&received[..], &[0]);
        assert_eq!(front(&received, 100), Ok(Front::Unknown));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        assert_eq!(front(&[255; 4], 100), Err(FrameError::Negative(-1)));
        let long = FrameError::TooLong {
            length: 101,
            most: 100,
        };
        assert_eq!(front(&[0, 0, 0, 101], 100), Err(long));
    }
}
