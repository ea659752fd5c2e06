//! Bugs that are planted on purpose, to show that the simulation would see them.

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Plant {
    /// Nothing.
    #[default]
    None,
    /// The disk says it has synced and has not: a power cut leaves what it likes of the rows.
    SyncIgnored,
    /// The same, and the record beside the rows goes back with them, so that the log can't notice.
    SyncLies,
    /// A power cut takes votes back, and the record that vouches for them.
    VoteForgotten,
    /// A linearizable read is answered from the state as it is here.
    StaleRead,
    /// A retry is sent under another idempotency key.
    KeyChanged,
    /// An unknown outcome is called a failure.
    UnknownCalledFailed,
    /// After the heal one manager stays alone.
    NeverHealed,
}
