//! The process inside a container that starts, supervises and stops agents.
