//! The answer to a request, from both ends: the thread that runs the statement writes it, the connection's task sends it.
//!
//! Until the first byte is written an error is a status and a text. After that the status is gone, and an error is a frame at
//! the end of the body, which clients know by the tag that the headers told them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::{mpsc, oneshot};

use super::connection::Engine;
use super::encode::{Coding, Encoder};
use super::exception::{Exception, code};
use super::ffi::Counters;
use super::limits::PIECES_IN_FLIGHT;

/// What the headers of a good answer tell.
pub(super) struct Head {
    pub(super) format: String,
    pub(super) counters: Counters,
}

enum Part {
    Data(Bytes),
    End,
}

/// The writing end.
pub(super) struct Reply {
    head: Option<oneshot::Sender<Result<Head, Exception>>>,
    parts: mpsc::Sender<Part>,
    coding: Coding,
    encoder: Option<Encoder>,
    tag: String,
}

/// Makes both ends. `tag` marks an error frame.
pub(super) fn channel(
    coding: Coding,
    tag: String,
) -> (Reply, oneshot::Receiver<Result<Head, Exception>>, PartsReceiver) {
    let (head, head_receiver) = oneshot::channel();
    let (parts, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    (Reply { head: Some(head), parts, coding, encoder: None, tag }, head_receiver, PartsReceiver(receiver))
}

impl Reply {
    /// Sends the headers.
    pub(super) fn begin(&mut self, format: &str, counters: Counters) -> Result<(), Exception> {
        self.encoder = Some(Encoder::new(self.coding).map_err(|error| unencodable(&error))?);
        let head = self.head.take().ok_or_else(gone)?;
        head.send(Ok(Head { format: format.to_owned(), counters })).map_err(|_| gone())
    }

    /// Sends a piece; waits while the client is behind.
    pub(super) fn data(&mut self, data: &[u8]) -> Result<(), Exception> {
        if data.is_empty() {
            return Ok(());
        }
        let encoder = self.encoder.as_mut().ok_or_else(gone)?;
        let bytes = encoder.push(data).map_err(|error| unencodable(&error))?;
        self.send(Part::Data(bytes.into()))
    }

    /// Ends a good answer.
    pub(super) fn finish(mut self) -> Result<(), Exception> {
        self.close()
    }

    /// Ends with an error.
    pub(super) fn fail(mut self, error: &Exception, version: &str) {
        if let Some(head) = self.head.take() {
            let _ = head.send(Err(error.clone())); // nobody waits for it any more: the client went away
            return;
        }
        // A client that does not get this frame is gone, or gets an aborted body: an error in either case.
        let frame = error.frame(&self.tag, version);
        let _ = self.data(&frame).and_then(|()| self.close());
    }

    fn close(&mut self) -> Result<(), Exception> {
        let rest = self
            .encoder
            .take()
            .map(Encoder::finish)
            .transpose()
            .map_err(|error| unencodable(&error))?
            .unwrap_or_default();
        if !rest.is_empty() {
            self.send(Part::Data(rest.into()))?;
        }
        // A client that has its rows may go before it hears that there are no more.
        let _ = self.parts.blocking_send(Part::End);
        Ok(())
    }

    fn send(&self, part: Part) -> Result<(), Exception> {
        self.parts.blocking_send(part).map_err(|_| gone())
    }
}

fn gone() -> Exception {
    Exception::new(code::QUERY_WAS_CANCELLED, "QUERY_WAS_CANCELLED", "the client went away")
}

fn unencodable(error: &std::io::Error) -> Exception {
    Exception::new(
        code::STD_EXCEPTION,
        "STD_EXCEPTION",
        format_args!("the answer cannot be compressed: {error}"),
    )
}

/// Kills the statement when the client goes away before its end.
pub(super) struct KillOnDrop {
    engine: Arc<Engine>,
    tag: String,
    armed: bool,
}

impl KillOnDrop {
    pub(super) fn new(engine: Arc<Engine>, tag: String) -> Self {
        Self { engine, tag, armed: true }
    }

    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (engine, tag) = (self.engine.clone(), std::mem::take(&mut self.tag));
        tracing::debug!(tag, "the client went away: its statement is killed");
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || engine.kill(&tag));
        }
    }
}

/// What is to be sent.
pub(super) struct PartsReceiver(mpsc::Receiver<Part>);

impl PartsReceiver {
    /// The body of the response. Dropped before its end, it kills the statement.
    pub(super) fn body(self, guard: KillOnDrop) -> axum::body::Body {
        axum::body::Body::new(AnswerBody { parts: self.0, guard })
    }
}

struct AnswerBody {
    parts: mpsc::Receiver<Part>,
    guard: KillOnDrop,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match ready!(self.parts.poll_recv(context)) {
            Some(Part::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Part::End) => {
                self.guard.disarm();
                Poll::Ready(None)
            }
            // The statement's thread is gone without an end: the client must not take what it has for the whole.
            None => Poll::Ready(Some(Err(std::io::Error::other("the answer was cut off")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_goes_after_the_last_row_fails_nothing_and_one_that_goes_before_it_does() {
        let begun = || {
            let (mut reply, _head, parts) = channel(Coding::Identity, "tag".to_owned());
            reply.begin("RowBinary", Counters::default()).unwrap();
            (reply, parts)
        };
        let (mut reply, parts) = begun();
        reply.data(b"a row").unwrap();
        drop(parts);
        reply.finish().unwrap();

        let (mut reply, parts) = begun();
        drop(parts);
        assert_eq!(reply.data(b"a row").unwrap_err().code, code::QUERY_WAS_CANCELLED);
    }
}
