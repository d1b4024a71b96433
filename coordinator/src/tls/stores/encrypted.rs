//! What a password encrypts: keys and safes after PKCS #5's second scheme (PBKDF2 and AES), as Java
//! from 17 on, OpenSSL from 3 on and `openssl pkcs8` write it.
//!
//! Absences: the schemes before it, RC2 and triple DES: whoever uses them is told how to convert.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2::{
    self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA384, PBKDF2_HMAC_SHA512,
};

use crate::tls::der::{self, OBJECT, OCTETS, SEQUENCE, Values};
use crate::tls::stores::Why;

const SECOND_SCHEME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// Of PKCS #12, before there was the second scheme; the last number says which.
const OLD_SCHEMES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1];
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2];
const AES: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1];
/// More rounds than anybody uses: what claims more would only keep the start waiting.
const ROUNDS_MAX: u32 = 10_000_000;

const MALFORMED: Why = "its encryption cannot be read";
const UNKNOWN: Why = "it is encrypted in a way that is not known here";
const OLD: Why = "it is encrypted with RC2 or triple DES, as Java did before 17; write it anew with \
     `keytool -importkeystore` of Java 17 or with `openssl pkcs12 -export` of OpenSSL 3";
pub(crate) const WRONG_PASSWORD: Why = "the password does not open it";

/// Opens `sealed`; `algorithm` is what follows the word that names it.
pub(crate) fn open(
    mut algorithm: Values<'_>,
    sealed: &[u8],
    password: &str,
) -> Result<Vec<u8>, Why> {
    let scheme = algorithm.next(OBJECT).ok_or(MALFORMED)?;
    if scheme.starts_with(OLD_SCHEMES) {
        return Err(OLD);
    }
    if scheme != SECOND_SCHEME {
        return Err(UNKNOWN);
    }
    let mut parameters = algorithm.inside(SEQUENCE).ok_or(MALFORMED)?;
    let derivation = parameters.inside(SEQUENCE).ok_or(MALFORMED)?;
    let mut cipher = parameters.inside(SEQUENCE).ok_or(MALFORMED)?;
    let kind = match cipher.next(OBJECT).and_then(|name| name.strip_prefix(AES)) {
        Some([2]) => (&AES_128, 16),
        Some([22]) => (&AES_192, 24),
        Some([42]) => (&AES_256, 32),
        _ => return Err(UNKNOWN),
    };
    let start: [u8; 16] = cipher
        .next(OCTETS)
        .and_then(|start| start.try_into().ok())
        .ok_or(MALFORMED)?;
    let key = key(derivation, kind, password)?;
    let mut bytes = sealed.to_vec();
    let opened = PaddedBlockDecryptingKey::cbc_pkcs7(key)
        .and_then(|key| {
            let context = DecryptionContext::Iv128(FixedLength::from(start));
            key.decrypt(&mut bytes, context).map(|plain| plain.len())
        })
        .map_err(|_| WRONG_PASSWORD)?;
    bytes.truncate(opened);
    Ok(bytes)
}

/// `kind`: for which cipher, and how long its keys are.
fn key(
    mut derivation: Values<'_>,
    kind: (&'static Algorithm, usize),
    password: &str,
) -> Result<UnboundCipherKey, Why> {
    if derivation.next(OBJECT) != Some(PBKDF2) {
        return Err(UNKNOWN);
    }
    let mut parameters = derivation.inside(SEQUENCE).ok_or(MALFORMED)?;
    let salt = parameters.next(OCTETS).ok_or(MALFORMED)?;
    let rounds = parameters.number(ROUNDS_MAX).and_then(NonZeroU32::new);
    let rounds = rounds.ok_or(MALFORMED)?;
    // The key's length may stand here; the cipher says it too.
    let _len = parameters.number(u32::MAX);
    let hash = match parameters.inside(SEQUENCE) {
        None => PBKDF2_HMAC_SHA1,
        Some(mut hash) => match hash.next(OBJECT).and_then(|name| name.strip_prefix(HMAC)) {
            Some([7]) => PBKDF2_HMAC_SHA1,
            Some([9]) => PBKDF2_HMAC_SHA256,
            Some([10]) => PBKDF2_HMAC_SHA384,
            Some([11]) => PBKDF2_HMAC_SHA512,
            _ => return Err(UNKNOWN),
        },
    };
    let mut bytes = [0; 32];
    let (cipher, len) = kind;
    pbkdf2::derive(hash, rounds, salt, password.as_bytes(), &mut bytes[..len]);
    UnboundCipherKey::new(cipher, &bytes[..len]).map_err(|_| UNKNOWN)
}

/// A key in PKCS #8's encrypted form.
pub(crate) fn open_key(bytes: &[u8], password: &str) -> Result<Vec<u8>, Why> {
    let mut whole = Values(bytes).inside(SEQUENCE).ok_or(MALFORMED)?;
    let algorithm = whole.inside(SEQUENCE).ok_or(MALFORMED)?;
    let sealed = whole.next(OCTETS).ok_or(MALFORMED)?;
    let key = open(algorithm, sealed, password)?;
    // A wrong password may leave what looks like an end, but hardly a key.
    let is_key = der::part(&key).is_some_and(|((tag, _), rest)| tag == SEQUENCE && rest.is_empty());
    is_key.then_some(key).ok_or(WRONG_PASSWORD)
}
