//! What a manager's values must be together, beyond each being well-formed.

use std::time::Duration;

use super::values::duration::show;
use super::{
    Address, AdoptionConfig, BootstrapConfig, DiscoveryConfig, LivenessConfig, ManagerConfig, Problems,
    RaftConfig, check_name,
};

impl ManagerConfig {
    pub(super) fn check_all(&self, problems: &mut Problems) {
        problems.require(
            !self.data_dir.as_os_str().is_empty(),
            "data_dir",
            "must not be empty",
        );
        check_name(&self.name, problems);
        self.adoption.check(problems);
        self.check_addresses(problems);
        let api = &self.api;
        let plain_is_local = !api.plain || api.listen.is_loopback();
        let reason = format!(
            "is allowed on a loopback address only; `api.listen` is {}",
            api.listen
        );
        problems.require(plain_is_local, "api.plain", reason);
        problems.require(api.max_body.0 >= 1 << 10, "api.max_body", "must be at least 1KiB");
        problems.require(
            api.max_connections >= 1,
            "api.max_connections",
            "must be at least 1",
        );
        let long = api.request_timeout >= Duration::from_secs(1);
        problems.require(long, "api.request_timeout", "must be at least 1s");
        self.bootstrap.check(problems);
        self.raft.check(problems);
        self.liveness.check(problems);
        self.discovery.check(problems);
        let certificates = !self.engines.certificates.as_os_str().is_empty();
        problems.require(certificates, "engines.certificates", "must not be empty");
        self.redis.check(problems);
        self.logs.check(problems);
    }

    fn check_addresses(&self, problems: &mut Problems) {
        let advertised = [
            ("api.advertise", &self.api.advertise),
            ("peers.advertise", &self.peers.advertise),
            ("sessions.advertise", &self.sessions.advertise),
        ];
        for (key, address) in advertised {
            if let Some(address) = address {
                check_dialable(address, key, problems);
            }
        }
        let listen = [
            ("peers.listen", &self.peers.listen, "api.listen", &self.api.listen),
            (
                "sessions.listen",
                &self.sessions.listen,
                "api.listen",
                &self.api.listen,
            ),
            (
                "sessions.listen",
                &self.sessions.listen,
                "peers.listen",
                &self.peers.listen,
            ),
        ];
        for (key, address, other_key, other) in listen {
            let apart = address.port() == 0 || address != other;
            problems.require(
                apart,
                key,
                format!("must differ from `{other_key}`, which is {other}"),
            );
        }
    }
}

pub(super) fn check_dialable(address: &Address, key: &'static str, problems: &mut Problems) {
    let reason = format!("has {address}, which nobody can dial: name a host and a port that others reach");
    problems.require(!address.is_unspecified() && address.port() != 0, key, reason);
}

impl BootstrapConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        let together = !self.peers.is_empty();
        problems.require(!together || self.dir.is_some(), "bootstrap.dir", "must name the bundle that all `bootstrap.peers` share; `quorate cluster init --out DIR` makes one");
        problems.require(
            !together || self.own().is_some(),
            "bootstrap.id",
            "must be the id of one of `bootstrap.peers`",
        );
        problems.require(
            together || self.id.is_none(),
            "bootstrap.id",
            "means something with `bootstrap.peers` only",
        );
        for (at, peer) in self.peers.iter().enumerate() {
            let fresh = peer.id >= 1 && self.peers[..at].iter().all(|other| other.id != peer.id);
            problems.require(
                fresh,
                "bootstrap.peers",
                format!("has the id {}; ids are 1 or more and differ", peer.id),
            );
            for address in [&peer.peer, &peer.api, &peer.session] {
                check_dialable(address, "bootstrap.peers", problems);
            }
        }
        let joins = !self.join.is_empty();
        let alone = self.peers.is_empty() && self.dir.is_none();
        problems.require(
            !joins || alone,
            "bootstrap.join",
            "excludes `bootstrap.peers` and `bootstrap.dir`: a manager joins a cluster or begins one",
        );
        problems.require(
            !joins || self.join_token_file.is_some(),
            "bootstrap.join_token_file",
            "must name a file with a join token for managers",
        );
        problems.require(
            joins || self.join_token_file.is_none(),
            "bootstrap.join_token_file",
            "means something with `bootstrap.join` only",
        );
        for address in &self.join {
            check_dialable(address, "bootstrap.join", problems);
        }
    }
}

