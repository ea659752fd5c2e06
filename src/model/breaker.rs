//! The breaker: what the cluster holds on to when many containers fall silent at once.

use serde::{Deserialize, Serialize};

use super::{Millis, Revision, named::named};

/// Whether silence means anything just now.
///
/// Many containers that fall silent together are more likely cut off than dead: a switch, a host that
/// hangs, a network full of something else. While the breaker is open no silence makes a container lost,
/// so that nothing is moved; proof of death counts as ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Breaker {
    /// Why it is open; `None` while it is closed.
    pub open: Option<MassSilence>,
    /// The revision at which it was last closed or lifted; zero if never. Who has not been ready since
    /// then is judged as usual and does not open it again.
    pub settled: Revision,
    /// The revision of its last change; zero if there was none.
    pub version: Revision,
}

named!(Breaker, omit & ["open"]);

/// What opened the breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct MassSilence {
    /// How many had fallen silent.
    pub silent: u32,
    /// Of how many.
    pub fleet: u32,
    /// Who stopped being ready from this revision on belongs to it, those too that were lost before it
    /// was seen.
    pub since: Revision,
    /// Why, for a person to read.
    #[serde(default)]
    pub reason: String,
    /// Log time of the opening.
    pub at: Millis,
}

named!(MassSilence, omit & ["reason"]);
