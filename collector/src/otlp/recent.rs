//! Requests that came lately, by their content. A sender that got no answer sends the same request again: while the first is
//! under way the second waits for its end, and when it was stored the second is answered without storing it twice.
//!
//! Limit: [`RECENT_MAX`] requests. A sender gives up or gets through long before so many others came.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Requests that are remembered, some 100 bytes each.
const RECENT_MAX: usize = 16_384;

/// How far a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    UnderWay,
    Stored,
    /// Not stored, or only in part.
    Failed,
}

/// Whose it is to store a request.
#[derive(Debug)]
pub(super) enum Claim {
    /// The caller's, who tells its end. `again`: it was tried before, so parts of it may be stored.
    Ours { end: watch::Sender<Progress>, again: bool },
    /// Someone has stored it, or is about to.
    Theirs(watch::Receiver<Progress>),
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    progress: HashMap<u128, watch::Receiver<Progress>>,
    /// Oldest first.
    order: VecDeque<u128>,
}

impl Recent {
    pub(super) fn claim(&self, request: u128) -> Claim {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let known = requests.progress.get(&request);
        if let Some(progress) = known
            && *progress.borrow() != Progress::Failed
        {
            return Claim::Theirs(progress.clone());
        }
        let again = known.is_some();
        let (end, progress) = watch::channel(Progress::UnderWay);
        requests.remember(request, progress);
        Claim::Ours { end, again }
    }
}

impl Requests {
    fn remember(&mut self, request: u128, progress: watch::Receiver<Progress>) {
        if self.progress.insert(request, progress).is_none() {
            self.order.push_back(request);
        }
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.progress.remove(&oldest);
        }
    }
}
