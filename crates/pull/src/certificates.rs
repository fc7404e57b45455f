//! Certificates of one registry: `certs.d/HOST[:PORT]/` as Docker and containers-certs.d(5) have it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::Error;

/// What the folders hold for a registry.
#[derive(Default)]
pub struct Certificates {
    /// Authorities (`*.crt`).
    pub roots: Vec<CertificateDer<'static>>,
    /// What to show of ourselves: `NAME.cert` with `NAME.key`.
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certificates {
    /// Reads the folders named after the registry; those that are not there hold nothing.
    ///
    /// # Errors
    /// When a file in them cannot be read or is no certificate: leaving it out would be another trust than was asked for.
    pub fn of(places: &[PathBuf], host: &str) -> Result<Self, Error> {
        let mut found = Self::default();
        for place in places {
            found.read(&place.join(host))?;
        }
        Ok(found)
    }

    fn read(&mut self, folder: &Path) -> Result<(), Error> {
        let failed = |problem: String| Error::CertificateFolder {
            folder: folder.to_owned(),
            problem,
        };
        let entries = match std::fs::read_dir(folder) {
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            entries => entries.map_err(|e| failed(e.to_string()))?,
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let certificates = || -> Result<Vec<CertificateDer<'static>>, Error> {
                let all: Result<Vec<_>, _> =
                    CertificateDer::pem_file_iter(&file).and_then(Iterator::collect);
                let all = all.map_err(|e| failed(format!("{name}: {e}")))?;
                if all.is_empty() {
                    return Err(failed(format!("{name} holds no certificate")));
                }
                Ok(all)
            };
            match file.extension().and_then(|e| e.to_str()) {
                Some("crt") => self.roots.extend(certificates()?),
                Some("cert") => {
                    let key = file.with_extension("key");
                    let key = PrivateKeyDer::from_pem_file(&key).map_err(|e| {
                        failed(format!("{name} needs its key in {}: {e}", key.display()))
                    })?;
                    self.identity = Some((certificates()?, key));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Takes any certificate: for registries that the configuration calls insecure. Signatures are checked all the same, so
/// that whoever it is holds the certificate's key.
#[derive(Debug)]
pub struct Anybody(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
