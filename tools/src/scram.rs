//! SCRAM credentials as `kafka-configs` makes them: a password is salted and hashed here, and what
//! leaves the program cannot be turned back into it.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base::chance::fill_from_kernel;
use znodes::bodies::scram::Credential;

use crate::failure::Failure;

/// Kafka: fewer rounds are refused, and nobody asks for more unless told to.
const ROUNDS_MIN: u32 = 4096;
const SALT_BYTES: usize = 20;

/// The two mechanisms, numbered as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl Mechanism {
    pub(crate) fn named(name: &str) -> Option<Mechanism> {
        [Mechanism::Sha256, Mechanism::Sha512]
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mechanism::Sha256 => "SCRAM-SHA-256",
            Mechanism::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// A password that was salted and hashed.
pub(crate) struct Salted {
    pub(crate) mechanism: Mechanism,
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl Salted {
    /// From `[iterations=N,]password=TEXT`. `spelled` is the mechanism as the refusal names it.
    pub(crate) fn read(mechanism: Mechanism, text: &str, spelled: &str) -> Result<Salted, Failure> {
        let invalid = || {
            let constant = mechanism.name().replace('-', "_");
            Failure::said(format!("Invalid credential property {constant}={text}"))
        };
        let (rounds, rest) = match text.strip_prefix("iterations=") {
            Some(rest) => rest.split_once(',').ok_or_else(invalid)?,
            None => ("-1", text),
        };
        let password = rest.strip_prefix("password=").ok_or_else(invalid)?;
        let rounds: i64 = rounds.parse().map_err(|_| invalid())?;
        let rounds = if rounds == -1 {
            i64::from(ROUNDS_MIN)
        } else {
            rounds
        };
        let iterations = u32::try_from(rounds)
            .ok()
            .filter(|rounds| *rounds >= ROUNDS_MIN)
            .ok_or_else(|| {
                Failure::said(format!(
                    "Iterations {rounds} is less than the minimum {ROUNDS_MIN} required for {spelled}"
                ))
            })?;
        let mut salt = vec![0; SALT_BYTES];
        fill_from_kernel(&mut salt);
        Ok(Salted::with(mechanism, iterations, salt, password))
    }

    fn with(mechanism: Mechanism, iterations: u32, salt: Vec<u8>, password: &str) -> Salted {
        let (hash, len) = match mechanism {
            Mechanism::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Mechanism::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut made = vec![0; len];
        pbkdf2::derive(hash, rounds, &salt, password.as_bytes(), &mut made);
        Salted {
            mechanism,
            iterations,
            salt,
            password: made,
        }
    }

    /// The two keys that are stored (RFC 5802).
    pub(crate) fn credential(&self) -> Credential {
        let (hash, mac) = match self.mechanism {
            Mechanism::Sha256 => (&digest::SHA256, hmac::HMAC_SHA256),
            Mechanism::Sha512 => (&digest::SHA512, hmac::HMAC_SHA512),
        };
        let key = hmac::Key::new(mac, &self.password);
        let client_key = hmac::sign(&key, b"Client Key");
        Credential {
            salt: self.salt.clone(),
            stored_key: digest::digest(hash, client_key.as_ref()).as_ref().to_vec(),
            server_key: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
            iterations: i32::try_from(self.iterations).unwrap_or(i32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn the_keys_are_those_of_rfc_7677s_example() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let made = Salted::with(Mechanism::Sha256, 4096, salt, "pencil").credential();
        assert_eq!(
            STANDARD.encode(made.stored_key),
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        );
        assert_eq!(
            STANDARD.encode(made.server_key),
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn a_credential_needs_a_password_and_enough_rounds() {
        let refused = |text: &str| {
            let made = Salted::read(Mechanism::Sha256, text, "SCRAM-SHA-256");
            made.err().map(|failure| failure.to_string())
        };
        assert_eq!(refused("password=a,b"), None);
        assert_eq!(refused("iterations=8192,password="), None);
        assert_eq!(
            refused("iterations=8192").as_deref(),
            Some("Invalid credential property SCRAM_SHA_256=iterations=8192")
        );
        assert_eq!(
            refused("iterations=1,password=x").as_deref(),
            Some("Iterations 1 is less than the minimum 4096 required for SCRAM-SHA-256")
        );
    }
}
