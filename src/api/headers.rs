//! Names of headers that are ours.

use axum::http::HeaderName;

/// The revision that an answer shows, or that a write was made at.
pub const QUORATE_REVISION: HeaderName = HeaderName::from_static("quorate-revision");
/// Where a read was answered from: `quorum`, `local` or `redis`.
pub const QUORATE_SOURCE: HeaderName = HeaderName::from_static("quorate-source");
/// Why a cached read was not answered from Redis, in one word.
pub const QUORATE_FALLBACK: HeaderName = HeaderName::from_static("quorate-fallback");
/// Makes a retry of a write have one effect and one answer.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `true` on the answer to a repeated request.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The last event a watcher has seen.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
