//! Who asks. Two users, whose passwords lie in files beside the data, made at first start: `vonggac` writes, `grafana` reads.
//!
//! The engine itself knows one user only; what a reader may do is enforced by `execute.rs`. There is no user without a password.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::{Choice, ConstantTimeEq};

use super::exception::{Exception, code};

/// The user that may do everything that the engine's grants allow.
pub const WRITER: &str = "vonggac";
/// The user that may only read.
pub const READER: &str = "grafana";

/// Random bytes of a password.
const SECRET_BYTES: usize = 24;
/// A password in its file: longer ones are a mistake.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// What a request may do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Access {
    Write,
    Read,
}

impl Access {
    pub(super) fn user(self) -> &'static str {
        match self {
            Self::Write => WRITER,
            Self::Read => READER,
        }
    }
}

/// The passwords.
pub(super) struct Passwords {
    writer: String,
    reader: String,
}

impl Passwords {
    /// Reads both files, or makes them.
    pub(super) fn load(writer: &Path, reader: &Path) -> anyhow::Result<Self> {
        Ok(Self { writer: load_or_make(writer)?, reader: load_or_make(reader)? })
    }

    /// Looks, in ClickHouse's order, at its own headers, at basic authentication and at the parameters of the address.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        parameters: &[(String, String)],
    ) -> Result<Access, Exception> {
        let (user, password) = from_headers(headers)
            .or_else(|| basic(headers))
            .or_else(|| from_parameters(parameters))
            .unwrap_or_default();
        let same = |name: &str, secret: &str| -> Choice {
            name.as_bytes().ct_eq(user.as_bytes()) & secret.as_bytes().ct_eq(password.as_bytes())
        };
        let (writes, reads) = (same(WRITER, &self.writer), same(READER, &self.reader));
        match (bool::from(writes), bool::from(reads)) {
            (true, _) => Ok(Access::Write),
            (false, true) => Ok(Access::Read),
            (false, false) => Err(Exception::new(
                code::AUTHENTICATION_FAILED,
                "AUTHENTICATION_FAILED",
                format_args!(
                    "{}: Authentication failed: password is incorrect, or there is no user with such name",
                    if user.is_empty() { "default" } else { &user }
                ),
            )),
        }
    }
}

fn from_headers(headers: &HeaderMap) -> Option<(String, String)> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Some((value("X-ClickHouse-User")?, value("X-ClickHouse-Key").unwrap_or_default()))
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn from_parameters(parameters: &[(String, String)]) -> Option<(String, String)> {
    let value = |wanted: &str| {
        parameters.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    };
    Some((value("user")?, value("password").unwrap_or_default()))
}

fn load_or_make(path: &Path) -> anyhow::Result<String> {
    let made = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let secret = random_hex().context("no random bytes")?;
            file.write_all(secret.as_bytes()).and_then(|()| file.sync_all())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.with_context(|| format!("cannot make {}", path.display()))?;
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(PASSWORD_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let password = text.trim();
    ensure!(
        !password.is_empty(),
        "{} is empty: expected a password; delete the file and a new one is made",
        path.display()
    );
    Ok(password.to_owned())
}

/// Random bytes of the system, as text.
pub(crate) fn random_hex() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(base16ct::lower::encode_string(&bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use axum::http::HeaderValue;

    use super::*;

    fn passwords() -> Passwords {
        Passwords { writer: "w".into(), reader: "r".into() }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn knows_both_users_in_each_form() {
        let mut headers = HeaderMap::new();
        let check =
            |headers: &HeaderMap, list: &[(&str, &str)]| passwords().check(headers, &pairs(list)).ok();
        assert_eq!(check(&headers, &[("user", "grafana"), ("password", "r")]), Some(Access::Read));
        assert_eq!(check(&headers, &[("user", "vonggac"), ("password", "w")]), Some(Access::Write));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic dm9uZ2dhYzp3"));
        assert_eq!(check(&headers, &[]), Some(Access::Write));
        headers.insert("X-ClickHouse-User", HeaderValue::from_static("grafana"));
        headers.insert("X-ClickHouse-Key", HeaderValue::from_static("r"));
        assert_eq!(check(&headers, &[]), Some(Access::Read));
    }

    #[test]
    fn rejects_everyone_else() {
        let none = HeaderMap::new();
        for list in [
            &[][..],
            &[("user", "default"), ("password", "")],
            &[("user", "vonggac"), ("password", "")],
            &[("user", "vonggac"), ("password", "r")],
            &[("user", "grafana"), ("password", "w")],
            &[("user", "vonggac"), ("password", "ww")],
        ] {
            let error = passwords().check(&none, &pairs(list)).unwrap_err();
            assert_eq!(error.code, code::AUTHENTICATION_FAILED, "{list:?}");
        }
    }

    #[test]
    fn makes_a_password_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.password");
        let first = load_or_make(&path).unwrap();
        assert_eq!(first.len(), 2 * SECRET_BYTES);
        assert_eq!(load_or_make(&path).unwrap(), first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "\n").unwrap();
        assert!(load_or_make(&path).is_err());
    }
}
