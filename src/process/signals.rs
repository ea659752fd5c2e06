//! Signals: the first SIGTERM or SIGINT asks for an orderly stop, the second ends the process.

use std::{io, process};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// By convention, 128 and the number of the signal.
const BY_SIGNAL: i32 = 128;

/// Gives a token that the first signal cancels. Needs a runtime.
///
/// # Errors
/// When the system refuses to tell of signals.
pub fn shutdown() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        loop {
            let kind = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if told.is_cancelled() {
                eprintln!("quorate: told to stop again: ending at once");
                process::exit(BY_SIGNAL + kind.as_raw_value());
            }
            told.cancel();
        }
    });
    Ok(token)
}
