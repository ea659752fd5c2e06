//! Configuration in layers: defaults < file < environment < flags.
