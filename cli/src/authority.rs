//! Certificates that vouch for a target, as people compare them: subject and fingerprint.
//!
//! Trusts nothing that it shows: a hostile control plane chose the certificates, and so the text of their subjects.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result};
use rr_contract::model::tls::CaBundle;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::harmless;

/// Certificates of a file, or none.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file with PEM.
    File(PathBuf),
    /// Those that nodes trust.
    Nodes,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(if text == "none" { Self::Nodes } else { Self::File(text.into()) })
    }
}

impl Source {
    /// As a target holds it.
    pub(crate) fn text(&self) -> Result<String> {
        match self {
            Self::Nodes => Ok(String::new()),
            Self::File(path) => read(path).map(|(text, _)| text),
        }
    }
}

/// The text of a file, and the certificates in it.
pub(crate) fn read(path: &Path) -> Result<(String, CaBundle)> {
    let place = || format!("certificates in {}", path.display());
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let certificates = text.parse().with_context(place)?;
    Ok((text, certificates))
}

/// The certificates of a target; none where it has none of its own.
pub(crate) fn of(text: &str) -> Result<Option<CaBundle>> {
    if text.is_empty() { Ok(None) } else { Ok(Some(text.parse()?)) }
}

/// Subject and SHA-256 of each certificate.
pub(crate) fn lines(certificates: &CaBundle) -> Vec<String> {
    let line = |der: &[u8]| {
        let subject = X509Certificate::from_der(der).map(|(_, read)| read.subject().to_string());
        let subject = subject.ok().filter(|subject| !subject.is_empty());
        let digest = Sha256::digest(der);
        let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{}, SHA-256 {}", plain(&subject.unwrap_or("no subject".to_owned())), bytes.join(":"))
    };
    certificates.certificates().iter().map(|der| line(der)).collect()
}

/// Without what a terminal obeys, or does not show.
fn plain(text: &str) -> String {
    let is_hidden = |c: char| {
        harmless::is_obeyed(c)
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if is_hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Of an authority that calls itself `CN=ours`.
#[cfg(test)]
pub(crate) const OURS: &str = "\
-----BEGIN CERTIFICATE-----
MIIBNDCB56ADAgECAhQQ44nA/86QJsIBimAAtHcH2gGd4jAFBgMrZXAwDzENMAsG
A1UEAwwEb3VyczAgFw0yNjExMjYxNjUwMTBaGA8yMTI2MTEwMjE2NTAxMFowDzEN
MAsGA1UEAwwEb3VyczAqMAUGAytlcAMhAJrV2O+lDeiZzO/P6YXsVSWUBn8xIO37
6u9evvhlXai1o1MwUTAdBgNVHQ4EFgQUxBlx2wGxSIVFD5gGfVoQpzjbBHMwHwYD
VR0jBBgwFoAUxBlx2wGxSIVFD5gGfVoQpzjbBHMwDwYDVR0TAQH/BAUwAwEB/zAF
BgMrZXADQQBV2s+T8qbjOsSnjeF5xUBpMlykhiPwLoW/9dy93H5RG9sXoNsFInPD
kbGCqUVP7SOSimHvOlqJTgFsvuomcu4J
-----END CERTIFICATE-----
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_shown_with_the_fingerprint_that_other_programs_show() {
        let certificates: CaBundle = OURS.parse().expect("a certificate");
        let fingerprint =
            "AC:B4:22:72:66:A6:B9:B6:2D:30:1E:83:26:3B:CE:95:3A:04:2C:10:8F:21:16:E8:E7:8E:64:F4:C8:74:F5:33";
        assert_eq!(lines(&certificates), [format!("CN=ours, SHA-256 {fingerprint}")]);
    }

    #[test]
    fn a_subject_does_not_speak_to_the_terminal() {
        assert_eq!(plain("CN=\u{1b}[2Jours\u{202e}\n"), "CN=\\u{1b}[2Jours\\u{202e}\\u{a}");
        assert_eq!(plain("CN=Müller & Söhne"), "CN=Müller & Söhne");
    }
}
