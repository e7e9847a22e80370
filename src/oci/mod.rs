//! The words of the OCI specifications as types.
