//! How an answer is compressed on its way out: whatever the client asked for first that we know.

use std::io::{self, Write};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};

use super::native_block;

/// A name of `Content-Encoding`, or the native framing that stands for none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Coding {
    Identity,
    Lz4,
    Zstd,
    Gzip,
    Deflate,
    /// `compress=1`: blocks in the body, no header.
    NativeBlocks,
}

impl Coding {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::Identity,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            _ => return None,
        })
    }

    /// The first of `Accept-Encoding` that we know and that is not forbidden by `q=0`.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
        for choice in values.flat_map(|value| value.split(',')) {
            let (name, weight) = choice.split_once(';').unwrap_or((choice, ""));
            let forbidden =
                weight.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0));
            if let Some(coding) = Self::named(name).filter(|_| !forbidden) {
                return coding;
            }
        }
        Self::Identity
    }

    /// What stands in the header `Content-Encoding`.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::Identity | Self::NativeBlocks => None,
            Self::Lz4 => Some("lz4"),
            Self::Zstd => Some("zstd"),
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
        }
    }
}

/// Compresses piece by piece; each piece can be read by the client as soon as it has come.
pub(super) enum Encoder {
    Identity,
    Lz4(Box<FrameEncoder<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Deflate(flate2::write::ZlibEncoder<Vec<u8>>),
    NativeBlocks,
}

impl Encoder {
    pub(super) fn new(coding: Coding) -> io::Result<Self> {
        let level = flate2::Compression::fast();
        Ok(match coding {
            Coding::Identity => Self::Identity,
            Coding::Lz4 => {
                let info = FrameInfo::new().block_size(BlockSize::Max256KB);
                Self::Lz4(Box::new(FrameEncoder::with_frame_info(info, Vec::new())))
            }
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 1)?),
            Coding::Gzip => Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level)),
            Coding::Deflate => Self::Deflate(flate2::write::ZlibEncoder::new(Vec::new(), level)),
            Coding::NativeBlocks => Self::NativeBlocks,
        })
    }

    pub(super) fn push(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity => Ok(data.to_vec()),
            Self::NativeBlocks => native_block::compress(data),
            Self::Lz4(encoder) => through(encoder, data, |encoder| encoder.get_mut()),
            Self::Zstd(encoder) => through(encoder, data, |encoder| encoder.get_mut()),
            Self::Gzip(encoder) => through(encoder, data, |encoder| encoder.get_mut()),
            Self::Deflate(encoder) => through(encoder, data, |encoder| encoder.get_mut()),
        }
    }

    /// What closes the stream.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity | Self::NativeBlocks => Ok(Vec::new()),
            Self::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        }
    }
}

/// Compresses `data` up to a point where the other side can read all of it.
fn through<E: Write>(
    encoder: &mut E,
    data: &[u8],
    output: impl Fn(&mut E) -> &mut Vec<u8>,
) -> io::Result<Vec<u8>> {
    encoder.write_all(data)?;
    encoder.flush()?;
    Ok(std::mem::take(output(encoder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn takes_the_first_coding_it_knows() {
        for (header, expected) in [
            ("lz4", Coding::Lz4),
            ("br, gzip", Coding::Gzip),
            ("lz4;q=0, zstd;q=0.5", Coding::Zstd),
            ("lz4,zstd,gzip,deflate", Coding::Lz4),
            ("br", Coding::Identity),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(Coding::accepted(&headers), expected, "{header}");
        }
        assert_eq!(Coding::accepted(&HeaderMap::new()), Coding::Identity);
    }
}
