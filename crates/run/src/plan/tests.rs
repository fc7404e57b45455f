//! Plans for made-up hosts.
