//! Passwords among a broker's overrides: in the clear here, encrypted in ZooKeeper.
//!
//! Kafka: `DynamicBrokerConfig.toPersistentProps`, `EncryptingPasswordEncoder`. The key is derived
//! from `password.encoder.secret`; without it no password is written. Values that were encrypted with
//! `password.encoder.old.secret` are read, and written anew at the start.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use aws_lc_rs::rand;
use settings::keys;
use settings::layers::Texts;
use znodes::bodies::secret::Secret;

use crate::config::parts::Secrets;

/// Kafka: the length of a salt.
const SALT_BYTES: usize = 256;
const CBC: &str = "AES/CBC/PKCS5Padding";

/// Why a password was not encrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("Password encoder secret not configured")]
    NoSecret,
    #[error(
        "passwords cannot be encrypted with {0}: password.encoder.cipher.algorithm is \
         AES/CBC/PKCS5Padding here, password.encoder.key.length 128 or 256, and \
         password.encoder.keyfactory.algorithm PBKDF2WithHmacSHA1, SHA256 or SHA512"
    )]
    Unsupported(String),
}

/// Whether the value of this key is a password.
pub fn is_secret(key: &str) -> bool {
    keys::broker_or_listener(key).is_some_and(settings::row::Row::sensitive)
}

/// The same overrides with every password encrypted.
pub fn encrypt_all(secrets: &Secrets, texts: &Texts) -> Result<Texts, Failure> {
    let mut sealed = texts.clone();
    for (_, text) in sealed.iter_mut().filter(|(key, _)| is_secret(key)) {
        *text = encrypt(secrets, text)?;
    }
    Ok(sealed)
}

/// A password of ZooKeeper's in the clear; `None` where no secret of ours opens it.
pub fn decrypt(secrets: &Secrets, text: &str) -> Option<String> {
    let sealed = Secret::decode(text)?;
    let with = [&secrets.secret, &secrets.old_secret];
    with.into_iter()
        .flatten()
        .find_map(|secret| open(&sealed, secret))
}

/// A password in the clear that only the old secret opens.
pub fn decrypt_old(secrets: &Secrets, text: &str) -> Option<String> {
    let sealed = Secret::decode(text)?;
    let opened = |secret: &Option<String>| open(&sealed, secret.as_ref()?);
    match opened(&secrets.secret) {
        Some(_) => None,
        None => opened(&secrets.old_secret),
    }
}

/// A password as ZooKeeper holds it.
pub fn encrypt(secrets: &Secrets, password: &str) -> Result<String, Failure> {
    let secret = secrets.secret.as_ref().ok_or(Failure::NoSecret)?;
    let key_factory = secrets
        .key_factory
        .clone()
        .unwrap_or_else(|| "PBKDF2WithHmacSHA512".to_owned());
    let unsupported = || {
        let Secrets {
            cipher, key_length, ..
        } = secrets;
        Failure::Unsupported(format!("{cipher}, {key_length} bits, {key_factory}"))
    };
    if secrets.cipher != CBC {
        return Err(unsupported());
    }
    let mut salt = vec![0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| unsupported())?;
    let derivation = (&*key_factory, secrets.key_length, secrets.iterations);
    let key = derive(derivation, secret, &salt).ok_or_else(unsupported)?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(|_| unsupported())?;
    let mut encrypted = password.as_bytes().to_vec();
    let context = key.encrypt(&mut encrypted).map_err(|_| unsupported())?;
    let vector = match context {
        DecryptionContext::Iv128(vector) => vector.as_ref().to_vec(),
        _ => return Err(unsupported()),
    };
    Ok(Secret {
        key_factory,
        cipher: CBC.to_owned(),
        key_length: secrets.key_length,
        iterations: secrets.iterations,
        salt,
        initialization_vector: vector,
        encrypted,
        length: password.encode_utf16().count(),
    }
    .encode())
}

fn open(sealed: &Secret, secret: &str) -> Option<String> {
    if sealed.cipher != CBC {
        return None;
    }
    let derivation = (&*sealed.key_factory, sealed.key_length, sealed.iterations);
    let key = derive(derivation, secret, &sealed.salt)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
    let vector: &[u8; 16] = sealed.initialization_vector.as_slice().try_into().ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(vector));
    let mut bytes = sealed.encrypted.clone();
    let password = key.decrypt(&mut bytes, context).ok()?;
    let password = String::from_utf8(password.to_vec()).ok()?;
    (password.encode_utf16().count() == sealed.length).then_some(password)
}

fn derive(
    (factory, bits, iterations): (&str, u32, u32),
    secret: &str,
    salt: &[u8],
) -> Option<UnboundCipherKey> {
    let hash = match factory {
        "PBKDF2WithHmacSHA1" => pbkdf2::PBKDF2_HMAC_SHA1,
        "PBKDF2WithHmacSHA256" => pbkdf2::PBKDF2_HMAC_SHA256,
        "PBKDF2WithHmacSHA512" => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return None,
    };
    let (cipher, mut key) = match bits {
        128 => (&AES_128, vec![0; 16]),
        256 => (&AES_256, vec![0; 32]),
        _ => return None,
    };
    let iterations = NonZeroU32::new(iterations)?;
    pbkdf2::derive(hash, iterations, salt, secret.as_bytes(), &mut key);
    UnboundCipherKey::new(cipher, &key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(secret: &str, old: Option<&str>) -> Secrets {
        Secrets {
            secret: Some(secret.to_owned()),
            old_secret: old.map(str::to_owned),
            key_factory: None,
            cipher: CBC.to_owned(),
            key_length: 128,
            iterations: 4096,
        }
    }

    const KEY: &str = "listener.name.external.ssl.keystore.password";

    #[test]
    fn a_password_is_read_with_its_secret_and_no_other() {
        let ours = secrets("hush", None);
        let texts = Texts::from([
            (KEY.to_owned(), "keystore-ö".to_owned()),
            ("num.io.threads".to_owned(), "9".to_owned()),
        ]);
        let sealed = encrypt_all(&ours, &texts).unwrap();
        assert_eq!(sealed["num.io.threads"], "9");
        assert!(!sealed[KEY].contains("keystore-"));
        assert_eq!(decrypt(&ours, &sealed[KEY]).unwrap(), "keystore-ö");
        assert_eq!(decrypt(&secrets("other", None), &sealed[KEY]), None);
        let changed = secrets("new", Some("hush"));
        assert_eq!(decrypt(&changed, &sealed[KEY]).unwrap(), "keystore-ö");
        assert!(decrypt_old(&changed, &sealed[KEY]).is_some());
        assert!(decrypt_old(&ours, &sealed[KEY]).is_none());
        let without = Secrets {
            secret: None,
            ..ours
        };
        assert_eq!(encrypt_all(&without, &texts), Err(Failure::NoSecret));
    }

    /// Written by a live Apache Kafka 3.9.0 with `password.encoder.secret=hush`.
    #[test]
    fn what_apache_encrypted_is_read() {
        let sealed = include_str!("../../tests/golden/configs/secret.txt");
        let password = decrypt(&secrets("hush", None), sealed.trim());
        assert_eq!(password.as_deref(), Some("kstore-secret"));
    }
}
