//! The cluster's own CA, certificates and tokens.
