//! PKCS #12: safes full of bags, most of them encrypted, sealed by a sum over the password.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::tls::der::{FIRST, OBJECT, OCTETS, SEQUENCE, Values};
use crate::tls::stores::encrypted;
use crate::tls::stores::{Contents, KeyEntry, Why};
use crate::tls::subject;

const PLAIN: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const ENCRYPTED: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 6];
/// Kinds of bags: the last number says which.
const BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1];
const PLAIN_KEY: &[u8] = &[1];
const HIDDEN_KEY: &[u8] = &[2];
const CERTIFICATE: &[u8] = &[3];
/// What ties a key to its certificate.
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];

const SET: u8 = 0x31;
/// Bytes of the kind a format numbers 0, without their own tag.
const FIRST_OCTETS: u8 = 0x80;
const ROUNDS_MAX: u32 = 10_000_000;
/// What a sum is made for, as its derivation numbers it.
const FOR_SUMS: u8 = 3;

const MALFORMED: Why = "it is cut short or no PKCS12 store";

/// A bag that was opened, with what ties it to others.
struct Bag<'a> {
    kind: &'a [u8],
    value: Vec<u8>,
    tie: Option<Vec<u8>>,
}

pub(crate) fn read(bytes: &[u8], password: &str) -> Result<Contents, Why> {
    let mut whole = Values(bytes).inside(SEQUENCE).ok_or(MALFORMED)?;
    whole.number(3).ok_or(MALFORMED)?;
    let safes = plain(whole.inside(SEQUENCE)).ok_or(MALFORMED)?;
    if !whole.is_empty() {
        let seal = whole.inside(SEQUENCE).ok_or(MALFORMED)?;
        check_sum(seal, safes, password)?;
    }
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    let mut safes = Values(safes).inside(SEQUENCE).ok_or(MALFORMED)?;
    while !safes.is_empty() {
        let safe = safes.inside(SEQUENCE).ok_or(MALFORMED)?;
        let bags = opened(safe, password)?;
        let mut bags = Values(&bags).inside(SEQUENCE).ok_or(MALFORMED)?;
        while !bags.is_empty() {
            let Bag { kind, value, tie } = bag(bags.inside(SEQUENCE)).ok_or(MALFORMED)?;
            match kind {
                PLAIN_KEY => keys.push((value, tie)),
                HIDDEN_KEY => keys.push((encrypted::open_key(&value, password)?, tie)),
                CERTIFICATE => certificates.push((CertificateDer::from(value), tie)),
                // Secrets and lists of revoked certificates are of no use here.
                _ => {}
            }
        }
    }
    let mut contents = Contents::default();
    for (key, tie) in keys {
        let chain = chain(&certificates, tie.as_ref());
        let key = PrivatePkcs8KeyDer::from(key).into();
        contents.keys.push(KeyEntry { key, chain });
    }
    let own =
        |one: &CertificateDer<'static>| contents.keys.iter().any(|key| key.chain.contains(one));
    let others = certificates.into_iter().map(|(one, _)| one);
    contents.certificates = others.filter(|one| !own(one)).collect();
    Ok(contents)
}

/// The bytes of a part that says it holds them as they are.
fn plain(part: Option<Values<'_>>) -> Option<&[u8]> {
    let mut part = part?;
    let is_plain = part.next(OBJECT)? == PLAIN;
    part.inside(FIRST)?.next(OCTETS).filter(|_| is_plain)
}

/// The bags of a safe, decrypted where they must be.
fn opened(mut safe: Values<'_>, password: &str) -> Result<Vec<u8>, Why> {
    if let Some(bags) = plain(Some(safe)) {
        return Ok(bags.to_vec());
    }
    let mut sealed = || {
        let is_encrypted = safe.next(OBJECT)? == ENCRYPTED;
        let mut holder = safe.inside(FIRST)?.inside(SEQUENCE)?;
        holder.number(2).filter(|_| is_encrypted)?;
        let mut content = holder.inside(SEQUENCE)?;
        content.next(OBJECT)?;
        Some((content.inside(SEQUENCE)?, content.next(FIRST_OCTETS)?))
    };
    let (algorithm, bytes) = sealed().ok_or("it holds a safe that a password does not open")?;
    encrypted::open(algorithm, bytes, password)
}

