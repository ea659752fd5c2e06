//! The secrets people and runners hold.
//!
//! An API token reads `qat_<id>_<secret>`, a join token `qjt_<id>_<secret>_<fingerprint of the
//! CA>`: the id finds the stored hash, the secret proves the holder, the fingerprint lets whoever
//! joins tell the real cluster from another before it sends anything.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Fingerprint;

const API_PREFIX: &str = "qat";
const JOIN_PREFIX: &str = "qjt";
const SECRET_BYTES: usize = 32;
/// Base32 characters of a secret.
const SECRET_CHARS: usize = 52;

/// Why a text is not a token. Never holds any of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("an {expected} token begins with `{prefix}_`")]
    Prefix {
        expected: &'static str,
        prefix: &'static str,
    },
    #[error("the token has {found} parts instead of {expected}; was it cut off?")]
    Parts { expected: usize, found: usize },
    #[error("the token's id is not 13 characters of a-z and 2-7")]
    Id,
    #[error("the token's secret is not 52 characters of a-z and 2-7; was it cut off?")]
    Secret,
    #[error("the token's CA fingerprint is not 64 characters of 0-9 and a-f; was it cut off?")]
    Fingerprint,
    #[error("the system has no randomness to give")]
    Randomness,
}

/// Shows an id as 13 lowercase base32 characters.
pub fn encode_id(id: u64) -> String {
    encode(&id.to_be_bytes())
}

/// Reads an id back. Exactly one text stands for an id.
///
/// # Errors
/// `Id`.
pub fn decode_id(text: &str) -> Result<u64, TokenError> {
    decode(text).map(u64::from_be_bytes).ok_or(TokenError::Id)
}

fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()?
        .try_into()
        .ok()
}

/// Thirty-two random bytes that only their holder knows.
#[derive(Clone)]
struct Secret([u8; SECRET_BYTES]);

impl Secret {
    fn generate() -> Result<Self, TokenError> {
        let mut bytes = [0; SECRET_BYTES];
        OsRng
            .try_fill_bytes(&mut bytes)
            .map_err(|_| TokenError::Randomness)?;
        Ok(Secret(bytes))
    }

    fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() != SECRET_CHARS {
            return Err(TokenError::Secret);
        }
        decode(text).map(Secret).ok_or(TokenError::Secret)
    }

    /// A secret has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    fn verify(&self, hash: &[u8; 32]) -> bool {
        self.hash().ct_eq(hash).into()
    }
}

/// Proves to the API who calls. `Display` shows the secret; `Debug` does not.
#[derive(Clone)]
pub struct ApiToken {
    id: u64,
    secret: Secret,
}

impl ApiToken {
    /// Makes a token with a random id and secret.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn generate() -> Result<Self, TokenError> {
        Ok(ApiToken {
            id: rand::random(),
            secret: Secret::generate()?,
        })
    }

    /// Makes a token of a secret that was chosen elsewhere, and that nobody can guess.
    pub fn from_secret(id: u64, secret: [u8; 32]) -> Self {
        ApiToken {
            id,
            secret: Secret(secret),
        }
    }

    /// The public half.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// SHA-256 of the secret: what is kept.
    pub fn hash(&self) -> [u8; 32] {
        self.secret.hash()
    }

    /// Whether this is the token of that hash. Takes the same time for all wrong ones.
    pub fn verify(&self, hash: &[u8; 32]) -> bool {
        self.secret.verify(hash)
    }
}

impl fmt::Display for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{API_PREFIX}_{}_{}",
            encode_id(self.id),
            encode(&self.secret.0)
        )
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{API_PREFIX}_{}_(hidden)", encode_id(self.id))
    }
}

impl FromStr for ApiToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let [id, secret] = parts(text, "API", API_PREFIX)?;
        Ok(ApiToken {
            id: decode_id(id)?,
            secret: Secret::parse(secret)?,
        })
    }
}

/// Lets a runner or a manager join, and names the CA it will meet. `Display` shows the secret;
/// `Debug` does not.
#[derive(Clone)]
pub struct JoinToken {
    id: u64,
    secret: Secret,
    ca: Fingerprint,
}

impl JoinToken {
    /// Makes a token with a random id and secret for the cluster of this CA.
    ///
    /// # Errors
    /// `Randomness`.
    pub fn generate(ca: Fingerprint) -> Result<Self, TokenError> {
        Ok(JoinToken {
            id: rand::random(),
            secret: Secret::generate()?,
            ca,
        })
    }

    /// Makes a token of a secret that was chosen elsewhere, and that nobody can guess.
    pub fn from_secret(id: u64, secret: [u8; 32], ca: Fingerprint) -> Self {
        JoinToken {
            id,
            secret: Secret(secret),
            ca,
        }
    }

