//! Who a client is and what it may do: the schemes `world`, `ip`, `digest`, `auth`, `super`, and
//! `sasl` and `x509` where they are switched on.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::zookeeper::errors::Code;
use protocol::zookeeper::requests::AclList;
use protocol::zookeeper::types::{Acl, Id, SentAcl, perms};

use crate::sasl;
use crate::tls::principal;

/// Everything to everybody.
static EVERYBODY: LazyLock<Arc<[Acl]>> = LazyLock::new(|| Arc::from([Acl::open()]));

/// How passwords of the scheme `digest` become digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// Which schemes there are, and who is above them all.
#[derive(Clone, Debug)]
pub(crate) struct Schemes {
    /// `user:base64` of the one whose password opens everything.
    pub(crate) super_digest: Option<String>,
    pub(crate) digest: bool,
    pub(crate) algorithm: DigestAlgorithm,
    /// Whether `sasl` may stand in access lists.
    pub(crate) sasl: bool,
    pub(crate) x509: bool,
    /// Nothing is checked at all.
    pub(crate) skip: bool,
}

impl Schemes {
    fn knows(&self, scheme: &str) -> bool {
        match scheme {
            "ip" => true,
            "digest" => self.digest,
            "sasl" => self.sasl,
            "x509" => self.x509,
            _ => false,
        }
    }

    /// The names an `auth` request brings to those `known`; `None`: the scheme or the secret is wrong.
    pub(crate) fn authenticate(
        &self,
        scheme: &str,
        secret: Option<&[u8]>,
        peer: IpAddr,
        known: &[Id],
    ) -> Option<Vec<Id>> {
        match scheme {
            // The certificate was looked at when the connection began.
            "x509" if self.x509 => known.iter().any(|id| id.scheme == scheme).then(Vec::new),
            "ip" => Some(vec![ip_id(peer)]),
            "digest" if self.digest => {
                let text = String::from_utf8_lossy(secret?);
                let name = self.digest_name(&text);
                let mut ids = Vec::new();
                if self.super_digest.as_ref() == Some(&name) {
                    ids.push(Id::new("super", ""));
                }
                ids.push(Id {
                    scheme: "digest".to_owned(),
                    id: name,
                });
                Some(ids)
            }
            _ => None,
        }
    }

    /// `user:base64(digest(user:password))`.
    fn digest_name(&self, text: &str) -> String {
        let algorithm = match self.algorithm {
            DigestAlgorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            DigestAlgorithm::Sha256 => &digest::SHA256,
            DigestAlgorithm::Sha384 => &digest::SHA384,
            DigestAlgorithm::Sha512 => &digest::SHA512,
        };
        let user = text.split(':').next().unwrap_or_default();
        format!(
            "{user}:{}",
            STANDARD.encode(digest::digest(algorithm, text.as_bytes()))
        )
    }

    /// Whether somebody known by `ids` has one of the permissions `perms` under `acl`.
    pub(crate) fn allows(&self, acl: &[Acl], perms: i32, ids: &[Id]) -> bool {
        if self.skip || acl.is_empty() {
            return true;
        }
        let mut able = acl.iter().filter(|entry| entry.perms & perms != 0);
        if able.clone().any(|entry| entry.id.is_anyone()) {
            return true;
        }
        ids.iter().any(|id| id.scheme == "super")
            || able.any(|entry| {
                self.knows(&entry.id.scheme)
                    && ids
                        .iter()
                        .any(|id| id.scheme == entry.id.scheme && matches(id, &entry.id))
            })
    }