impl RaftConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require(
            !self.heartbeat.is_zero(),
            "raft.heartbeat",
            "must be at least 1ms",
        );
        let reason = format!(
            "must be at least twice `raft.heartbeat`, which is {}: one may get lost",
            show(self.heartbeat)
        );
        problems.require(
            self.election_min >= 2 * self.heartbeat,
            "raft.election_min",
            reason,
        );
        let reason = format!(
            "must be more than `raft.election_min`, which is {}, or candidates collide",
            show(self.election_min)
        );
        problems.require(self.election_max > self.election_min, "raft.election_max", reason);
        problems.require(
            self.snapshot_every >= 1,
            "raft.snapshot_every",
            "must be at least 1",
        );
    }
}

impl LivenessConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require(
            self.suspect >= Duration::from_secs(2),
            "liveness.suspect",
            "must be at least 2s: runners send a heartbeat a second",
        );
        problems.require(
            self.lost > self.suspect,
            "liveness.lost",
            format!(
                "must be more than `liveness.suspect`, which is {}",
                show(self.suspect)
            ),
        );
        problems.require(
            self.self_stop > self.suspect,
            "liveness.self_stop",
            format!(
                "must be more than `liveness.suspect`, which is {}",
                show(self.suspect)
            ),
        );
        // A fifth of room for clocks that run at different speeds and for the stopping itself.
        let least = self.self_stop.saturating_mul(5) / 4;
        let reason = format!(
            "must be at least {}, a quarter above `liveness.self_stop`, or an agent may run twice",
            show(least)
        );
        problems.require(self.fence >= least, "liveness.fence", reason);
        problems.require(
            self.fence >= self.lost,
            "liveness.fence",
            format!(
                "must not be less than `liveness.lost`, which is {}",
                show(self.lost)
            ),
        );
        problems.require(
            (1..=100).contains(&self.breaker_share),
            "liveness.breaker_share",
            "must be a percentage from 1 to 100",
        );
        problems.require(
            self.breaker_least >= 1,
            "liveness.breaker_least",
            "must be at least 1",
        );
        problems.require(
            self.breaker_within >= Duration::from_secs(2),
            "liveness.breaker_within",
            "must be at least 2s: what falls silent at once is heard of over a heartbeat's time",
        );
    }
}

/// Places a second, at most: more is a flood.
const MAX_RATE: u32 = 10_000;

impl DiscoveryConfig {
    fn check(&self, problems: &mut Problems) {
        if let Err(error) = self.plan() {
            problems.require(false, "discovery.cidrs", format!("is no plan: {error}"));
        }
        problems.require(
            (1..=MAX_RATE).contains(&self.rate),
            "discovery.rate",
            format!("must be 1 to {MAX_RATE} places a second"),
        );
        problems.require(
            self.interval >= Duration::from_secs(1),
            "discovery.interval",
            "must be at least 1s",
        );
    }
}

impl AdoptionConfig {
    fn check(&self, problems: &mut Problems) {
        problems.require(
            (1..=64).contains(&self.at_once),
            "adoption.at_once",
            "must be from 1 to 64",
        );
        problems.require(
            self.grace >= Duration::from_secs(1),
            "adoption.grace",
            "must be at least 1s: a container with a runner of its own takes about as long",
        );
        for address in &self.managers {
            let fine = !address.is_unspecified() && address.port() != 0;
            problems.require(
                fine,
                "adoption.managers",
                format!("has {address}, which nobody can dial"),
            );
        }
    }
}
