//! The manager side of runner sessions.
// NOTE to the runner branch: src/session is being written in branch `session` by a colleague, from the
// specification you were given. Finish src/runner and its tests; don't write src/session.
