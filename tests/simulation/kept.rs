//! Seeds that found something, as tests named after it.
