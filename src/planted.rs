//! Bugs on purpose: each takes one guarantee away, so that a test can show that it would notice.
//!
//! `planted!(Name)` is the literal `false` and `planted!(Name => code)` is nothing without the cargo feature
//! `planted`. With it, the environment chooses one bug for the process: `QUORATE_PLANTED=skip-fsync`.
//! [`BUGS`] lists them all; [`Planted::workload`] and [`Planted::faults`] say what should bring a bug to light in
//! a run of the fault-injection harness. `.ci/planted` runs the quick catchers.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature `planted` breaks what Quorate promises: build it with debug assertions");

/// The environment variable that chooses a bug.
pub const VARIABLE: &str = "QUORATE_PLANTED";

/// A bug that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planted {
    /// What [`VARIABLE`] says to choose it.
    pub name: &'static str,
    /// What goes wrong.
    pub breaks: &'static str,
    /// The workload that should show it.
    pub workload: &'static str,
    /// The faults under which it should show.
    pub faults: &'static str,
}

macro_rules! bugs {
    ($($bug:ident $name:literal: $breaks:literal, shown by $workload:literal under $faults:literal;)*) => {
        /// Every bug.
        pub const BUGS: &[Planted] = &[$(Planted {
            name: $name,
            breaks: $breaks,
            workload: $workload,
            faults: $faults,
        }),*];

        /// The bugs, as the code names them.
        #[cfg(feature = "planted")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $breaks] $bug),*
        }

        #[cfg(feature = "planted")]
        const ALL: &[Bug] = &[$(Bug::$bug),*];
    };
}

