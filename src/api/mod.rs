//! HTTP resources over the replicated state: one file a resource. The only user of axum.
