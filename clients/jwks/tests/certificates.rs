//! Certificates of a throw-away authority, good and bad.

use std::sync::Arc;
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
pub struct Certificate {
    pub chain: String,
    pub key: String,
    config: Arc<ServerConfig>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    /// The one that the programs of the tests believe.
    pub fn believed() -> &'static Self {
        static BELIEVED: OnceLock<Authority> = OnceLock::new();
        BELIEVED.get_or_init(|| Self::new("believed"))
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// For a host, which may be an address.
    pub fn certificate(&self, host: &str) -> Certificate {
        self.sign(CertificateParams::new([host.to_owned()]).unwrap())
    }

    pub fn expired(&self, host: &str) -> Certificate {
        let mut parameters = CertificateParams::new([host.to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
        self.sign(parameters)
    }

    fn sign(&self, parameters: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        Certificate {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            config: Arc::new(config),
        }
    }
}

impl Certificate {
    /// For the provider's own address, by an authority that is believed.
    pub fn good() -> Self {
        Authority::believed().certificate("127.0.0.1")
    }

    pub fn expired() -> Self {
        Authority::believed().expired("127.0.0.1")
    }

    pub fn of_another_host() -> Self {
        Authority::believed().certificate("other.example")
    }

    pub fn of_an_unknown_authority() -> Self {
        Authority::new("unknown").certificate("127.0.0.1")
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}
