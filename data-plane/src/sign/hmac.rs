//! Keyed hashes over a text that an operator wrote.
//!
//! Holds no copy of a body: what stands in its place in the text goes into the hash as it is. The invariant: what is signed
//! and what is sent tell the same date, nonce and host.

use aws_lc_rs::{digest, hmac};
use http::{HeaderMap, HeaderName};
use rr_contract::seal::means::template::Template;
use rr_contract::seal::means::{Hash, HmacSignature, Hole};
use rr_contract::secret::Secret;

use super::{Rest, Unsignable, date, put};

/// A key with what it signs.
pub(super) struct Hmac {
    form: HmacSignature,
    key: hmac::Key,
}

/// What holes stand for, but for what is large.
struct Parts<'a> {
    rest: &'a Rest<'a>,
    date: String,
    nonce: &'a [u8],
    body_hash: Option<digest::Digest>,
}

impl Hmac {
    pub(super) fn new(value: &Secret, form: HmacSignature) -> Option<Self> {
        let algorithm = match form.hash {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        let key = hmac::Key::new(algorithm, form.key(value)?.expose());
        Some(Self { form, key })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.form.headers.iter().map(|(name, _)| name)
    }

    pub(super) fn reads_body(&self) -> bool {
        self.form.reads_body()
    }

    pub(super) fn sign(
        &self,
        rest: &Rest<'_>,
        headers: &mut HeaderMap,
        nonce: &[u8],
    ) -> Result<(), Unsignable> {
        if self.reads_body() && rest.body.is_none() {
            return Err(Unsignable::Body);
        }
        let hash = |body| digest::digest(&digest::SHA256, body);
        let body_hash = rest.body.filter(|_| self.reads_body()).map(hash);
        let parts = Parts { rest, date: date::write(rest.now, self.form.date), nonce, body_hash };
        // The text may name one of those that hold no signature.
        for (name, text) in self.form.headers.iter().filter(|(_, text)| !is_last(text)) {
            put(headers, name.clone(), &text.fill(|hole, out| parts.put(hole, headers, out)))?;
        }
        let mut context = hmac::Context::with_key(&self.key);
        let end = self.form.text.fill(|hole, out| {
            context.update(out);
            out.clear();
            match hole {
                Hole::Body => context.update(rest.body.unwrap_or_default()),
                hole => parts.put(hole, headers, out),
            }
        });
        context.update(&end);
        let signature = self.form.encoding.encode(context.sign().as_ref());
        for (name, text) in self.form.headers.iter().filter(|(_, text)| is_last(text)) {
            let value = text.fill(|hole, out| match hole {
                Hole::Signature => out.extend_from_slice(&signature),
                hole => parts.put(hole, headers, out),
            });
            put(headers, name.clone(), &value)?;
        }
        Ok(())
    }
}

impl Parts<'_> {
    fn put(&self, hole: &Hole, headers: &HeaderMap, out: &mut Vec<u8>) {
        let rest = self.rest;
        match hole {
            Hole::Method => out.extend_from_slice(rest.method.as_bytes()),
            Hole::Host => out.extend_from_slice(rest.host.as_bytes()),
            Hole::Path => out.extend_from_slice(rest.path().as_bytes()),
            Hole::Query => out.extend_from_slice(rest.query().as_bytes()),
            Hole::Target => out.extend_from_slice(rest.target.as_bytes()),
            Hole::Date => out.extend_from_slice(self.date.as_bytes()),
            Hole::Nonce => out.extend_from_slice(self.nonce),
            Hole::BodyHash(form) => {
                out.extend(self.body_hash.iter().flat_map(|hash| form.encode(hash.as_ref())));
            }
            // It goes in when the request is fitted to its connection.
            Hole::Header(name) if *name == http::header::HOST => out.extend_from_slice(rest.host.as_bytes()),
            Hole::Header(name) => {
                for (i, value) in headers.get_all(name).iter().enumerate() {
                    out.extend_from_slice(if i == 0 { b"" } else { b", " });
                    out.extend_from_slice(value.as_bytes());
                }
            }
            // Neither is in a text that comes here: the body is hashed as it is, and no text is signed that has a signature.
            Hole::Body | Hole::Signature => {}
        }
    }
}

/// Whether it holds the signature, so that it is written behind all that is signed.
fn is_last(text: &Template<Hole>) -> bool {
    text.holes().any(|hole| *hole == Hole::Signature)
}

#[cfg(test)]
mod tests;