    /// The list that a request asks for, with `auth` replaced by who the client is. ZooKeeper
    /// breaks down over a name that is absent where it looks at one: as over an unreadable request.
    /// `room`: so many bytes of names may stand for `auth`; a small request may name it often.
    pub(crate) fn settle(
        &self,
        wanted: &AclList,
        ids: &[Id],
        room: &mut usize,
    ) -> Result<Arc<[Acl]>, Code> {
        let wanted = wanted.as_deref().unwrap_or_default();
        // Hot path: what nearly everybody asks for is there already.
        if let [only] = wanted
            && only.perms == perms::ALL
            && only.scheme.as_deref() == Some("world")
            && only.id.as_deref() == Some("anyone")
        {
            return Ok(Arc::clone(&EVERYBODY));
        }
        let wanted = distinct(wanted)?;
        let mut settled: Vec<Acl> = Vec::with_capacity(wanted.len());
        for entry in wanted {
            let scheme = entry.scheme.as_deref().ok_or(Code::INVALID_ACL)?;
            let name = || entry.id.as_deref().ok_or(Code::MARSHALLING_ERROR);
            if scheme == "auth" {
                let own = ids
                    .iter()
                    .filter(|id| id.scheme != "ip" && self.knows(&id.scheme));
                let before = settled.len();
                for id in own {
                    let weight = size_of::<Acl>() + id.scheme.len() + id.id.len();
                    *room = room.checked_sub(weight).ok_or(Code::INVALID_ACL)?;
                    settled.push(Acl {
                        perms: entry.perms,
                        id: id.clone(),
                    });
                }
                if settled.len() == before {
                    return Err(Code::INVALID_ACL);
                }
                continue;
            }
            let anyone = scheme == "world" && name()? == "anyone";
            if !anyone && !self.knows(scheme) {
                return Err(Code::INVALID_ACL);
            }
            let id = Id::new(scheme, name()?);
            if !anyone && !is_valid(&id) {
                return Err(Code::INVALID_ACL);
            }
            settled.push(Acl {
                perms: entry.perms,
                id,
            });
        }
        if settled.is_empty() {
            Err(Code::INVALID_ACL)
        } else {
            Ok(settled.into())
        }
    }
}

/// Each entry once. ZooKeeper compares by permissions, then scheme, then name, and breaks down over
/// what is absent from the later of two entries once it gets there.
fn distinct(wanted: &[SentAcl]) -> Result<Vec<&SentAcl>, Code> {
    if wanted.len() < 2 {
        return Ok(wanted.iter().collect());
    }
    let (mut perms, mut schemes, mut all) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut kept = Vec::with_capacity(wanted.len());
    for entry in wanted {
        let absent = match (&entry.scheme, &entry.id) {
            (None, _) => perms.contains(&entry.perms),
            (scheme, None) => schemes.contains(&(entry.perms, scheme)),
            _ => false,
        };
        if absent {
            return Err(Code::MARSHALLING_ERROR);
        }
        if all.insert(entry) {
            perms.insert(entry.perms);
            schemes.insert((entry.perms, &entry.scheme));
            kept.push(entry);
        }
    }
    Ok(kept)
}

/// What others than administrators see of a list: digests without their secret.
pub(crate) fn masked(acl: &[Acl]) -> Vec<Acl> {
    acl.iter()
        .map(|entry| match entry.id.id.split_once(':') {
            Some((user, _)) if entry.id.scheme == "digest" => Acl {
                perms: entry.perms,
                id: Id::new("digest", &format!("{user}:x")),
            },
            _ => entry.clone(),
        })
        .collect()
}

/// The name `whoAmI` shows.
pub(crate) fn shown_user(id: &Id) -> &str {
    match id.scheme.as_str() {
        "digest" => id.id.split(':').next().unwrap_or_default(),
        "super" | "world" => "",
        _ => &id.id,
    }
}

fn is_valid(id: &Id) -> bool {
    match id.scheme.as_str() {
        "digest" => {
            // Java's split drops empty parts at the end.
            let mut parts: Vec<&str> = id.id.split(':').collect();
            while parts.last().is_some_and(|part| part.is_empty()) {
                parts.pop();
            }
            parts.len() == 2
        }
        "ip" => network(&id.id).is_some(),
        "sasl" => sasl::is_principal(&id.id),
        "x509" => principal::is_one(&id.id),
        _ => false,
    }
}

fn matches(client: &Id, listed: &Id) -> bool {
    // ZooKeeper: a SASL user of this name may do everything that some SASL user may.
    if client.scheme == "sasl" && client.id == "super" {
        return true;
    }
    if client.scheme != "ip" {
        return client.id == listed.id;
    }
    let (Some((net, bits)), Some(peer)) = (network(&listed.id), address(&client.id)) else {
        return false;
    };
    let differ = net.number ^ peer.number;
    // A shift by the whole width is none that a machine has: nothing is compared then.
    net.width == peer.width && differ.checked_shr(net.width - bits).unwrap_or(0) == 0
}

/// Who one is by the scheme `ip`, as Java writes addresses.
pub(crate) fn ip_id(peer: IpAddr) -> Id {
    let text = match peer {
        IpAddr::V4(peer) => peer.to_string(),
        IpAddr::V6(peer) => peer.segments().map(|part| format!("{part:x}")).join(":"),
    };
    Id::new("ip", &text)
}