bugs! {
    SkipFsync "skip-fsync":
        "what the database flushed is acknowledged without fdatasync: a power cut loses it",
        shown by "set" under "power cut of all";
    OpeningNotSynced "opening-not-synced":
        "the names of what the database wrote when it was opened are not made durable: a power cut brings old ones back",
        shown by "any, until the log fills a second segment" under "power cut of all, again and again";
    SkipFlush "skip-flush":
        "entries are acknowledged while they are in the database's buffers only: a kill loses them",
        shown by "set" under "kill all";
    AcknowledgedBeforeLocalSync "acknowledged-before-local-sync":
        "the log tells raft that entries are durable before it has written them",
        shown by "set" under "kill all, with slow fsync";
    VoteNotPersisted "vote-not-persisted":
        "votes are kept in memory only: a restarted manager votes twice in a term, and terms go back",
        shown by "any, by the invariant on terms" under "kill all";
    VoteLogReordered "vote-log-reordered":
        "a vote is written up to a second after it was given, behind entries of its term",
        shown by "any, by the invariant on terms" under "kill all right after leadership was transferred";
    PurgeTooEarly "purge-too-early":
        "the log is purged up to the last committed entry, which no snapshot holds yet",
        shown by "any, with a small raft.snapshot_every" under "kill all";
    SnapshotWithoutMembership "snapshot-without-membership":
        "snapshots hold no membership: who starts from one knows no managers",
        shown by "any, with a small raft.snapshot_every and raft.keep_logs" under "kill all";
    SnapshotNotSynced "snapshot-not-synced":
        "a snapshot is renamed before its bytes are durable: a power cut leaves a damaged one",
        shown by "any, with a small raft.snapshot_every" under "power cut of all";
    DropDedupOnSnapshot "drop-dedup-on-snapshot":
        "the answers to idempotency keys are lost when a snapshot is restored",
        shown by "idempotent retries, with a small raft.snapshot_every" under "kill all";
    ApplySkipsAnEntryAfterRestart "apply-skips-an-entry-after-restart":
        "a manager that starts from a snapshot leaves the entry behind it out",
        shown by "set, with a small raft.snapshot_every" under "kill all";
    CommitOnAppend "commit-on-append":
        "the leader answers writes when it has appended them, before a quorum has",
        shown by "set" under "partition with the leader in the minority";
    ForwardAnsweredEarly "forward-answered-early":
        "as commit-on-append, for writes that came through another manager only",
        shown by "set" under "kill the leader, partition with the leader in the minority";
    IdempotencyIgnoredOnForward "idempotency-ignored-on-forward":
        "the idempotency key of a forwarded write is dropped: a retry has a second effect",
        shown by "idempotent retries" under "none, or kill the leader";
    TimeoutAsFailed "timeout-as-failed":
        "a write whose fate is unknown is told as one that had no effect",
        shown by "register or set" under "partition with the leader in the minority, pause";
    RetryWithoutKey "retry-without-key":
        "a write without a key is offered again when its leader is lost: it may take effect twice",
        shown by "append" under "kill the leader";
    LocalReadOnFollower "local-read-on-follower":
        "a follower answers linearizable reads from its own state",
        shown by "register" under "partition one, slow links";
    SkipReadindexQuorum "skip-readindex-quorum":
        "a leader answers linearizable reads without asking whether it still leads",
        shown by "register" under "partition with the leader in the minority, pause the leader";
    AskersVoteIgnored "askers-vote-ignored":
        "a leader takes a follower's question for its consent, whomever that follower follows by then",
        shown by "register" under "partition with the leader in the minority, pause the leader";
    ReadBeforeApply "read-before-apply":
        "a read does not wait until this manager has applied what the read must see",
        shown by "register" under "none, or slow links";
    StaleEtagAccepted "stale-etag-accepted":
        "If-Match holds for any version: compare-and-swap overwrites what it has not seen",
        shown by "register or append" under "none";
    IdReusedOnRejoin "id-reused-on-rejoin":
        "the id of a removed manager is given to the next one that joins",
        shown by "membership" under "replace a manager";
    WipedManagerReadmitted "wiped-manager-readmitted":
        "a manager that lost its data comes back as itself: it forgets what it voted and acknowledged",
        shown by "set" under "wiped rejoin";
    LogTimeGoesBack "log-time-goes-back":
        "log time follows each leader's clock, also backwards: keys and tokens live on or end early",
        shown by "idempotent retries" under "clock jumps, with leaders transferred";
    StaleEpochAccepted "stale-epoch-accepted":
        "a runner's report about a placement that has ended is taken for the present one",
        shown by "deploys" under "pause, kill the leader";
    FenceNotAwaited "fence-not-awaited":
        "an exclusive agent leaves a silent container before the container is proven unable to act",
        shown by "containers" under "runners cut off, pause of runners";
    LeaseNotKept "lease-not-kept":
        "a runner that no manager counts lets its exclusive agents go on",
        shown by "containers" under "runners cut off";
    BreakerIgnored "breaker-ignored":
        "containers are lost by silence although the breaker is open: verdicts under way evict a whole site",
        shown by "deploys" under "pause a third of the runners";
}

/// The chosen bug.
///
/// # Errors
/// A name that is none of [`BUGS`].
pub fn chosen() -> Result<Option<&'static Planted>, String> {
    if !cfg!(feature = "planted") {
        return Ok(None);
    }
    match std::env::var(VARIABLE) {
        Err(_) => Ok(None),
        Ok(name) if name.is_empty() => Ok(None),
        Ok(name) => match BUGS.iter().find(|bug| bug.name == name) {
            Some(bug) => Ok(Some(bug)),
            None => Err(format!("{VARIABLE}: there is no planted bug `{name}`")),
        },
    }
}

/// Whether this process has the bug.
#[cfg(feature = "planted")]
pub fn is_chosen(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let choose = || {
        let name = chosen().ok().flatten()?.name;
        let listed = BUGS.iter().zip(ALL).find(|(listed, _)| listed.name == name);
        listed.map(|(_, bug)| *bug)
    };
    *CHOSEN.get_or_init(choose) == Some(bug)
}

#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_chosen($crate::planted::Bug::$bug)
    };
    ($bug:ident => $($code:tt)+) => {
        if planted!($bug) {
            $($code)+
        }
    };
}

#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
    ($bug:ident => $($code:tt)+) => {};
}
