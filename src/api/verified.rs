//! `Authorization` headers that were verified a moment ago.
//!
//! Reading a token out of its text and hashing its secret costs more than all the rest of a small
//! read. A header that was verified is therefore kept with the very token that it was verified
//! against: while the state still holds that one, the same header needs no second look. Whether the
//! token has expired and what it allows is asked each time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::http::HeaderValue;
use subtle::ConstantTimeEq;

use crate::model::Token;

/// More tokens than this in use at once take each other's place; that is slower and nothing else.
const PLACES: usize = 64;

/// Where the id stands in `Bearer qat_<id>_<secret>`: the public part, so that the choice of a place
/// tells nothing of the secret.
const ID: std::ops::Range<usize> = 11..24;

struct Seen {
    header: HeaderValue,
    token: Arc<Token>,
}

/// The headers, by the id in them.
pub struct Verified(Vec<ArcSwapOption<Seen>>);

impl Default for Verified {
    fn default() -> Self {
        Self((0..PLACES).map(|_| ArcSwapOption::empty()).collect())
    }
}

impl Verified {
    fn place(&self, header: &HeaderValue) -> Option<&ArcSwapOption<Seen>> {
        let id = header.as_bytes().get(ID)?;
        let mixed = id.iter().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        self.0.get(mixed % PLACES)
    }

    /// The token that this very header was verified against.
    pub fn find(&self, header: &HeaderValue) -> Option<Arc<Token>> {
        let seen = self.place(header)?.load();
        let seen = seen.as_ref()?;
        let same: bool = seen.header.as_bytes().ct_eq(header.as_bytes()).into();
        same.then(|| Arc::clone(&seen.token))
    }

    /// Keeps a header with the token it was just verified against.
    pub fn keep(&self, header: HeaderValue, token: Arc<Token>) {
        if let Some(place) = self.place(&header) {
            place.store(Some(Arc::new(Seen { header, token })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Role, TokenId},
        security::ApiToken,
    };

    #[test]
    fn only_the_same_header_is_found() {
        let verified = Verified::default();
        let of = |token: &ApiToken| HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        let shown = ApiToken::generate().unwrap();
        let token = Arc::new(Token {
            id: TokenId(shown.id()),
            name: "x".parse().unwrap(),
            role: Role::Viewer,
            hash: shown.hash(),
            expires_at: None,
            version: 1,
        });
        assert!(verified.find(&of(&shown)).is_none());
        verified.keep(of(&shown), Arc::clone(&token));
        assert!(Arc::ptr_eq(&verified.find(&of(&shown)).unwrap(), &token));
        let forged = ApiToken::from_secret(shown.id(), [7; 32]);
        assert!(verified.find(&of(&forged)).is_none());
        for short in ["", "Bearer", "Bearer qat_"] {
            let short = HeaderValue::from_static(short);
            assert!(verified.find(&short).is_none());
            verified.keep(short, Arc::clone(&token));
        }
    }
}