    /// The public half.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The CA that whoever joins must meet.
    pub fn ca(&self) -> Fingerprint {
        self.ca
    }

    /// SHA-256 of the secret: what is kept.
    pub fn hash(&self) -> [u8; 32] {
        self.secret.hash()
    }

    /// Whether this is the token of that hash. Takes the same time for all wrong ones.
    pub fn verify(&self, hash: &[u8; 32]) -> bool {
        self.secret.verify(hash)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{JOIN_PREFIX}_{}_{}_{}",
            encode_id(self.id),
            encode(&self.secret.0),
            self.ca
        )
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{JOIN_PREFIX}_{}_(hidden)_{}", encode_id(self.id), self.ca)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let [id, secret, ca] = parts(text, "join", JOIN_PREFIX)?;
        let ca = ca.parse().map_err(|_| TokenError::Fingerprint)?;
        Ok(JoinToken {
            id: decode_id(id)?,
            secret: Secret::parse(secret)?,
            ca,
        })
    }
}

/// The parts of a token after its prefix.
fn parts<'a, const N: usize>(
    text: &'a str,
    expected: &'static str,
    prefix: &'static str,
) -> Result<[&'a str; N], TokenError> {
    // Tokens come from files and shells, which leave a line end.
    let rest = text
        .trim()
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'));
    let parts: Vec<&str> = rest
        .ok_or(TokenError::Prefix { expected, prefix })?
        .split('_')
        .collect();
    let found = parts.len();
    parts
        .try_into()
        .map_err(|_| TokenError::Parts { expected: N, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn join() -> JoinToken {
        JoinToken::generate(CA.parse().unwrap()).unwrap()
    }

    #[test]
    fn tokens_read_back_and_prove_their_holder() {
        let token = ApiToken::generate().unwrap();
        let again: ApiToken = format!("{token}\n").parse().unwrap();
        assert_eq!(again.id(), token.id());
        assert!(again.verify(&token.hash()));
        assert!(!ApiToken::generate().unwrap().verify(&token.hash()));
        assert_eq!(token.to_string().len(), "qat_".len() + 13 + 1 + SECRET_CHARS);

        let token = join();
        let again: JoinToken = token.to_string().parse().unwrap();
        assert_eq!((again.id(), again.ca()), (token.id(), token.ca()));
        assert!(again.verify(&token.hash()));
        assert!(!join().verify(&token.hash()));
    }

    #[test]
    fn the_hash_is_of_the_secret_bytes() {
        let text = format!("qat_{}_{}", encode_id(5), encode(&[7; 32]));
        let token: ApiToken = text.parse().unwrap();
        assert_eq!(token.hash(), <[u8; 32]>::from(Sha256::digest([7; 32])));
        assert_eq!(token.id(), 5);
    }

    #[test]
    fn ids_have_one_text_each() {
        for id in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            let text = encode_id(id);
            assert_eq!(text.len(), 13);
            assert_eq!(decode_id(&text), Ok(id));
        }
        for bad in [
            "",
            "aaaaaaaaaaaa",
            "aaaaaaaaaaaaaa",
            "AAAAAAAAAAAAA",
            "aaaaaaaaaaaab",
            "aaaaaaaaaaaa1",
        ] {
            assert_eq!(decode_id(bad), Err(TokenError::Id), "{bad}");
        }
    }

    #[test]
    fn wrong_texts_are_told_apart_without_showing_them() {
        let text = join().to_string();
        let secret = text.split('_').nth(2).unwrap().to_owned();
        let cut = |n| text[..text.len() - n].to_owned();
        let two = TokenError::Parts {
            expected: 3,
            found: 2,
        };
        for (bad, expected) in [
            (
                String::new(),
                TokenError::Prefix {
                    expected: "join",
                    prefix: "qjt",
                },
            ),
            (
                ApiToken::generate().unwrap().to_string(),
                TokenError::Prefix {
                    expected: "join",
                    prefix: "qjt",
                },
            ),
            (cut(1), TokenError::Fingerprint),
            (cut(65), two),
            (text.replace(&secret, &secret[1..]), TokenError::Secret),
            (text.replace(&secret, &secret.to_uppercase()), TokenError::Secret),
            (text.replacen("qjt_", "qjt_x", 1), TokenError::Id),
        ] {
            let error = bad.parse::<JoinToken>().unwrap_err();
            assert_eq!(error, expected);
            assert!(!format!("{error} {error:?}").contains(&secret[5..]));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let (api, join) = (ApiToken::generate().unwrap(), join());
        for (debug, text) in [
            (format!("{api:?}"), api.to_string()),
            (format!("{join:?}"), join.to_string()),
        ] {
            let secret = text.split('_').nth(2).unwrap();
            assert!(
                debug.contains("(hidden)") && !debug.contains(&secret[..8]),
                "{debug}"
            );
        }
    }
}
