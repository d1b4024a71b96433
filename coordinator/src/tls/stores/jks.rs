//! Java's own key store (JKS): entries one behind the other, sealed by a sum over the password and
//! all of it; a key is hidden by a stream of SHA-1 sums.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN, digest};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::tls::der::{OBJECT, OCTETS, SEQUENCE, Values};
use crate::tls::stores::encrypted::WRONG_PASSWORD;
use crate::tls::stores::{Contents, KeyEntry, Why};

pub(crate) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
/// What Java adds to the password before it sums up a store.
const ADDED: &[u8] = b"Mighty Aphrodite";
/// The only way in which Java hides a key here.
const HIDING: &[u8] = &[0x2b, 6, 1, 4, 1, 0x2a, 2, 17, 1, 1];
const KEY: i32 = 1;
const CERTIFICATE: i32 = 2;

const MALFORMED: Why = "it is cut short or no JKS store";

/// Bytes taken from the front.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Why> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, Why> {
        let bytes = self.take(4)?.try_into();
        bytes.map(i32::from_be_bytes).map_err(|_| MALFORMED)
    }

    /// Bytes after their length.
    fn block(&mut self) -> Result<&'a [u8], Why> {
        let len = usize::try_from(self.int()?).map_err(|_| MALFORMED)?;
        self.take(len)
    }

    /// A text after its length in two bytes.
    fn text(&mut self) -> Result<&'a [u8], Why> {
        let len = self.take(2)?;
        self.take(usize::from(len[0]) << 8 | usize::from(len[1]))
    }

    fn certificate(&mut self, version: i32) -> Result<CertificateDer<'static>, Why> {
        if version == 2 && self.text()? != b"X.509" {
            return Err("a certificate in it is not of the kind X.509");
        }
        Ok(CertificateDer::from(self.block()?.to_vec()))
    }
}

pub(crate) fn read(bytes: &[u8], password: &str) -> Result<Contents, Why> {
    let secret: Vec<u8> = password.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let sum_at = bytes.len().checked_sub(SHA1_OUTPUT_LEN).ok_or(MALFORMED)?;
    let (entries, sum) = bytes.split_at(sum_at);
    // ZooKeeper: without a password nothing is checked, and no key can be had.
    if !password.is_empty() {
        let mut own = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        for part in [secret.as_slice(), ADDED, entries] {
            own.update(part);
        }
        verify_slices_are_equal(own.finish().as_ref(), sum)
            .map_err(|_| "the password is wrong, or it was changed")?;
    }
    let mut rest = Rest(entries);
    rest.take(MAGIC.len())?;
    let version = rest.int()?;
    if !(1..=2).contains(&version) {
        return Err("it is of a version that is not known here");
    }
    let mut contents = Contents::default();
    for _ in 0..rest.int()? {
        let kind = rest.int()?;
        let _alias = rest.text()?;
        let _made = rest.take(8)?;
        match kind {
            KEY => {
                let hidden = rest.block()?;
                let mut chain = Vec::new();
                for _ in 0..rest.int()? {
                    chain.push(rest.certificate(version)?);
                }
                let key = PrivatePkcs8KeyDer::from(shown(hidden, &secret)?).into();
                contents.keys.push(KeyEntry { key, chain });
            }
            CERTIFICATE => contents.certificates.push(rest.certificate(version)?),
            _ => return Err(MALFORMED),
        }
    }
    Ok(contents)
}

/// The key that was hidden.
fn shown(hidden: &[u8], secret: &[u8]) -> Result<Vec<u8>, Why> {
    let sealed = || {
        let mut whole = Values(hidden).inside(SEQUENCE)?;
        let way = whole.inside(SEQUENCE)?.next(OBJECT)?;
        let sealed = whole.next(OCTETS).filter(|_| way == HIDING)?;
        let (salt, rest) = sealed.split_at_checked(SHA1_OUTPUT_LEN)?;
        let (body, sum) = rest.split_at_checked(rest.len().checked_sub(SHA1_OUTPUT_LEN)?)?;
        Some((salt, body, sum))
    };
    let (salt, body, sum) = sealed().ok_or(MALFORMED)?;
    let after_secret = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, &[secret, bytes].concat());
    let mut stream = after_secret(salt);
    let mut key = Vec::with_capacity(body.len());
    for piece in body.chunks(SHA1_OUTPUT_LEN) {
        key.extend(piece.iter().zip(stream.as_ref()).map(|(a, b)| a ^ b));
        stream = after_secret(stream.as_ref());
    }
    verify_slices_are_equal(after_secret(&key).as_ref(), sum).map_err(|_| WRONG_PASSWORD)?;
    Ok(key)
}
