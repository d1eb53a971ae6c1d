//! Undoes a content coding, step by step.
//!
//! The bound of the decoded body follows from the length of the encoded one, which is known before the first step,
//! so a bomb is stopped where its output passes that bound, and never after.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge as WINDOW_TOO_LARGE;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{Buffer, Coding, Held, NoRoom};

mod stream;

pub(crate) use self::stream::Decoding;

/// The most that a body may be decoded to.
const DECODED_MAX: usize = 8 * 1024 * 1024;
/// How many times as long as the encoded body a decoded one may be, if it is longer than [`RATIO_FREE`].
const RATIO_MAX: usize = 100;
/// Up to here, any ratio is taken: short texts of one character are no bombs.
const RATIO_FREE: usize = 1024 * 1024;
/// 8 MiB, which is what the standard lets a sender of Zstandard use.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What a step reads at most, and what it writes at most.
const STEP: usize = 64 * 1024;
/// The smallest room for output. Room is filled with zeros first, so a small body gets little.
const LITTLE: usize = 1024;
/// The window of deflate, which has no other.
const DEFLATE_WINDOW_LOG: u8 = 15;

/// A body that was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Too much of it, too much for the bytes that came, or it wants too large a window.
    #[error("body decodes to more than {DECODED_MAX} bytes, or to more than {RATIO_MAX} times what came")]
    TooLarge,
    /// Damaged, broken off, or with something behind its end.
    #[error("body is not what its content coding says")]
    Malformed,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// A body that is being decoded.
struct Decoder {
    engine: Engine,
    encoded: Bytes,
    /// How much of it was read.
    at: usize,
    decoded: Buffer,
    max: usize,
}

