//! The TLS provider of the process.

/// Makes sure that the process has a TLS provider. Two are compiled in (one by the database driver, one by AWS and the
/// HTTP client), so that rustls cannot choose and panics at the first connection that relies on its choice. A provider
/// that is already installed stays: an embedding program may have one of its own.
pub fn install_provider() {
    #[cfg(any(feature = "jwt", feature = "postgres", feature = "redis", feature = "upstash"))]
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(feature = "redis")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_installed_once() {
        install_provider();
        let first = std::sync::Arc::as_ptr(rustls::crypto::CryptoProvider::get_default().unwrap());
        install_provider();
        assert_eq!(first, std::sync::Arc::as_ptr(rustls::crypto::CryptoProvider::get_default().unwrap()));
    }
}
