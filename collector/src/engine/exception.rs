//! Errors as ClickHouse sends them: `Code: N. DB::Exception: ... (NAME)`, with the HTTP status that belongs to the code.

use axum::http::StatusCode;

/// Codes that this program raises itself or looks at (src/Common/ErrorCodes.cpp of ClickHouse).
pub(super) mod code {
    pub(in super::super) const BAD_ARGUMENTS: i32 = 36;
    pub(in super::super) const SYNTAX_ERROR: i32 = 62;
    pub(in super::super) const CANNOT_DECOMPRESS: i32 = 271;
    pub(in super::super) const UNKNOWN_SETTING: i32 = 115;
    pub(in super::super) const QUERY_IS_TOO_LARGE: i32 = 66;
    pub(in super::super) const READONLY: i32 = 164;
    pub(in super::super) const TOO_MANY_SIMULTANEOUS_QUERIES: i32 = 202;
    pub(in super::super) const SUPPORT_IS_DISABLED: i32 = 344;
    pub(in super::super) const SESSION_NOT_FOUND: i32 = 372;
    pub(in super::super) const SESSION_IS_LOCKED: i32 = 373;
    pub(in super::super) const QUERY_WAS_CANCELLED: i32 = 394;
    pub(in super::super) const AUTHENTICATION_FAILED: i32 = 516;
    pub(in super::super) const STD_EXCEPTION: i32 = 1001;
}

/// An error of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Exception {
    pub(super) code: i32,
    text: String,
}

impl Exception {
    /// One of ours. `name` is the code's name in ClickHouse.
    pub(super) fn new(code: i32, name: &str, message: impl std::fmt::Display) -> Self {
        Self { code, text: format!("Code: {code}. DB::Exception: {message}. ({name})") }
    }

    pub(super) fn refused(message: impl std::fmt::Display) -> Self {
        Self::new(code::SUPPORT_IS_DISABLED, "SUPPORT_IS_DISABLED", message)
    }

    pub(super) fn bad(message: impl std::fmt::Display) -> Self {
        Self::new(code::BAD_ARGUMENTS, "BAD_ARGUMENTS", message)
    }

    pub(super) fn read_only(message: impl std::fmt::Display) -> Self {
        Self::new(code::READONLY, "READONLY", message)
    }

    /// The engine's own words.
    pub(super) fn of_engine(text: String) -> Self {
        let number = |rest: &str| rest.split('.').next().and_then(|digits| digits.trim().parse().ok());
        let code = text.strip_prefix("Code:").and_then(number).unwrap_or(code::STD_EXCEPTION);
        Self { code, text }
    }

    /// As it stands in a response: with the server's version, as clients expect it.
    pub(super) fn text(&self, version: &str) -> String {
        let text = self.text.trim_end();
        if text.contains("(version ") { text.to_owned() } else { format!("{text} (version {version})") }
    }

    /// The status that ClickHouse's HTTP handler gives this code.
    pub(super) fn status(&self) -> StatusCode {
        match self.code {
            194 => StatusCode::UNAUTHORIZED,
            192 | 193 | 497 | 512 | 516 => StatusCode::FORBIDDEN,
            6 | 25 | 26 | 27 | 33 | 36 | 38 | 41 | 43 | 53 | 62 | 69 | 70 | 72 | 117 | 130 | 131 | 154
            | 271 | 427 | 456 | 457 => StatusCode::BAD_REQUEST,
            16 | 46 | 47 | 50 | 56 | 60 | 63 | 73 | 75 | 81 | 115 | 372 => StatusCode::NOT_FOUND,
            66 => StatusCode::PAYLOAD_TOO_LARGE,
            48 => StatusCode::NOT_IMPLEMENTED,
            159 => StatusCode::REQUEST_TIMEOUT,
            202 | 373 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The end of a body whose statement failed half-way, for clients that were told the `tag` in a header:
    /// the marker, the tag, the text, its length, the tag, the marker.
    pub(super) fn frame(&self, tag: &str, version: &str) -> Vec<u8> {
        let text = format!("{}\n", self.text(version));
        format!("\r\n__exception__\r\n{tag}\r\n{text}{} {tag}\r\n__exception__\r\n", text.len()).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_code_of_the_engine() {
        let exception =
            Exception::of_engine("Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE)".into());
        assert_eq!((exception.code, exception.status()), (60, StatusCode::NOT_FOUND));
        assert_eq!(
            exception.text("1.2"),
            "Code: 60. DB::Exception: Unknown table. (UNKNOWN_TABLE) (version 1.2)"
        );
        assert_eq!(Exception::of_engine("std::bad_alloc".into()).code, code::STD_EXCEPTION);
    }

    #[test]
    fn frames_an_error_behind_data() {
        let frame = Exception::of_engine("Code: 395. DB::Exception: x. (Y)".into()).frame("tag", "1");
        let text = "Code: 395. DB::Exception: x. (Y) (version 1)\n";
        let expected = format!(
            "\r\n__exception__\r\ntag\r\n{text}{length} tag\r\n__exception__\r\n",
            length = text.len()
        );
        assert_eq!(String::from_utf8(frame).unwrap(), expected);
    }
}
