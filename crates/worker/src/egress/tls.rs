//! TLS towards the outside, for capabilities alone: what a program encrypts itself goes through unseen. Must never: be built
//! before the first `https` request, or accept a certificate that the host's own roots do not vouch for.
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use std::io;
use std::sync::Arc;
use tenure_core::network::host::Host;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::metered::MeteredStream;

#[derive(Debug, Default)]
pub(super) struct Tls {
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// Speaks TLS over a stream that leads to `host`.
    pub(super) async fn wrap(&self, host: &Host, metered: MeteredStream) -> io::Result<TlsStream<MeteredStream>> {
        let config = self.config.get_or_try_init(build).await?;
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            Host::Address(address) => ServerName::from(*address),
        };
        TlsConnector::from(Arc::clone(config)).connect(name, metered).await
    }
}

/// Reads the host's certificates, which takes some tens of milliseconds.
async fn build() -> io::Result<Arc<ClientConfig>> {
    let building = tokio::task::spawn_blocking(|| {
        let installed = CryptoProvider::get_default().cloned();
        let provider = installed.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder
            .and_then(|builder| builder.with_platform_verifier())
            .map(|builder| builder.with_no_client_auth())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok::<_, rustls::Error>(Arc::new(config))
    });
    building.await.map_err(io::Error::other)?.map_err(io::Error::other)
}