struct Address {
    number: u128,
    /// In bits: 32 or 128.
    width: u32,
}

/// An address in an access list. ZooKeeper reads numbers as Java's `parseInt` does, signs and zeros
/// before them included, and knows no IPv4 within IPv6.
fn address(text: &str) -> Option<Address> {
    if text.contains(':') {
        return address_v6(text);
    }
    let (mut number, mut parts) = (0, 0);
    for part in text.split('.') {
        let part: i32 = part.parse().ok()?;
        number = number << 8 | u128::from(u8::try_from(part).ok()?);
        parts += 1;
        if parts > 4 {
            return None;
        }
    }
    (parts == 4).then_some(Address { number, width: 32 })
}

fn address_v6(text: &str) -> Option<Address> {
    const PARTS: usize = 8;
    let of = |text: &str| -> Option<Vec<u16>> {
        let parts = text.split(':').map(|part| {
            let short = Some(part).filter(|part| part.len() <= 4)?;
            // Java keeps the lowest sixteen bits of what may be below zero.
            let number = i32::from_str_radix(short, 16).ok()?;
            Some(number as u16)
        });
        parts.collect()
    };
    let of_side = |text: &str| {
        if text.is_empty() {
            Some(Vec::new())
        } else {
            of(text)
        }
    };
    let parts = match text.split_once("::") {
        None => of(text).filter(|parts| parts.len() == PARTS)?,
        Some((before, after)) => {
            let (mut parts, after) = (of_side(before)?, of_side(after)?);
            let zeros = PARTS.checked_sub(parts.len() + after.len())?;
            if zeros == 0 {
                return None;
            }
            parts.resize(PARTS - after.len(), 0);
            [parts, after].concat()
        }
    };
    let number = parts
        .iter()
        .fold(0, |number, part| number << 16 | u128::from(*part));
    Some(Address { number, width: 128 })
}

