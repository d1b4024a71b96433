//! The server's side of DIGEST-MD5 (RFC 2831), with authentication only, as Java's server does it.
//!
//! Invariant: a nonce serves one answer; the client's wish to act as somebody else is part of what
//! it signs and of nothing more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::sasl::Users;

/// ZooKeeper: the realm, the host and the service are words both sides know.
const REALM: &str = "zk-sasl-md5";
pub(crate) const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";
/// RFC 2831: an answer is shorter than this.
const ANSWER_MAX: usize = 4_096;

/// One client being asked who it is.
#[derive(Debug)]
pub(crate) struct Exchange {
    nonce: String,
}

/// Who it is, and the proof that the server knows the password too.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) user: String,
    pub(crate) proof: Vec<u8>,
}

impl Exchange {
    pub(crate) fn begin(random: [u8; 30]) -> Self {
        let nonce = STANDARD.encode(random);
        Exchange { nonce }
    }

    pub(crate) fn challenge(&self) -> Vec<u8> {
        let nonce = &self.nonce;
        format!("realm=\"{REALM}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess").into_bytes()
    }

    /// Judges the client's answer; `None`: it is not who it says, or says it wrongly.
    pub(crate) fn judge(self, answer: &[u8], users: &Users) -> Option<Accepted> {
        let fields = fields(std::str::from_utf8(answer).ok()?)?;
        let field = |name: &str| {
            let mut found = fields.iter().filter(|(key, _)| key == name);
            let value = found.next().map(|(_, value)| value.as_str());
            // RFC 2831: what is said twice is said wrongly.
            found.next().is_none().then_some(value).flatten()
        };
        let user = field("username")?;
        let expected_here = field("nonce")? == self.nonce
            && field("nc")? == "00000001"
            && field("realm").unwrap_or_default() == REALM
            && field("digest-uri")?.eq_ignore_ascii_case(DIGEST_URI)
            && field("qop").is_none_or(|qop| qop == "auth");
        if !expected_here {
            return None;
        }
        let password = users.0.get(user)?;
        let cnonce = field("cnonce")?;
        let secret = format!("{user}:{REALM}:{password}");
        let (uri, other) = (field("digest-uri")?, field("authzid"));
        let signed = |act: String| response(&secret, &self.nonce, cnonce, other, &act);
        let wanted = signed(format!("AUTHENTICATE:{uri}"));
        let given = field("response")?;
        aws_lc_rs::constant_time::verify_slices_are_equal(wanted.as_bytes(), given.as_bytes())
            .ok()?;
        Some(Accepted {
            user: user.to_owned(),
            proof: format!("rspauth={}", signed(format!(":{uri}"))).into_bytes(),
        })
    }
}

/// What shows that the password is known. `secret` is user, realm and password; `act` is what is
/// done where: nothing in the server's own proof.
pub(crate) fn response(
    secret: &str,
    nonce: &str,
    cnonce: &str,
    authzid: Option<&str>,
    act: &str,
) -> String {
    let mut first = Md5::digest(bytes(secret)).to_vec();
    first.extend_from_slice(format!(":{nonce}:{cnonce}").as_bytes());
    if let Some(other) = authzid {
        first.extend_from_slice(format!(":{other}").as_bytes());
    }
    let second = hex(act.as_bytes());
    hex(format!("{}:{nonce}:00000001:{cnonce}:auth:{second}", hex(&first)).as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    let digest = Md5::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2831: what fits into Latin-1 is hashed as Latin-1.
fn bytes(text: &str) -> Vec<u8> {
    let latin: Result<Vec<u8>, _> = text
        .chars()
        .map(|letter| u8::try_from(u32::from(letter)))
        .collect();
    latin.unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// `key=value,key="value"`; `None` where it is no such list.
pub(crate) fn fields(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = Some(text).filter(|text| text.len() <= ANSWER_MAX)?;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return Some(found);
        }
        let (key, after) = rest.split_once('=')?;
        let mut value = String::new();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut letters = quoted.char_indices();
            rest = loop {
                match letters.next()? {
                    (at, '"') => break &quoted[at + 1..],
                    (_, '\\') => value.push(letters.next()?.1),
                    (_, letter) => value.push(letter),
                }
            };
        } else {
            let end = after.find(',').unwrap_or(after.len());
            value.push_str(after[..end].trim());
            rest = &after[end..];
        }
        found.push((key.trim().to_ascii_lowercase(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::Login;

    fn users() -> Users {
        Users([("bob".to_owned(), "bobsecret".to_owned())].into())
    }

    /// What a client with this password answers, written down from RFC 2831.
    fn answer(exchange: &Exchange, password: &str) -> String {
        let nonce = &exchange.nonce;
        let mut first = Md5::digest(format!("bob:zk-sasl-md5:{password}")).to_vec();
        first.extend_from_slice(format!(":{nonce}:abc:bob").as_bytes());
        let second = hex(b"AUTHENTICATE:zookeeper/zk-sasl-md5");
        let signed = format!("{}:{nonce}:00000001:abc:auth:{second}", hex(&first));
        format!(
            "charset=utf-8,username=\"bob\",realm=\"zk-sasl-md5\",nonce=\"{nonce}\",nc=00000001,\
             cnonce=\"abc\",digest-uri=\"zookeeper/zk-sasl-md5\",maxbuf=65536,response={},qop=auth,\
             authzid=\"bob\"",
            hex(signed.as_bytes())
        )
    }

    #[test]
    fn the_right_password_is_accepted_and_the_wrong_one_is_not() {
        let exchange = || Exchange::begin([7; 30]);
        let good = answer(&exchange(), "bobsecret");
        let accepted = exchange().judge(good.as_bytes(), &users()).unwrap();
        assert_eq!(accepted.user, "bob");
        assert!(accepted.proof.starts_with(b"rspauth="));
        let bad = answer(&exchange(), "guessed");
        assert_eq!(exchange().judge(bad.as_bytes(), &users()), None);
        // An answer to another question.
        let other = Exchange::begin([8; 30]);
        assert_eq!(other.judge(good.as_bytes(), &users()), None);
        let twice = format!("{good},username=\"bob\"");
        assert_eq!(exchange().judge(twice.as_bytes(), &users()), None);
    }

    #[test]
    fn our_own_client_is_understood_and_understands() {
        let exchange = || Exchange::begin([7; 30]);
        let login = Login {
            user: "bob".to_owned(),
            password: "bobsecret".to_owned(),
        };
        let answer = login.answer(&exchange().challenge(), "abc").unwrap();
        let accepted = exchange().judge(&answer.token, &users()).unwrap();
        assert_eq!(
            (accepted.user.as_str(), accepted.proof),
            ("bob", answer.proof)
        );
        assert!(login.answer(b"rspauth=1", "abc").is_none());
        assert!(!format!("{login:?}").contains("bobsecret"));
    }

    #[test]
    fn broken_answers_are_refused() {
        let good = answer(&Exchange::begin([7; 30]), "bobsecret");
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes.truncate(at);
            let judged = Exchange::begin([7; 30]).judge(&bytes, &users());
            // What signs everything comes before the last two fields.
            assert!(
                judged.is_none() || at > good.find(",qop").unwrap(),
                "cut at {at}"
            );
        }
        assert_eq!(Exchange::begin([7; 30]).judge(b"\xff=", &users()), None);
    }
}
