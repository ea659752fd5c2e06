//! A child that must not outlive its parent.

use nix::{
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::getppid,
};

/// Asks the kernel for SIGTERM when the parent, whose id this must be, ends. Says whether it is still
/// there: if it ended before the kernel was asked, no signal ever comes.
pub fn tie_to(parent: u32) -> bool {
    let tied = set_pdeathsig(Signal::SIGTERM).is_ok();
    tied && u32::try_from(getppid().as_raw()) == Ok(parent)
}
