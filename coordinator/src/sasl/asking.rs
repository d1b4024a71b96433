//! The client's side of DIGEST-MD5 (RFC 2831), as Java's client answers ZooKeeper's server.

use crate::sasl::Login;
use crate::sasl::digest_md5::{DIGEST_URI, fields, response};

/// An answer, and what only a server that knows the password too says to it.
#[derive(Debug)]
pub struct Answer {
    pub token: Vec<u8>,
    pub proof: Vec<u8>,
}

impl Login {
    /// Answers the server's question; `None` where it is none. `random` makes the answer one of its
    /// own.
    pub fn answer(&self, question: &[u8], random: &str) -> Option<Answer> {
        let fields = fields(std::str::from_utf8(question).ok()?)?;
        let field = |name: &str| {
            let found = fields.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let (realm, nonce) = (field("realm").unwrap_or_default(), field("nonce")?);
        // What stands between quotation marks there must not end them here.
        let plain = |text: &str| !text.contains(['"', '\\']);
        if field("algorithm") != Some("md5-sess") || !plain(nonce) || !plain(realm) {
            return None;
        }
        let Login { user, password } = self;
        let secret = format!("{user}:{realm}:{password}");
        let signed = |verb: &str| {
            response(
                &secret,
                nonce,
                random,
                None,
                &format!("{verb}:{DIGEST_URI}"),
            )
        };
        let quoted: String = user
            .chars()
            .flat_map(|letter| {
                ['"', '\\']
                    .contains(&letter)
                    .then_some('\\')
                    .into_iter()
                    .chain([letter])
            })
            .collect();
        let token = format!(
            "charset=utf-8,username=\"{quoted}\",realm=\"{realm}\",nonce=\"{nonce}\",nc=00000001,\
             cnonce=\"{random}\",digest-uri=\"{DIGEST_URI}\",maxbuf=65536,response={},qop=auth",
            signed("AUTHENTICATE"),
        );
        Some(Answer {
            token: token.into_bytes(),
            proof: format!("rspauth={}", signed("")).into_bytes(),
        })
    }
}
