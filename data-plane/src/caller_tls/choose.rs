//! Which certificate a caller is shown: by the name that it asks for.
//!
//! A name of its own goes before a wildcard, which stands for one label. Several certificates of one name differ in
//! their keys, mostly: the first one that the caller can verify is taken.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Loaded;

#[derive(Debug)]
pub(super) struct ByName {
    /// In lower case; a wildcard begins with `*.`.
    names: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    others: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    /// The first certificate is also for whoever asks for none of the names.
    pub(super) fn new(certificates: &[Arc<Loaded>]) -> Self {
        let mut names: HashMap<_, Vec<_>> = HashMap::new();
        for loaded in certificates {
            for name in &loaded.names {
                names.entry(name.clone()).or_default().push(Arc::clone(&loaded.key));
            }
        }
        let others = certificates.iter().take(1).map(|loaded| Arc::clone(&loaded.key)).collect();
        Self { names, others }
    }

    pub(super) fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wild = || self.names.get(&*format!("*.{}", name.split_once('.')?.1));
            self.names.get(&*name).or_else(wild)
        });
        found.unwrap_or(&self.others)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.of(hello.server_name());
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(fits).or(keys.first()).cloned()
    }
}
