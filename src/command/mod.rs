//! What can be asked of the replicated state: commands, their outcomes and rejections.
