//! What it takes to bring runners into containers: the binary, join tokens, the managers' addresses.

use std::{path::PathBuf, sync::Arc};

use super::NodeError;
use crate::{
    config::AdoptionConfig,
    consensus::Consensus,
    control::adopt::{Adopter, Program, Ticket},
    model::JoinTokenId,
    security::{Ca, JoinToken},
};

/// This program, also when its file was replaced by a newer one.
const THIS: &str = "/proc/self/exe";

/// The program that is brought into containers; `None` when none is to be.
///
/// # Errors
/// `Adoption` when it can't run there.
pub(super) fn program(config: &AdoptionConfig) -> Result<Option<Program>, NodeError> {
    if !config.enabled {
        return Ok(None);
    }
    let path = config.binary.clone().unwrap_or_else(|| PathBuf::from(THIS));
    match Program::open(&path) {
        Ok(program) => Ok(Some(program)),
        Err(source) => Err(NodeError::Adoption { path, source }),
    }
}

/// Brings `program` in as configured.
pub(super) fn adopter(
    config: &AdoptionConfig,
    program: Program,
    consensus: &Consensus,
    ca: &Arc<Ca>,
) -> Adopter {
    let configured: Vec<_> = config.managers.iter().map(ToString::to_string).collect();
    let (consensus, ca) = (consensus.clone(), ca.clone());
    let managers = move || {
        if !configured.is_empty() {
            return configured.clone();
        }
        consensus.session_addresses()
    };
    let ticket = move || {
        let token = JoinToken::generate(ca.fingerprint()).ok()?;
        Some(Ticket {
            id: JoinTokenId(token.id()),
            hash: token.hash(),
            text: token.to_string(),
        })
    };
    Adopter {
        program: Arc::new(program),
        selector: config.selector.clone(),
        grace: config.grace,
        at_once: usize::try_from(config.at_once).unwrap_or(usize::MAX),
        managers: Box::new(managers),
        ticket: Box::new(ticket),
    }
}
