//! The way to one target, open: its address is checked and its secrets are read.

use std::path::PathBuf;

use thiserror::Error;

use crate::config::NotificationTarget;
use crate::notifications::mail::Post;
use crate::notifications::message::Message;
use crate::notifications::request::Web;
use crate::people::shortened;
use crate::tls::TlsError;

/// As much of a receiver's answer as is kept.
pub(super) const ANSWER_CHARS_MAX: usize = 300;

/// Why a way cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum ChannelError {
    #[error("{}: cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: expected a secret of 1 to {bytes_max} bytes, found {found}", path.display())]
    Secret { path: PathBuf, bytes_max: usize, found: usize },
    #[error("notifications.targets {target:?}: {key}: expected {expected}")]
    Invalid { target: String, key: &'static str, expected: &'static str },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("notifications.targets {target:?}: {source}")]
    Mail { target: String, source: lettre::transport::smtp::Error },
}

/// A message that was not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    /// Why, without secrets, on one line.
    pub(crate) detail: String,
    /// The receiver says that it never will be.
    pub(crate) is_final: bool,
}

/// A way.
#[derive(Debug)]
pub(crate) struct Channel(Way);

#[derive(Debug)]
enum Way {
    Web(Box<Web>),
    Post(Box<Post>),
}

impl Channel {
    pub(crate) fn open(target: &NotificationTarget) -> Result<Self, ChannelError> {
        let way = match (&target.webhook, &target.http, &target.mail) {
            (Some(webhook), ..) => Way::Web(Box::new(Web::webhook(target, webhook)?)),
            (_, Some(http), _) => Way::Web(Box::new(Web::template(target, http)?)),
            (.., Some(mail)) => Way::Post(Box::new(Post::open(target, mail)?)),
            (None, None, None) => {
                let expected = "one of webhook, mail and http";
                return Err(ChannelError::Invalid { target: target.name.clone(), key: "", expected });
            }
        };
        Ok(Self(way))
    }

    /// Sends a message; gives the receiver's answer.
    pub(crate) async fn send(&self, message: &Message) -> Result<String, Refusal> {
        let answer = match &self.0 {
            Way::Web(web) => web.send(message).await,
            Way::Post(post) => post.send(message).await,
        };
        let shown = |text: String| shortened(text.trim(), ANSWER_CHARS_MAX);
        answer.map(shown).map_err(|refusal| Refusal { detail: shown(refusal.detail), ..refusal })
    }
}
