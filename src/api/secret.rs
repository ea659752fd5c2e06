//! The secrets of new tokens.
//!
//! Only a hash is kept, so a repeated request could not be given its first answer again. Where
//! there is an idempotency key, the secret is therefore derived from it: by the cluster's own key,
//! which every manager has and nobody else. A repeat, through any manager, finds the same token.

use sha2::{Digest, Sha256};

use super::{
    App,
    problem::{Code, Problem},
};
use crate::{
    command::RequestKey,
    model::Millis,
    security::{ApiToken, Fingerprint, JoinToken, TokenError},
};

/// The longest life a token with an end can have: ten years, in seconds.
const MAX_LIFE_SECONDS: u64 = 10 * 366 * 24 * 3600;

/// A new id and secret, both as good as random.
struct Derived {
    id: u64,
    secret: [u8; 32],
}

fn derive(seed: &[u8; 32], purpose: &str, key: &RequestKey) -> Derived {
    let part = |what: &str| -> [u8; 32] {
        let mut content = Sha256::new();
        for piece in [what.as_bytes(), purpose.as_bytes(), key.key.as_bytes()] {
            content.update((piece.len() as u64).to_be_bytes());
            content.update(piece);
        }
        content.update(key.principal.0.to_be_bytes());
        content.update(key.fingerprint.to_be_bytes());
        // Of one length always, so that no secret can be extended into another one.
        let mut keyed = Sha256::new();
        keyed.update(seed);
        keyed.update(content.finalize());
        keyed.finalize().into()
    };
    let mut id = [0; 8];
    id.copy_from_slice(&part("id")[..8]);
    Derived {
        id: u64::from_be_bytes(id),
        secret: part("secret"),
    }
}

fn no_randomness(error: TokenError) -> Problem {
    tracing::error!(%error, "a token could not be made");
    Problem::new(Code::Internal, "a token could not be made; nothing was changed")
}

impl App {
    /// A new API token.
    ///
    /// # Errors
    /// `internal` when the system has no randomness.
    pub fn new_api_token(&self, key: Option<&RequestKey>) -> Result<ApiToken, Problem> {
        match key.map(|key| derive(self.seed(), "api token", key)) {
            Some(Derived { id, secret }) => Ok(ApiToken::from_secret(id, secret)),
            None => ApiToken::generate().map_err(no_randomness),
        }
    }

    /// A new join token for this cluster.
    ///
    /// # Errors
    /// `internal` when the system has no randomness.
    pub fn new_join_token(&self, key: Option<&RequestKey>) -> Result<JoinToken, Problem> {
        let ca: Fingerprint = self.ca();
        match key.map(|key| derive(self.seed(), "join token", key)) {
            Some(Derived { id, secret }) => Ok(JoinToken::from_secret(id, secret, ca)),
            None => JoinToken::generate(ca).map_err(no_randomness),
        }
    }
}

/// When a token that lives so long ends.
///
/// # Errors
/// `invalid_field` when it would never have lived, or for too long.
pub fn end_of(life_seconds: Option<u64>, now: Millis) -> Result<Option<Millis>, Problem> {
    match life_seconds {
        None => Ok(None),
        Some(seconds @ 1..=MAX_LIFE_SECONDS) => Ok(Some(now.after(std::time::Duration::from_secs(seconds)))),
        Some(seconds) => Err(Problem::new(
            Code::InvalidField,
            format!("`expires_in_seconds` is {seconds}: use 1 to {MAX_LIFE_SECONDS}, or leave it out"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TokenId;

    fn key(principal: u64, text: &str, fingerprint: u64) -> RequestKey {
        RequestKey {
            principal: TokenId(principal),
            key: text.into(),
            fingerprint,
        }
    }

    #[test]
    fn a_repeat_finds_the_same_secret_and_nothing_else_does() {
        let seed = [7; 32];
        let secret = |seed: &[u8; 32], purpose: &str, key: &RequestKey| derive(seed, purpose, key).secret;
        let first = secret(&seed, "api token", &key(1, "k", 2));
        assert_eq!(first, secret(&seed, "api token", &key(1, "k", 2)));
        for other in [
            secret(&[8; 32], "api token", &key(1, "k", 2)),
            secret(&seed, "join token", &key(1, "k", 2)),
            secret(&seed, "api token", &key(2, "k", 2)),
            secret(&seed, "api token", &key(1, "l", 2)),
            secret(&seed, "api token", &key(1, "k", 3)),
        ] {
            assert_ne!(first, other);
        }
        assert_ne!(
            derive(&seed, "x", &key(1, "k", 2)).id,
            derive(&seed, "x", &key(1, "l", 2)).id
        );
    }

    #[test]
    fn lives_are_bounded() {
        assert_eq!(end_of(None, Millis(5)).unwrap(), None);
        assert_eq!(end_of(Some(2), Millis(5)).unwrap(), Some(Millis(2005)));
        assert!(end_of(Some(0), Millis(5)).is_err());
        assert!(end_of(Some(u64::MAX), Millis(5)).is_err());
    }
}
