//! TLS towards a daemon: its certificate is the one whose fingerprint was pinned, or one that this host's own roots vouch
//! for. Must never: send a byte of a request before the certificate was judged, or fall back to clear text.
use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage, OtherError, SignatureScheme,
};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::fingerprint::Fingerprint;

/// Why a certificate was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Distrust {
    Other { pinned: Fingerprint, shown: Fingerprint },
    Unvouched { shown: Fingerprint, why: String },
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Other { pinned, shown } => write!(f, "its certificate is {shown} and {pinned} was pinned"),
            Distrust::Unvouched { shown, why } => write!(f, "its certificate {shown} is not trusted: {why}"),
        }
    }
}

impl std::error::Error for Distrust {}

/// What a handshake that failed tells.
pub(super) enum Cause {
    Distrust(Distrust),
    /// What answers does not speak TLS.
    InClear,
    Other,
}

pub(super) fn cause(error: &io::Error) -> Cause {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(other)))) => {
            other.downcast_ref::<Distrust>().cloned().map_or(Cause::Other, Cause::Distrust)
        }
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Cause::InClear,
        Some(_) | None => Cause::Other,
    }
}

pub(super) async fn wrap(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// Without a pin it reads the host's roots, which takes some tens of milliseconds.
pub(super) async fn config(pin: Option<Fingerprint>) -> io::Result<Arc<ClientConfig>> {
    let building = tokio::task::spawn_blocking(move || {
        let installed = CryptoProvider::get_default().cloned();
        let provider = installed.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let judge = match pin {
            Some(pin) => Judge::Pin(pin),
            None => Judge::Roots(Verifier::new(Arc::clone(&provider))?),
        };
        let judge = Arc::new(Certificates { judge, provider: Arc::clone(&provider) });
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = builder.dangerous().with_custom_certificate_verifier(judge).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok::<_, Error>(Arc::new(config))
    });
    building.await.map_err(io::Error::other)?.map_err(io::Error::other)
}

#[derive(Debug)]
enum Judge {
    /// The certificate itself is known, so neither its names nor its dates are asked.
    Pin(Fingerprint),
    Roots(Verifier),
}

#[derive(Debug)]
struct Certificates {
    judge: Judge,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Certificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint::of(end_entity);
        let distrust = match &self.judge {
            Judge::Pin(pinned) if *pinned == shown => return Ok(ServerCertVerified::assertion()),
            Judge::Pin(pinned) => Distrust::Other { pinned: *pinned, shown },
            Judge::Roots(roots) => {
                match roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => Distrust::Unvouched { shown, why: error.to_string() },
                }
            }
        };
        Err(CertificateError::Other(OtherError(Arc::new(distrust))).into())
    }

    /// That the other side has the certificate's key is asked in either case.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
