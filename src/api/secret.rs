//! The secrets of new tokens.
//!
//! Only a hash is kept, so a repeated request could not be given its first answer again. A secret is
//! therefore derived from the token's id, by the cluster's own key, which every manager has and
//! nobody else. The id is random and part of the command's outcome: a repeat, through any manager, is
//! told the first one's id and so finds the same token, while the same request made anew, long after,
//! gets another id and with it another secret. What was revoked never comes back.

use axum::{http::StatusCode, response::Response};
use sha2::{Digest, Sha256};

use super::{
    App,
    problem::{Code, Problem},
    types::NewToken,
    write::Accepted,
};
use crate::{
    model::{JoinTokenId, Millis, TokenId},
    security::{ApiToken, JoinToken},
};

/// The longest life a token with an end can have: ten years, in seconds.
const MAX_LIFE_SECONDS: u64 = 10 * 366 * 24 * 3600;

fn derive(seed: &[u8; 32], purpose: &str, id: u64) -> [u8; 32] {
    let mut content = Sha256::new();
    content.update((purpose.len() as u64).to_be_bytes());
    content.update(purpose);
    content.update(id.to_be_bytes());
    // Of one length always, so that no secret can be extended into another one.
    let mut keyed = Sha256::new();
    keyed.update(seed);
    keyed.update(content.finalize());
    keyed.finalize().into()
}

impl App {
    /// The API token with this id: the same one each time.
    pub fn api_token(&self, id: TokenId) -> ApiToken {
        ApiToken::from_secret(id.0, derive(self.seed(), "api token", id.0))
    }

    /// The join token of this cluster with this id: the same one each time.
    pub fn join_token(&self, id: JoinTokenId) -> JoinToken {
        JoinToken::from_secret(id.0, derive(self.seed(), "join token", id.0), self.ca())
    }
}

/// The answer with a new token: the only place where its text is shown.
pub fn shown_once(accepted: &Accepted, id: String, token: String) -> Response {
    let version = accepted.revision;
    accepted.object(StatusCode::CREATED, &NewToken { id, token, version })
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

    #[test]
    fn an_id_has_one_secret_and_nothing_else_has_it() {
        let first = derive(&[7; 32], "api token", 1);
        assert_eq!(first, derive(&[7; 32], "api token", 1));
        for other in [
            derive(&[8; 32], "api token", 1),
            derive(&[7; 32], "join token", 1),
            derive(&[7; 32], "api token", 2),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn lives_are_bounded() {
        assert_eq!(end_of(None, Millis(5)).unwrap(), None);
        assert_eq!(end_of(Some(2), Millis(5)).unwrap(), Some(Millis(2005)));
        assert!(end_of(Some(0), Millis(5)).is_err());
        assert!(end_of(Some(u64::MAX), Millis(5)).is_err());
    }
}
