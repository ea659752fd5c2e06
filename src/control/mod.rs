//! Loops that run on the leader only: they read state, plan, and propose commands.
