//! Sessions: a client that sends `session_id` finds its settings and temporary tables again. One request of a session runs at a
//! time; idle ones end after their timeout; there are never more than `SESSIONS_MAX`.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::auth::Access;
use super::connection::{Connection, Engine};
use super::exception::{Exception, code};
use super::limits::SESSIONS_MAX;
use super::request::SessionOrder;

/// A session belongs to the user who opened it.
type Key = (Access, String);

enum State {
    Busy,
    Idle { connection: Connection, until: Instant },
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Key, State>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what nobody asked for in time.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, state| !matches!(state, State::Idle { until, .. } if *until < now));
    }

    pub(super) fn close_idle(&self) {
        self.lock().retain(|_, state| matches!(state, State::Busy));
    }

    /// The session's connection, which is back in its place when the lease is dropped.
    pub(super) fn lease(
        self: &Arc<Self>,
        engine: &Engine,
        access: Access,
        order: &SessionOrder,
        tag: &str,
    ) -> Result<Lease, Exception> {
        self.sweep();
        let key = (access, order.id.clone());
        let found = self.occupy(&key, order.must_exist)?;
        let mut lease = Lease {
            connection: found,
            home: Some(Home { sessions: self.clone(), key, order: order.clone() }),
        };
        if lease.connection.is_none() {
            lease.connection = Some(engine.connect(access, tag)?); // dropped on error, the lease frees the place
        }
        Ok(lease)
    }

    /// Marks the session busy and gives its connection, if it has one.
    fn occupy(&self, key: &Key, must_exist: bool) -> Result<Option<Connection>, Exception> {
        let mut sessions = self.lock();
        let id = &key.1;
        match sessions.remove(key) {
            Some(State::Idle { connection, .. }) => {
                sessions.insert(key.clone(), State::Busy);
                Ok(Some(connection))
            }
            Some(State::Busy) => {
                sessions.insert(key.clone(), State::Busy);
                let text = format!("Session {id} is locked by a concurrent client");
                Err(Exception::new(code::SESSION_IS_LOCKED, "SESSION_IS_LOCKED", text))
            }
            None if must_exist => {
                let text = format!("Session {id} not found");
                Err(Exception::new(code::SESSION_NOT_FOUND, "SESSION_NOT_FOUND", text))
            }
            None if sessions.len() >= SESSIONS_MAX => Err(Exception::new(
                code::TOO_MANY_SIMULTANEOUS_QUERIES,
                "TOO_MANY_SIMULTANEOUS_QUERIES",
                format_args!("{SESSIONS_MAX} sessions are open, which is the limit"),
            )),
            None => {
                sessions.insert(key.clone(), State::Busy);
                Ok(None)
            }
        }
    }
}

struct Home {
    sessions: Arc<Sessions>,
    key: Key,
    order: SessionOrder,
}

/// A connection for one request: of a session, or its own.
pub(super) struct Lease {
    connection: Option<Connection>,
    home: Option<Home>,
}

impl Lease {
    pub(super) fn own(connection: Connection) -> Self {
        Self { connection: Some(connection), home: None }
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("taken only when dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("taken only when dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(Home { sessions, key, order }) = self.home.take() else { return };
        let kept = self.connection.take().filter(|_| !order.close).map(|mut connection| {
            connection.restore();
            State::Idle { connection, until: Instant::now() + order.timeout }
        });
        let mut sessions = sessions.lock();
        match kept {
            Some(state) => sessions.insert(key, state),
            None => sessions.remove(&key),
        };
    }
}