fn bag(bag: Option<Values<'_>>) -> Option<Bag<'_>> {
    let mut bag = bag?;
    let kind = bag.next(OBJECT)?;
    let mut value = bag.inside(FIRST)?;
    let kind = kind.strip_prefix(BAG).unwrap_or_default();
    let value = if kind == CERTIFICATE {
        let mut holder = value.inside(SEQUENCE)?;
        holder.next(OBJECT)?;
        holder.inside(FIRST)?.next(OCTETS)?
    } else {
        value.0
    };
    let mut tie = None;
    let mut attributes = bag.inside(SET).unwrap_or(Values(&[]));
    while !attributes.is_empty() {
        let mut attribute = attributes.inside(SEQUENCE)?;
        if attribute.next(OBJECT)? == LOCAL_KEY_ID {
            tie = attribute.inside(SET)?.next(OCTETS).map(<[u8]>::to_vec);
        }
    }
    let value = value.to_vec();
    Some(Bag { kind, value, tie })
}

type Tied = (CertificateDer<'static>, Option<Vec<u8>>);

/// The certificate that is tied to a key, and those that signed it, as far as they are here.
fn chain(all: &[Tied], tie: Option<&Vec<u8>>) -> Vec<CertificateDer<'static>> {
    let own = all
        .iter()
        .find(|(_, its)| tie.is_some() && its.as_ref() == tie);
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    let mut next = own.or(all.first()).map(|(one, _)| one);
    while let Some(one) = next.filter(|one| !chain.contains(one)) {
        chain.push(one.clone());
        let issuer = subject::issuer_and_subject(one).map(|[issuer, _]| issuer);
        next = all.iter().map(|(one, _)| one).find(|other| {
            let name = subject::issuer_and_subject(other).map(|[_, name]| name);
            issuer.is_some() && name == issuer
        });
    }
    chain
}

/// Compares the sum over all safes.
fn check_sum(mut seal: Values<'_>, safes: &[u8], password: &str) -> Result<(), Why> {
    let mut read = || {
        let mut sum = seal.inside(SEQUENCE)?;
        let hash = sum.inside(SEQUENCE)?.next(OBJECT)?;
        let sum = sum.next(OCTETS)?;
        let salt = seal.next(OCTETS)?;
        let rounds = if seal.is_empty() {
            1
        } else {
            seal.number(ROUNDS_MAX)?
        };
        Some((hash, sum, salt, rounds))
    };
    let (hash, sum, salt, rounds) = read().ok_or(MALFORMED)?;
    let (hash, sums) = match (hash, hash.strip_prefix(SHA2)) {
        (SHA1, _) => (
            &digest::SHA1_FOR_LEGACY_USE_ONLY,
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        ),
        (_, Some([1])) => (&digest::SHA256, hmac::HMAC_SHA256),
        (_, Some([2])) => (&digest::SHA384, hmac::HMAC_SHA384),
        (_, Some([3])) => (&digest::SHA512, hmac::HMAC_SHA512),
        _ => return Err("it is sealed in a way that is not known here"),
    };
    let key = hmac::Key::new(sums, &derived(hash, salt, rounds, password));
    verify_slices_are_equal(hmac::sign(&key, safes).as_ref(), sum)
        .map_err(|_| "the password is wrong, or it was changed")
}

/// PKCS #12's own derivation, as far as a sum needs it: one output of the hash.
fn derived(hash: &'static digest::Algorithm, salt: &[u8], rounds: u32, password: &str) -> Vec<u8> {
    let units = password.encode_utf16().chain([0]);
    let secret: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
    let block = hash.block_len();
    let mut first = vec![FOR_SUMS; block];
    for part in [salt, &secret] {
        let len = part.len().div_ceil(block) * block;
        first.extend(part.iter().cycle().take(len));
    }
    let mut sum = digest::digest(hash, &first);
    for _ in 1..rounds {
        sum = digest::digest(hash, sum.as_ref());
    }
    sum.as_ref().to_vec()
}
