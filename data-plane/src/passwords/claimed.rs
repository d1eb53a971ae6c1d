//! User and password as they are presented (RFC 7617): one text in base64, with the first colon between them.
//!
//! Knows no user. The invariant: the text is wiped and cannot be printed.

use data_encoding::BASE64;
use rr_contract::secret::Secret;
use zeroize::Zeroizing;

/// The longest text, in bytes.
const MOST: usize = 1_024;

/// A user and a password that somebody claims to be and to know.
pub(crate) struct Claimed {
    text: Secret,
    colon: usize,
}

impl Claimed {
    /// `None`: not such a text. Base64 has one spelling: with its padding, and without spaces.
    pub(crate) fn read(base64: &[u8]) -> Option<Self> {
        if base64.len() > BASE64.encode_len(MOST) {
            return None;
        }
        let mut text = Zeroizing::new(vec![0; BASE64.decode_len(base64.len()).ok()?]);
        let length = BASE64.decode_mut(base64, &mut text).ok()?;
        text.truncate(length);
        if text.len() > MOST {
            return None;
        }
        let colon = text.iter().position(|byte| *byte == b':')?;
        Some(Self { text: Secret::new(std::mem::take(&mut *text)), colon })
    }

    pub(crate) fn user(&self) -> &[u8] {
        &self.text.expose()[..self.colon]
    }

    pub(super) fn password(&self) -> &[u8] {
        &self.text.expose()[self.colon + 1..]
    }

    /// Both, with the colon.
    pub(super) fn text(&self) -> &[u8] {
        self.text.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let claimed = Claimed::read(BASE64.encode(text).as_bytes())?;
        Some((claimed.user().to_vec(), claimed.password().to_vec()))
    }

    #[test]
    fn the_first_colon_is_between_user_and_password() {
        for (text, user, password) in [
            ("ann:secret", "ann", "secret"),
            ("ann:se:cr:et", "ann", "se:cr:et"),
            ("ann:", "ann", ""),
            (":secret", "", "secret"),
            ("zoë:pässword ✓", "zoë", "pässword ✓"),
        ] {
            assert_eq!(read(text.as_bytes()), Some((user.into(), password.into())), "{text}");
        }
        assert_eq!(read(b"\xff:\xfe\x00"), Some((vec![0xff], vec![0xfe, 0])));
        assert_eq!(read(b"ann"), None);
        assert_eq!(read(b""), None);
    }

    #[test]
    fn base64_has_one_spelling() {
        let good = BASE64.encode(b"ann:pass");
        assert_eq!(good, "YW5uOnBhc3M=");
        assert!(Claimed::read(good.as_bytes()).is_some());
        for bad in [
            "YW5uOnBhc3M",
            "YW5uOnBhc3M==",
            "YW5uOnBhc3N=",
            "YW5u OnBhc3M=",
            "YW5uOnBhc3M=\n",
            "YW5uOnBhc3M=,x",
            "ann:pass",
            "YW5uOnBhc3_=",
            "",
        ] {
            assert!(Claimed::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_text_has_an_end() {
        let of = |bytes: usize| read(&[b"ann:", &*vec![b'x'; bytes - 4]].concat()).is_some();
        assert_eq!([1_023, 1_024, 1_025, 1_026, 4_096].map(of), [true, true, false, false, false]);
    }
}
