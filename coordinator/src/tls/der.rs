//! Values of DER, the form of certificates and of stores: a tag, a length, a content.
//!
//! Nothing is trusted: a length is compared with the bytes that are there. Absences: lengths that
//! are not said before the content, as the older BER has them.

/// The tag and the content of a value.
pub(crate) type Part<'a> = (u8, &'a [u8]);

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
/// What a format numbers 0.
pub(crate) const FIRST: u8 = 0xa0;

/// The first value of `bytes`, and what follows it.
pub(crate) fn part(bytes: &[u8]) -> Option<(Part<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (len, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let count = usize::from(short & 0x7f);
        let digits = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
        let len = digits
            .iter()
            .fold(0_usize, |len, digit| len << 8 | usize::from(*digit));
        (len, &rest[count..])
    };
    Some(((tag, rest.get(..len)?), &rest[len..]))
}

/// All values one behind the other.
pub(crate) fn parts(mut bytes: &[u8]) -> Option<Vec<Part<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = part(bytes)?;
        all.push(one);
        bytes = rest;
    }
    Some(all)
}

/// Values read one after the other, each of a kind that is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a>(pub(crate) &'a [u8]);

impl<'a> Values<'a> {
    /// The content of the next value, where it is of this kind; otherwise nothing is taken.
    pub(crate) fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let ((found, content), rest) = part(self.0)?;
        (found == tag).then(|| {
            self.0 = rest;
            content
        })
    }

    /// The same for a value that holds others.
    pub(crate) fn inside(&mut self, tag: u8) -> Option<Values<'a>> {
        self.next(tag).map(Values)
    }

    /// A number that is not below zero and not beyond `max`.
    pub(crate) fn number(&mut self, max: u32) -> Option<u32> {
        let digits = self.next(INTEGER)?;
        let legal = (1..=5).contains(&digits.len()) && digits[0] & 0x80 == 0;
        let value = digits
            .iter()
            .fold(0_u64, |value, digit| value << 8 | u64::from(*digit));
        let value = u32::try_from(value).ok().filter(|_| legal)?;
        (value <= max).then_some(value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_by_their_kind() {
        let mut values = Values(&[0x30, 5, 2, 1, 7, 4, 0, 2, 2, 0, 0x80]);
        let mut inner = values.inside(SEQUENCE).unwrap();
        assert_eq!(inner.next(OCTETS), None);
        assert_eq!(inner.number(10), Some(7));
        assert_eq!(inner.next(OCTETS), Some(&[][..]));
        assert!(inner.is_empty());
        assert_eq!(Values(values.0).number(100), None);
        assert_eq!(values.number(128), Some(128));
        // A length beyond the end, and one that is not said.
        assert_eq!(part(&[4, 3, 1, 2]), None);
        assert_eq!(part(&[0x30, 0x80, 0, 0]), None);
    }
}
