//! SCRAM credentials inside a user's overrides: `salt=…,stored_key=…,server_key=…,iterations=…`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::json::BodyError;

/// One mechanism's secrets of one user.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub salt: Vec<u8>,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: i32,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential {{ iterations: {}, .. }}", self.iterations)
    }
}

impl Credential {
    pub fn encode(&self) -> String {
        format!(
            "salt={},stored_key={},server_key={},iterations={}",
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.stored_key),
            STANDARD.encode(&self.server_key),
            self.iterations
        )
    }

    pub fn decode(text: &str) -> Result<Self, BodyError> {
        let part = |name: &'static str| {
            text.split(',')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
                .ok_or(BodyError::Field(name))
        };
        let bytes = |name: &'static str| {
            STANDARD
                .decode(part(name)?)
                .map_err(|_| BodyError::Field(name))
        };
        Ok(Credential {
            salt: bytes("salt")?,
            stored_key: bytes("stored_key")?,
            server_key: bytes("server_key")?,
            iterations: part("iterations")?
                .parse()
                .map_err(|_| BodyError::Field("iterations"))?,
        })
    }
}
