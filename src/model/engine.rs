//! Docker Engines whose containers are watched.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{EngineId, Millis, Name, Revision, named::named};

/// Why a text is not an engine's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an engine's address: write `unix:///path/to/docker.sock`, `tls://host:port` or `tcp://host:port`"
)]
pub struct EngineUrlError(String);

/// Where an engine's API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EngineUrl {
    /// A Unix socket on the managers' machine.
    Unix(PathBuf),
    /// Plain TCP; only for networks that nobody else can reach.
    Tcp(String),
    /// TCP with TLS: the managers have the engine's CA and a certificate for it in files.
    Tls(String),
}

impl EngineUrl {
    /// What speaks against this address: over plain TCP that others can reach, anyone can rule the engine.
    pub fn warning(&self) -> Option<&'static str> {
        let Self::Tcp(address) = self else { return None };
        let host = address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        (!here).then_some(
            "unauthenticated: whoever reaches this address rules the engine and its machine; use tls://",
        )
    }
}

impl FromStr for EngineUrl {
    type Err = EngineUrlError;

    fn from_str(text: &str) -> Result<Self, EngineUrlError> {
        let refused = || EngineUrlError(text.chars().take(120).collect());
        if text.len() > 256 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refused());
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(refused())
            };
        }
        let (scheme, address) = text.split_once("://").ok_or_else(refused)?;
        let kind = match scheme {
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            _ => return Err(refused()),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
        if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
            return Err(refused());
        }
        Ok(kind(address.into()))
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls(address) => write!(f, "tls://{address}"),
        }
    }
}

impl Serialize for EngineUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EngineUrl {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// Whether the engine answers. An engine that does not answer says nothing about its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    /// Added, not yet tried.
    Unknown,
    /// Watched: its events arrive.
    Connected,
    /// Not answering; its containers are unknown, not stopped.
    Unreachable,
}

/// An engine in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Engine {
    /// The engine's id.
    pub id: EngineId,
    /// The name given by the operator.
    pub name: Name,
    /// Where it is reached.
    pub url: EngineUrl,
    /// Whether it answers.
    pub state: EngineState,
    /// Why it is in this state.
    #[serde(default)]
    pub reason: String,
    /// The revision of its last change.
    pub version: Revision,
    /// Log time of its addition.
    pub added_at: Millis,
}

named!(Engine, omit & ["reason"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unix_tcp_or_tls() {
        for good in [
            "unix:///var/run/docker.sock",
            "tcp://10.0.0.1:2375",
            "tcp://[::1]:2375",
            "tls://engine-1:2376",
        ] {
            assert_eq!(good.parse::<EngineUrl>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "/var/run/docker.sock",
            "unix://relative",
            "tcp://host",
            "tcp://:1",
            "tcp://h:99999",
            "http://x:1",
            "tcp://a/b:1",
            "tls://host",
            "tls://",
        ] {
            assert!(bad.parse::<EngineUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_tcp_beyond_this_machine_is_warned_of() {
        for (url, warned) in [
            ("tcp://10.0.0.1:2375", true),
            ("tcp://engine:2375", true),
            ("tcp://[2001:db8::1]:2375", true),
            ("tcp://127.0.0.1:2375", false),
            ("tcp://localhost:2375", false),
            ("tcp://[::1]:2375", false),
            ("tls://10.0.0.1:2376", false),
            ("unix:///var/run/docker.sock", false),
        ] {
            assert_eq!(
                url.parse::<EngineUrl>().unwrap().warning().is_some(),
                warned,
                "{url}"
            );
        }
    }
}
