//! Stands in for the crate `webpki-roots` (`[patch.crates-io]` in the workspace): a store without any authority.
//!
//! sqlx 0.9 adds the public authorities to those of `sslrootcert` and accepts no TLS configuration of ours, so that a
//! certificate of any public authority would pass as the database's. With this store only the configured authorities
//! count. It goes away when sqlx takes a `rustls::ClientConfig` or leaves the public authorities out.

#![no_std]

use rustls_pki_types::TrustAnchor;

/// None.
pub const TLS_SERVER_ROOTS: &[TrustAnchor<'static>] = &[];
