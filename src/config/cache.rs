//! `[redis]`: where the read cache is, if there is one.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Hidden, Problems, values::duration};

/// The read cache. Without `url` there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisConfig {
    /// Hidden, since it may hold a password.
    pub url: Option<Hidden>,
    /// Whom to believe that it is Redis, for `rediss://`.
    pub ca_file: Option<PathBuf>,
    /// What all keys begin with, before the cluster's id.
    pub prefix: String,
    /// How often all that is there is looked at.
    #[serde(with = "duration")]
    pub sweep: Duration,
    /// How long a cached read waits.
    #[serde(with = "duration")]
    pub read_timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            prefix: "quorate".to_owned(),
            sweep: Duration::from_secs(30),
            read_timeout: Duration::from_millis(100),
        }
    }
}

impl RedisConfig {
    pub(super) fn complete() -> Self {
        Self {
            url: Some(Hidden::new("redis://127.0.0.1:6379")),
            ca_file: Some("redis-ca.pem".into()),
            ..Self::default()
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let url = self.url.as_ref().map(Hidden::expose);
        let known = |url: &str| {
            ["redis://", "rediss://"]
                .iter()
                .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
        };
        problems.require(
            url.is_none_or(known),
            "redis.url",
            "must be `redis://[user:password@]host:port[/db]`, or `rediss://…` for TLS",
        );
        let tls = url.is_some_and(|url| url.starts_with("rediss://"));
        problems.require(
            tls || self.ca_file.is_none(),
            "redis.ca_file",
            "means something with a `redis.url` that begins with `rediss://` only",
        );
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
        problems.require(
            (1..=64).contains(&self.prefix.len()) && self.prefix.bytes().all(plain),
            "redis.prefix",
            "must be 1 to 64 letters, digits and `.`, `_`, `-`, `:`",
        );
        problems.require(
            self.sweep >= Duration::from_secs(1),
            "redis.sweep",
            "must be at least 1s",
        );
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(2));
        problems.require(
            (least..=most).contains(&self.read_timeout),
            "redis.read_timeout",
            "must be from 1ms to 2s",
        );
    }
}
