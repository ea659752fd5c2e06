//! The proofs: HMAC-SHA-256 under a key made of the join token's hash, over all that was said and the
//! connection it was said over.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::{PROTOCOL, message::Nonce};
use crate::model::SecretHash;

const KEY: &[u8] = b"quorate probe, key 1";
const MANAGER: &[u8] = b"quorate probe, manager";
const RUNNER: &[u8] = b"quorate probe, runner";

/// What both sides saw of one talk.
#[derive(Debug, Clone, Copy)]
pub struct Talk<'a> {
    /// The secret of the TLS connection.
    pub binding: &'a [u8; 32],
    /// SHA-256 of the runner's certificate.
    pub key: &'a str,
    /// What the runner calls itself.
    pub name: &'a str,
    /// The public half of the token.
    pub token: u64,
    pub manager: &'a Nonce,
    pub runner: &'a Nonce,
}

/// Makes and checks the proofs of one talk.
pub struct Proof {
    key: [u8; 32],
    transcript: [u8; 32],
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    Hmac::new_from_slice(key).expect("a key of any length")
}

impl Proof {
    pub fn new(hash: &SecretHash, talk: &Talk<'_>) -> Self {
        let key = mac(hash).chain_update(KEY).chain_update(talk.token.to_be_bytes());
        let mut transcript = Sha256::new();
        transcript.update(PROTOCOL.to_be_bytes());
        let (token, fixed) = (
            talk.token.to_be_bytes(),
            [talk.binding, talk.manager, talk.runner],
        );
        let parts = fixed.iter().map(|bytes| bytes.as_slice());
        // Each with its length, so that no byte can move from one to the next.
        for part in parts.chain([token.as_slice(), talk.key.as_bytes(), talk.name.as_bytes()]) {
            transcript.update((part.len() as u64).to_be_bytes());
            transcript.update(part);
        }
        Self {
            key: key.finalize().into_bytes().into(),
            transcript: transcript.finalize().into(),
        }
    }

    fn of(&self, role: &[u8], after: &[u8]) -> Hmac<Sha256> {
        mac(&self.key)
            .chain_update((role.len() as u64).to_be_bytes())
            .chain_update(role)
            .chain_update(self.transcript)
            .chain_update(after)
    }

    /// The manager's proof.
    pub fn manager(&self) -> [u8; 32] {
        self.of(MANAGER, &[]).finalize().into_bytes().into()
    }

    /// The runner's, which answers the manager's.
    pub fn runner(&self) -> [u8; 32] {
        self.of(RUNNER, &self.manager()).finalize().into_bytes().into()
    }

    /// Whether this is the manager's proof; takes the same time for all wrong ones.
    pub fn is_manager(&self, shown: &[u8; 32]) -> bool {
        self.of(MANAGER, &[]).verify_slice(shown).is_ok()
    }

    /// Whether this is the runner's proof; takes the same time for all wrong ones.
    pub fn is_runner(&self, shown: &[u8; 32]) -> bool {
        self.of(RUNNER, &self.manager()).verify_slice(shown).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk() -> Talk<'static> {
        Talk {
            binding: &[1; 32],
            key: "aa",
            name: "web",
            token: 7,
            manager: &[2; 32],
            runner: &[3; 32],
        }
    }

    #[test]
    fn a_proof_is_for_one_role_one_secret_and_one_talk() {
        let proof = Proof::new(&[9; 32], &talk());
        assert!(proof.is_manager(&proof.manager()) && proof.is_runner(&proof.runner()));
        assert!(!proof.is_runner(&proof.manager()) && !proof.is_manager(&proof.runner()));
        let others = [
            Talk {
                binding: &[4; 32],
                ..talk()
            },
            Talk { key: "ab", ..talk() },
            Talk {
                name: "wea",
                ..talk()
            },
            Talk {
                key: "aaw",
                name: "eb",
                ..talk()
            },
            Talk { token: 8, ..talk() },
            Talk {
                manager: &[3; 32],
                runner: &[2; 32],
                ..talk()
            },
            Talk {
                runner: &[4; 32],
                ..talk()
            },
        ];
        let others = others.iter().map(|talk| Proof::new(&[9; 32], talk));
        for other in others.chain([Proof::new(&[8; 32], &talk())]) {
            assert!(!proof.is_manager(&other.manager()) && !proof.is_runner(&other.runner()));
        }
    }
}
