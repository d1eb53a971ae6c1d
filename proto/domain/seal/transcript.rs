//! Unambiguous bytes to sign or to bind: a label, then parts that each carry their length.

pub(super) struct Transcript(Vec<u8>);

impl Transcript {
    pub(super) fn new(label: &str) -> Self {
        let mut transcript = Self(Vec::with_capacity(256));
        transcript = transcript.bytes(label.as_bytes());
        transcript
    }

    pub(super) fn bytes(mut self, part: &[u8]) -> Self {
        self.0.extend_from_slice(&(part.len() as u64).to_be_bytes());
        self.0.extend_from_slice(part);
        self
    }

    pub(super) fn number(self, part: u64) -> Self {
        self.bytes(&part.to_be_bytes())
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}
