//! How this manager reaches engines. None of it is in the replicated state: keys are files of each manager.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::Semaphore;

use crate::model::{Engine, EngineUrl};

/// Calls that may be under way at once for people who ask; an engine that hangs holds each for some seconds.
const CALLS: usize = 64;

/// How this manager reaches engines.
#[derive(Debug, Clone)]
pub struct EngineAccess {
    certificates: Arc<PathBuf>,
    pub(super) calls: Arc<Semaphore>,
}

impl EngineAccess {
    /// With the keys of each engine that needs some in `certificates`, in a directory of the engine's name.
    pub fn new(certificates: PathBuf) -> Self {
        Self {
            certificates: Arc::new(certificates),
            calls: Arc::new(Semaphore::new(CALLS)),
        }
    }

    /// How one engine is reached.
    pub fn to(&self, engine: &Engine) -> Endpoint {
        Endpoint {
            url: engine.url.clone(),
            certificates: self.certificates.join(engine.name.as_str()),
        }
    }
}

/// Where an engine is, and where its keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where its API is.
    pub url: EngineUrl,
    /// The directory with its `ca.pem`, `cert.pem` and `key.pem`; may be missing where `url` needs none.
    pub certificates: PathBuf,
}
