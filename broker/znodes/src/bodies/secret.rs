//! A secret as it stands in a broker's overrides: encrypted, with all that is needed to read it but
//! the secret it was encrypted with.
//!
//! Kafka: `EncryptingPasswordEncoder`: `name:value` pairs with commas between, in no order.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A key is derived once for each look; no honest writer asks for more work than this.
const ITERATIONS_MAX: u32 = 10_000_000;

/// An encrypted secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// `PBKDF2WithHmacSHA512`
    pub key_factory: String,
    /// `AES/CBC/PKCS5Padding`
    pub cipher: String,
    /// In bits.
    pub key_length: u32,
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub initialization_vector: Vec<u8>,
    pub encrypted: Vec<u8>,
    /// In Java's characters, for a check.
    pub length: usize,
}

impl Secret {
    pub fn encode(&self) -> String {
        let Secret {
            key_factory,
            cipher,
            key_length,
            iterations,
            length,
            ..
        } = self;
        let salt = STANDARD.encode(&self.salt);
        let vector = STANDARD.encode(&self.initialization_vector);
        let encrypted = STANDARD.encode(&self.encrypted);
        format!(
            "keyFactoryAlgorithm:{key_factory},cipherAlgorithm:{cipher},keyLength:{key_length},\
             iterations:{iterations},salt:{salt},initializationVector:{vector},\
             encryptedPassword:{encrypted},passwordLength:{length}"
        )
    }

    /// `None` where a part is missing or not what it should be.
    pub fn decode(text: &str) -> Option<Secret> {
        let pairs = text.split(',').map(|pair| pair.trim().split_once(':'));
        let parts: HashMap<&str, &str> = pairs.collect::<Option<_>>()?;
        let text = |name: &str| parts.get(name).map(|text| text.trim());
        let bytes = |name: &str| STANDARD.decode(text(name)?).ok();
        let iterations = text("iterations")?.parse().ok()?;
        Some(Secret {
            key_factory: text("keyFactoryAlgorithm")?.to_owned(),
            cipher: text("cipherAlgorithm")?.to_owned(),
            key_length: text("keyLength")?.parse().ok()?,
            iterations: (1..=ITERATIONS_MAX)
                .contains(&iterations)
                .then_some(iterations)?,
            salt: bytes("salt")?,
            initialization_vector: bytes("initializationVector")?,
            encrypted: bytes("encryptedPassword")?,
            length: text("passwordLength")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_written_and_a_torn_one_is_none() {
        let secret = Secret {
            key_factory: "PBKDF2WithHmacSHA512".to_owned(),
            cipher: "AES/CBC/PKCS5Padding".to_owned(),
            key_length: 128,
            iterations: 4096,
            salt: vec![1; 256],
            initialization_vector: vec![2; 16],
            encrypted: vec![3; 32],
            length: 20,
        };
        let text = secret.encode();
        assert_eq!(Secret::decode(&text), Some(secret));
        for cut in 0..text.len() {
            let torn = Secret::decode(&text[..cut]);
            assert!(torn.is_none_or(|torn| torn.length < 20), "{cut}");
        }
        assert_eq!(Secret::decode("hush"), None);
    }
}
