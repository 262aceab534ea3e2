//! The error matrix.
