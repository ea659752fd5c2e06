//! On whose behalf something is proposed.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::model::{ContainerId, JoinTokenId, Name, TokenId};

/// Who is behind a proposal, and from where. Names are those of the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Principal {
    /// A manager by itself: it founds the cluster, or carries out a change of the managers.
    Manager,
    /// A loop of the leader.
    Loop(Loop),
    /// Whoever holds an API token.
    Token {
        /// The token's id.
        id: TokenId,
        /// Its name.
        name: Name,
        /// Where the request came from.
        from: Option<IpAddr>,
    },
    /// Whoever shows a join token: a runner or a manager that is not known yet.
    Newcomer {
        /// The join token's id.
        token: JoinTokenId,
        /// Where it came from.
        from: IpAddr,
    },
    /// The runner of a container, by its certificate.
    Runner {
        /// The container.
        container: ContainerId,
        /// Where it came from.
        from: IpAddr,
    },
}

/// What the leader does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loop {
    /// Places replicas.
    Schedule,
    /// Judges containers by their heartbeats.
    Liveness,
    /// Opens and closes the breaker.
    Breaker,
    /// Watches engines.
    Discover,
    /// Brings runners into containers.
    Adopt,
    /// Scans networks.
    Scan,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager => f.write_str("a manager"),
            Self::Loop(which) => write!(f, "the leader's loop `{which}`"),
            Self::Token { id, name, from } => {
                write!(f, "token `{name}` ({id})")?;
                from.map_or(Ok(()), |from| write!(f, " from {from}"))
            }
            Self::Newcomer { token, from } => write!(f, "a newcomer with join token {token} from {from}"),
            Self::Runner { container, from } => write!(f, "the runner of container {container} from {from}"),
        }
    }
}

impl fmt::Display for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schedule => "schedule",
            Self::Liveness => "liveness",
            Self::Breaker => "breaker",
            Self::Discover => "discover",
            Self::Adopt => "adopt",
            Self::Scan => "scan",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_reads_as_a_person_would_say_it_and_is_small() {
        let from = IpAddr::from([10, 0, 0, 7]);
        let token = Principal::Token {
            id: TokenId(7),
            name: "ops".parse().unwrap(),
            from: Some(from),
        };
        assert_eq!(
            token.to_string(),
            format!("token `ops` ({}) from 10.0.0.7", TokenId(7))
        );
        assert_eq!(
            Principal::Loop(Loop::Scan).to_string(),
            "the leader's loop `scan`"
        );
        // Every entry carries one.
        assert!(size_of::<Principal>() <= 64, "{}", size_of::<Principal>());
        assert!(postcard::to_stdvec(&token).unwrap().len() <= 16);
    }
}
