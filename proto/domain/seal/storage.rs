//! Frames of files at rest on a node: last-known-good, the spool and the node's own keys.
//!
//! XChaCha20-Poly1305 with a random nonce a frame. The context binds a frame to its file and place; chains
//! are made by the caller, who puts the tag of the frame before into it.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use zeroize::Zeroizing;

use crate::secret::Secret;
use rr_seam::{Entropy, draw};

const NONCE: usize = 24;
const TAG: usize = 16;

/// How many bytes a sealed frame is longer than what is in it.
pub const OVERHEAD: usize = NONCE + TAG;

/// A key that files of one purpose are sealed with. Cannot be printed.
#[derive(Clone)]
pub struct StorageKey(Zeroizing<[u8; 32]>);

/// A frame that does not open: another key, another place, or damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame does not open: other key, moved, or damaged")]
pub struct FrameError;

impl StorageKey {
    /// The key for a purpose, out of a node's own 32 bytes.
    pub fn derive(node_key: &Secret, purpose: &str) -> Self {
        Self(Zeroizing::new(blake3::derive_key(
            &format!("requestrocket storage 1 {purpose}"),
            node_key.expose(),
        )))
    }

    /// Seals a frame: nonce, ciphertext, tag.
    pub fn seal(&self, context: &[u8], plaintext: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let nonce = draw::<NONCE>(entropy);
        let sealed = XChaCha20Poly1305::new((&*self.0).into())
            .encrypt((&nonce).into(), Payload { msg: plaintext, aad: context })
            .expect("a frame is below the cipher's limit");
        let mut out = Vec::with_capacity(NONCE + sealed.len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens a frame.
    pub fn open(&self, context: &[u8], frame: &[u8]) -> Result<Zeroizing<Vec<u8>>, FrameError> {
        let (nonce, sealed) = frame.split_at_checked(NONCE).ok_or(FrameError)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| FrameError)?;
        XChaCha20Poly1305::new((&*self.0).into())
            .decrypt((&nonce).into(), Payload { msg: sealed, aad: context })
            .map(Zeroizing::new)
            .map_err(|_| FrameError)
    }

    /// The tag of a sealed frame, for the context of the next.
    pub fn tag(frame: &[u8]) -> Option<[u8; TAG]> {
        frame.len().checked_sub(TAG).and_then(|at| frame[at..].try_into().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use rr_seam::SystemEntropy;

    /// What draws the nonce of a published vector.
    struct Drawn([u8; NONCE]);

    impl Entropy for Drawn {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0);
        }
    }

    /// draft-irtf-cfrg-xchacha-03, A.3.1.
    #[test]
    fn the_published_vector_of_the_cipher_is_what_is_sealed_and_what_opens() {
        let plaintext =
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                          sunscreen would be it.";
        let aad = HEXLOWER.decode(b"50515253c0c1c2c3c4c5c6c7").expect("hexadecimal");
        let nonce = std::array::from_fn(|at| 0x40 + at as u8);
        let sealed = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                      ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                      21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
        let key = StorageKey(Zeroizing::new(std::array::from_fn(|at| 0x80 + at as u8)));
        let frame = key.seal(&aad, plaintext, &Drawn(nonce));
        assert_eq!(frame[..NONCE], nonce);
        assert_eq!(HEXLOWER.encode(&frame[NONCE..]), sealed);
        assert_eq!(key.open(&aad, &frame).expect("opens").as_slice(), plaintext);
    }

    #[test]
    fn a_frame_opens_in_its_own_place_and_any_flipped_bit_is_seen() {
        let key = StorageKey::derive(&Secret::new(vec![1; 32]), "test");
        let frame = key.seal(b"file 1", b"hello", &SystemEntropy);
        assert_eq!(frame.len(), 5 + OVERHEAD);
        assert_eq!(key.open(b"file 1", &frame).expect("opens").as_slice(), b"hello");
        assert_eq!(key.open(b"file 2", &frame).err(), Some(FrameError));
        for at in 0..frame.len() * 8 {
            let mut bent = frame.clone();
            bent[at / 8] ^= 1 << (at % 8);
            assert_eq!(key.open(b"file 1", &bent).err(), Some(FrameError), "bit {at}");
        }
        let other = StorageKey::derive(&Secret::new(vec![1; 32]), "another purpose");
        assert_eq!(other.open(b"file 1", &frame).err(), Some(FrameError));
    }
}
