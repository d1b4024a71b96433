//! SASL as ZooKeeper's server speaks it, and a client of ours: users from a JAAS file, DIGEST-MD5
//! on the wire.
//!
//! Absences: Kerberos, and the layers that would sign or encrypt what follows.

pub(crate) mod jaas;
pub(crate) mod digest_md5;
pub(crate) mod asking;

use std::collections::BTreeMap;
use std::fmt;

pub use crate::sasl::asking::Answer;

/// Whether a text may name a user: a plain name, or one of Kerberos's, `name/host@realm` with or without
/// the host.
pub(crate) fn is_principal(text: &str) -> bool {
    text.split_once('@')
        .is_none_or(|(name, realm)| !realm.contains(['/', '@']) && name.matches('/').count() <= 1)
}

/// Names and passwords. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Users(pub(crate) BTreeMap<String, String>);

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Users").field(&self.0.len()).finish()
    }
}

/// Who a client says it is. The password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Login").field(&self.user).finish()
    }
}

impl Login {
    /// The one a JAAS file names in `section`; `None` where there is no such section.
    pub fn read(text: &str, section: &str) -> Result<Option<Self>, &'static str> {
        jaas::client_login(text, section)
    }
}

/// What the server knows of SASL.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `None`: no section for the server in any JAAS file.
    pub(crate) users: Option<Users>,
    /// ZooKeeper 3.9: `fips-mode` is on by default and forbids DIGEST-MD5.
    pub(crate) allowed: bool,
    /// Who is above all access lists.
    pub(crate) super_users: Vec<String>,
    /// Whether a client that failed may stay.
    pub(crate) failed_may_stay: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_kerberos_names_them() {
        for name in [
            "", "bob", "a/b", "a/b/c", "a b", "a@B", "a/b@C", "@", "/@", "a@",
        ] {
            assert!(is_principal(name), "{name:?}");
        }
        for not in ["a@b@c", "a@b/c", "a/b/c@d", "@@", "a/@/"] {
            assert!(!is_principal(not), "{not:?}");
        }
    }
}
