//! TLS to the database.
//!
//! As with PostgreSQL's own programs, `sslmode` says how much is checked: `prefer` and
//! `require` keep out those who only listen, `verify-ca` and `verify-full` also those
//! who pretend to be the server. Who is trusted is in the file that `sslrootcert` names,
//! or else in the system's store. Who we are is in the files that `sslcert` and `sslkey`
//! name, for servers that ask.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::target::{Target, Verify};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// The file that `sslrootcert` names cannot be used.
    #[error("cannot read the certificates in sslrootcert")]
    File(#[source] rustls::pki_types::pem::Error),
    /// The file that `sslcert` or `sslkey` names cannot be used.
    #[error("cannot read {0}, or it is no PEM file of one")]
    Own(&'static str, #[source] rustls::pki_types::pem::Error),
    /// There is nothing to check certificates against.
    #[error("there are no certificates to trust; name a file of some in sslrootcert")]
    NoRoots,
    /// The library refuses what was set.
    #[error("cannot set up TLS")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What makes connections to the target secure, as far as it asks for that.
pub(super) fn connector(target: &Target) -> Result<MakeRustlsConnect, BadTls> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match target.verify {
        Verify::Nothing => None,
        Verify::Chain | Verify::Host => {
            let roots = Arc::new(roots(target.roots.as_deref())?);
            let builder = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            Some(
                builder
                    .build()
                    .map_err(|error| BadTls::Library(error.into()))?,
            )
        }
    };
    let verifier = Verifier {
        verify: target.verify,
        verifier,
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BadTls::Library(error.into()))?
        .dangerous() // the verifier below is what libpq does
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &target.own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = own(certificate, key)?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|error| BadTls::Library(error.into()))?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// What the server is shown.
fn own(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BadTls> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| BadTls::Own("the certificate in sslcert", error))?;
    let key = PrivateKeyDer::from_pem_file(key);
    Ok((
        chain,
        key.map_err(|error| BadTls::Own("the key in sslkey", error))?,
    ))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, BadTls> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in CertificateDer::pem_file_iter(file).map_err(BadTls::File)? {
                let added = roots.add(certificate.map_err(BadTls::File)?);
                added.map_err(|error| BadTls::Library(error.into()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    match roots.is_empty() {
        true => Err(BadTls::NoRoots),
        false => Ok(roots),
    }
}

/// Checks as much of a server's certificate as was asked for.
#[derive(Debug)]
struct Verifier {
    verify: Verify,
    /// Checks all of it.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(verifier) = &self.verifier else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is what the library checks last.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Chain => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