enum Engine {
    None,
    Gzip(Decompress),
    Deflate(Decompress),
    Br(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(DCtx<'static>),
}

/// What one call of an engine did.
struct Ran {
    read: usize,
    wrote: usize,
    /// The end of the body, or of one of the parts that it may consist of.
    ended: bool,
}

/// Decodes a whole body, as far as there is room to hold what it decodes to. A body that is not encoded comes back as it
/// is, and nothing is held for it. Gives way to other tasks between steps.
pub(crate) async fn decode(coding: Coding, encoded: Bytes, held: &mut Held) -> Result<Bytes, DecodeError> {
    let mut decoder = Decoder::new(coding, encoded);
    loop {
        if let Some(decoded) = decoder.step(held)? {
            return Ok(decoded);
        }
        tokio::task::yield_now().await;
    }
}

impl Decoder {
    fn new(coding: Coding, encoded: Bytes) -> Self {
        let engine = Engine::new(coding);
        let max = encoded.len().saturating_mul(RATIO_MAX).clamp(RATIO_FREE, DECODED_MAX);
        Self { engine, encoded, at: 0, decoded: Buffer::default(), max }
    }

    /// Decodes some more. `None`: there is more to be done. Not to be called again after the end or an error.
    fn step(&mut self, held: &mut Held) -> Result<Option<Bytes>, DecodeError> {
        if let Engine::None = self.engine {
            let fits = self.encoded.len() <= DECODED_MAX;
            return if fits {
                Ok(Some(std::mem::take(&mut self.encoded)))
            } else {
                Err(DecodeError::TooLarge)
            };
        }
        if self.decoded.room() == 0 {
            // In proportion to what came, so nothing is to be had by lying.
            let most = self.max + 1;
            let ahead = self.encoded.len().saturating_mul(4).clamp(LITTLE, most);
            held.grow(&mut self.decoded, ahead, 0, most)?;
        }
        let (mut read, mut wrote) = (0, 0);
        // Small steps of the engine add up to one.
        while read < STEP && wrote < STEP {
            let ran = self.run(STEP - read, STEP - wrote, held)?;
            if self.decoded.len() > self.max {
                return Err(DecodeError::TooLarge);
            }
            let all_read = self.at == self.encoded.len();
            if ran.ended && all_read {
                held.fit(&mut self.decoded);
                return Ok(Some(std::mem::take(&mut self.decoded).into_bytes()));
            }
            // No step goes on for ever, whatever an engine says.
            if ran.read == 0 && ran.wrote == 0 {
                return Err(DecodeError::Malformed);
            }
            if ran.ended {
                self.engine.next_part()?;
                // Costs more than its bytes say.
                return Ok(None);
            }
            read += ran.read;
            wrote += ran.wrote;
        }
        Ok(None)
    }

    fn run(&mut self, read_max: usize, wrote_max: usize, held: &mut Held) -> Result<Ran, DecodeError> {
        // One more than may be, to see that it is too much.
        let most = self.max + 1;
        held.grow(&mut self.decoded, 1, LITTLE, most)?;
        let room = wrote_max.min(most - self.decoded.len());
        let rest = &self.encoded[self.at..];
        let rest = &rest[..rest.len().min(read_max)];
        let engine = &mut self.engine;
        let ran = self.decoded.fill(room, |spare| {
            let ran = engine.run(rest, spare);
            (ran.as_ref().map_or(0, |ran| ran.wrote), ran)
        });
        self.at += ran.as_ref().map_or(0, |ran| ran.read);
        ran
    }
}

impl Engine {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Identity => Self::None,
            Coding::Gzip => Self::Gzip(Decompress::new_gzip(DEFLATE_WINDOW_LOG)),
            Coding::Deflate => Self::Deflate(Decompress::new(true)),
            Coding::Br => {
                let (bytes, words, codes) = <(StandardAlloc, StandardAlloc, StandardAlloc)>::default();
                // Strict: no window of more than 16 MiB.
                Self::Br(Box::new(BrotliState::new_strict(bytes, words, codes)))
            }
            Coding::Zstd => {
                let mut context = DCtx::create();
                let set = context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX));
                set.expect("the bound is in the range of the format");
                Self::Zstd(context)
            }
        }
    }

    /// Only some formats may go on after their end.
    fn next_part(&mut self) -> Result<(), DecodeError> {
        match self {
            Self::Gzip(inflate) => {
                *inflate = Decompress::new_gzip(DEFLATE_WINDOW_LOG);
                Ok(())
            }
            Self::Zstd(_) => Ok(()),
            Self::None | Self::Deflate(_) | Self::Br(_) => Err(DecodeError::Malformed),
        }
    }

    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, DecodeError> {
        match self {
            Self::None => Ok(Ran { read: 0, wrote: 0, ended: true }),
            Self::Gzip(inflate) | Self::Deflate(inflate) => {
                let (read, wrote) = (inflate.total_in(), inflate.total_out());
                let status = inflate.decompress(input, output, FlushDecompress::None);
                let status = status.map_err(|_| DecodeError::Malformed)?;
                // No more than the lengths of what was given.
                let (read, wrote) = (inflate.total_in() - read, inflate.total_out() - wrote);
                Ok(Ran { read: read as usize, wrote: wrote as usize, ended: status == Status::StreamEnd })
            }
            Self::Br(state) => {
                let (mut left, mut read) = (input.len(), 0);
                let (mut room, mut wrote, mut total) = (output.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut left, &mut read, input, &mut room, &mut wrote, output, &mut total, state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(DecodeError::Malformed),
                    BrotliResult::ResultSuccess => Ok(Ran { read, wrote, ended: true }),
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {
                        Ok(Ran { read, wrote, ended: false })
                    }
                }
            }
            Self::Zstd(context) => {
                let (mut input, mut output) = (InBuffer::around(input), OutBuffer::around(output));
                match context.decompress_stream(&mut output, &mut input) {
                    Ok(more) => Ok(Ran { read: input.pos(), wrote: output.pos(), ended: more == 0 }),
                    Err(code) if code.wrapping_neg() == WINDOW_TOO_LARGE as usize => {
                        Err(DecodeError::TooLarge)
                    }
                    Err(_) => Err(DecodeError::Malformed),
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) use self::tests::encode as encoded;

#[cfg(test)]
mod tests;
