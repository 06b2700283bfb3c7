//! The body of a request, read by the thread that runs the statement: pieces come through a bounded channel, are decompressed
//! as they come, and never more than a limit of them.

use std::io::{self, Read};

use axum::body::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use lz4_flex::frame::FrameDecoder;
use tokio::sync::mpsc;

use super::encode::Coding;
use super::exception::{Exception, code};
use super::limits::{BODY_BYTES_MAX, ZSTD_WINDOW_LOG_MAX};
use super::native_block::BlockReader;

/// A piece of the body. A channel that closes before `End` means that the client went away: nothing may be stored then.
pub(super) enum Piece {
    Data(Bytes),
    End,
}

/// The plain bytes of a body.
pub(super) struct Body {
    reader: Box<dyn Read + Send>,
    left: u64,
}

impl Body {
    /// `coding` is what the headers say, `native` what the parameter `decompress` says: a body may be both.
    pub(super) fn new(pieces: mpsc::Receiver<Piece>, coding: Coding, native: bool) -> io::Result<Self> {
        let raw = Pieces { pieces, current: Bytes::new(), ended: false };
        let decoded: Box<dyn Read + Send> = match coding {
            Coding::Identity | Coding::NativeBlocks => Box::new(raw),
            Coding::Lz4 => Box::new(FrameDecoder::new(raw)),
            Coding::Gzip => Box::new(MultiGzDecoder::new(raw)),
            Coding::Deflate => Box::new(ZlibDecoder::new(raw)),
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(raw)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        };
        let reader = if native { Box::new(BlockReader::new(decoded)) } else { decoded };
        Ok(Self { reader, left: BODY_BYTES_MAX })
    }

    /// Reads until `into` holds `length` bytes. False when the body ended before.
    pub(super) fn read_up_to(&mut self, into: &mut Vec<u8>, length: usize) -> Result<bool, Exception> {
        let want = length.saturating_sub(into.len()) as u64;
        let read = self.take(want).read_to_end(into).map_err(|error| failed(&error))?;
        Ok(read as u64 == want)
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("a body of more than {BODY_BYTES_MAX} bytes is not taken"),
            )
        })?;
        Ok(count)
    }
}

/// What a body that cannot be read means.
pub(super) fn failed(error: &io::Error) -> Exception {
    match error.kind() {
        io::ErrorKind::ConnectionAborted => {
            Exception::new(code::QUERY_WAS_CANCELLED, "QUERY_WAS_CANCELLED", error)
        }
        io::ErrorKind::FileTooLarge => Exception::new(code::QUERY_IS_TOO_LARGE, "QUERY_IS_TOO_LARGE", error),
        _ => Exception::new(
            code::CANNOT_DECOMPRESS,
            "CANNOT_DECOMPRESS",
            format_args!("the body cannot be read: {error}"),
        ),
    }
}

/// The pieces as one stream of bytes.
struct Pieces {
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Data(piece)) => self.current = piece,
                Some(Piece::End) => self.ended = true,
                None => {
                    let reason = "the client went away before the end of its body";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
                }
            }
        }
        let count = self.current.len().min(into.len());
        into[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
