//! What raft runs on, and where work that blocks is done.
//!
//! In the program: tokio, and tokio's threads for what blocks. With the feature `simulation`, which is
//! for `tests/simulation` alone, a run must be the same each time: raft's randomness then comes from a
//! seed, and what blocks is done in place, because a thread ends when it likes.

pub use self::chosen::Runtime;
pub(super) use self::chosen::blocking;

#[cfg(not(feature = "simulation"))]
mod chosen {
    use std::io;

    /// Raft's runtime.
    pub type Runtime = openraft::impls::TokioRuntime;

    /// Does work that blocks where it holds nobody up.
    pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }
}

#[cfg(feature = "simulation")]
mod chosen {
    use std::{io, time::Duration};

    /// Raft's runtime.
    pub type Runtime = openraft_rt::deterministic_rng::DeterministicRng<openraft::impls::TokioRuntime>;

    /// What a file operation takes; others run meanwhile, and a crash may come before it.
    const TAKES: Duration = Duration::from_millis(2);

    /// Does work that blocks in place, after a while.
    pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        tokio::time::sleep(TAKES).await;
        Ok(work())
    }
}