/// `address` or `address/bits`.
fn network(text: &str) -> Option<(Address, u32)> {
    let (text, bits) = match text.split_once('/') {
        Some((text, bits)) => (text, Some(bits)),
        None => (text, None),
    };
    let address = address(text)?;
    let bits = match bits {
        // `-0` is a number too.
        Some(bits) => u32::try_from(bits.parse::<i32>().ok()?).ok()?,
        None => address.width,
    };
    (bits <= address.width).then_some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::zookeeper::types::perms;

    fn schemes() -> Schemes {
        Schemes {
            super_digest: None,
            digest: true,
            algorithm: DigestAlgorithm::Sha1,
            sasl: false,
            x509: false,
            skip: false,
        }
    }

    fn entry(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl {
            perms,
            id: Id::new(scheme, id),
        }
    }

    fn all_the_room() -> usize {
        usize::MAX
    }

    #[test]
    fn a_digest_is_that_of_zookeeper() {
        let peer = "127.0.0.1".parse().unwrap();
        let ids = schemes()
            .authenticate("digest", Some(b"alice:secret"), peer, &[])
            .unwrap();
        assert_eq!(
            ids,
            [Id::new("digest", "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=")]
        );
    }

    #[test]
    fn addresses_match_by_their_first_bits() {
        let acl = [entry(perms::READ, "ip", "10.1.0.0/16")];
        assert!(schemes().allows(&acl, perms::READ, &[Id::new("ip", "10.1.2.3")]));
        assert!(!schemes().allows(&acl, perms::READ, &[Id::new("ip", "10.2.2.3")]));
        assert!(!schemes().allows(&acl, perms::WRITE, &[Id::new("ip", "10.1.2.3")]));
        let everywhere = [entry(perms::READ, "ip", "10.1.0.0/0")];
        assert!(schemes().allows(&everywhere, perms::READ, &[Id::new("ip", "1.2.3.4")]));
    }

    #[test]
    fn addresses_are_read_as_java_reads_them() {
        let home = [ip_id("127.0.0.1".parse().unwrap())];
        for text in [
            "127.0.0.1",
            "127.000.000.001",
            "127.-0.0.1",
            "127.+0.0.1",
            "127.0.0.1/-0",
            "127.0.0.1/+8",
            "127.0.0.9/8",
        ] {
            let acl = [entry(perms::READ, "ip", text)];
            assert!(is_valid(&acl[0].id), "{text}");
            assert!(schemes().allows(&acl, perms::READ, &home), "{text}");
        }
        let loopback = [ip_id("::1".parse().unwrap())];
        assert_eq!(loopback[0].id, "0:0:0:0:0:0:0:1");
        for text in [
            "::1",
            "0:0:0:0:0:0:0:1",
            "0::0001",
            "::1/128",
            "::ff/0",
            "::-0:+1",
        ] {
            let acl = [entry(perms::READ, "ip", text)];
            assert!(schemes().allows(&acl, perms::READ, &loopback), "{text}");
            assert!(!schemes().allows(&acl, perms::READ, &home), "{text}");
        }
        for text in [
            "",
            "1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            "1.2.3.256",
            "1.2.3.-1",
            "1.2.3.4/",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "::ffff:127.0.0.1",
            "1:2:3:4:5:6:7",
            "1:2:3:4::5:6:7:8",
            "1::2::3",
            ":::",
            "::00001",
            "::g",
            "::1/129",
        ] {
            assert!(!is_valid(&Id::new("ip", text)), "{text}");
        }
    }

    #[test]
    fn invalid_lists_are_refused() {
        for bad in [
            entry(1, "nope", "x"),
            entry(1, "digest", "x"),
            entry(1, "ip", "1.2.3"),
            entry(1, "auth", ""),
        ] {
            let wanted = Some(vec![bad.into()]);
            assert_eq!(
                schemes().settle(&wanted, &[], &mut all_the_room()),
                Err(Code::INVALID_ACL)
            );
        }
        assert_eq!(
            schemes().settle(&Some(Vec::new()), &[], &mut all_the_room()),
            Err(Code::INVALID_ACL)
        );
        assert_eq!(
            schemes().settle(&None, &[], &mut all_the_room()),
            Err(Code::INVALID_ACL)
        );
    }

    #[test]
    fn names_of_users_and_of_certificates_are_looked_at() {
        let known = Schemes {
            sasl: true,
            x509: true,
            ..schemes()
        };
        let settle = |scheme: &str, name: &str| {
            let wanted = Some(vec![entry(1, scheme, name).into()]);
            known.settle(&wanted, &[], &mut all_the_room()).map(|_| ())
        };
        assert_eq!(settle("sasl", "bob/host@REALM"), Ok(()));
        assert_eq!(settle("sasl", "bob@host@REALM"), Err(Code::INVALID_ACL));
        assert_eq!(settle("x509", "CN=bob,O=here"), Ok(()));
        assert_eq!(settle("x509", "bob"), Err(Code::INVALID_ACL));
    }

    #[test]
    fn a_list_does_not_grow_without_bound_by_who_one_is() {
        let me: Vec<Id> = (0..10)
            .map(|at| Id::new("digest", &format!("me{at}:x")))
            .collect();
        let auth = |perms| entry(perms, "auth", "").into();
        let wanted = Some((1..=10).map(auth).collect());
        let settle = |mut room: usize| schemes().settle(&wanted, &me, &mut room);
        assert_eq!(settle(100 * 200).map(|list| list.len()), Ok(100));
        assert_eq!(settle(50 * 50), Err(Code::INVALID_ACL));
    }

    #[test]
    fn what_is_absent_fails_where_zookeeper_looks_at_it() {
        let sent = |scheme: Option<&str>, id: Option<&str>| SentAcl {
            perms: 1,
            scheme: scheme.map(str::to_owned),
            id: id.map(str::to_owned),
        };
        let me = [Id::new("digest", "me:x")];
        let settle =
            |list: &[SentAcl]| schemes().settle(&Some(list.to_vec()), &me, &mut all_the_room());
        let refused = Err(Code::INVALID_ACL);
        let unreadable = Err(Code::MARSHALLING_ERROR);
        assert_eq!(settle(&[sent(None, Some("x"))]), refused);
        assert_eq!(settle(&[sent(Some("nope"), None)]), refused);
        assert_eq!(settle(&[sent(Some("world"), None)]), unreadable);
        assert_eq!(settle(&[sent(Some("digest"), None)]), unreadable);
        assert_eq!(settle(&[sent(Some("ip"), None)]), unreadable);
        assert!(settle(&[sent(Some("auth"), None)]).is_ok());
        // Comparing two entries comes before looking at either.
        let nope = [sent(Some("nope"), Some("x")), sent(Some("nope"), None)];
        assert_eq!(settle(&nope), unreadable);
        assert_eq!(
            settle(&[sent(Some("nope"), None), sent(None, None)]),
            unreadable
        );
    }
}
