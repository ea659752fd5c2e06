//! What went wrong, what to do next, and the exit code.

use crate::client::ClientError;

/// A command that did not work.
#[derive(Debug)]
pub struct Failure {
    what: String,
    next: Option<String>,
    code: u8,
}

pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const NOT_FOUND: u8 = 3;
pub const CONFLICT: u8 = 4;
pub const UNAVAILABLE: u8 = 5;
pub const UNKNOWN: u8 = 6;
pub const UNAUTHORIZED: u8 = 7;

impl Failure {
    /// A command that can't be carried out as given.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: Some(next.into()),
            code: USAGE,
        }
    }

    /// Something on this machine that did not work.
    pub fn local(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            ..Self::usage(what, next)
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        self.code
    }

    /// Says it on standard error.
    pub fn print(&self) {
        eprintln!("error: {}", self.what);
        if let Some(next) = &self.next {
            eprintln!("  next: {next}");
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (code, next) = match &error {
            ClientError::Setup(_) => (
                USAGE,
                Some("see `quorate help` for --endpoint, --token, --ca and --dir"),
            ),
            ClientError::Unavailable(_) => (
                UNAVAILABLE,
                Some("check that the managers run and that --endpoint names them; nothing was changed"),
            ),
            ClientError::Unknown(_) => (
                UNKNOWN,
                Some("look whether the change was made before you try again"),
            ),
            ClientError::Answer(_) => (
                FAILED,
                Some("check that --endpoint is a Quorate manager's API of the same version"),
            ),
            ClientError::Refused(problem) => refused(problem.status, &problem.code),
        };
        Self {
            what: error.to_string(),
            next: next.map(str::to_owned),
            code,
        }
    }
}

/// By status and code; no advice where the detail says all there is to say.
fn refused(status: u16, code: &str) -> (u8, Option<&'static str>) {
    match (status, code) {
        (401, _) => (
            UNAUTHORIZED,
            Some("give a valid token with --token-file or QUORATE_TOKEN"),
        ),
        (403, _) => (UNAUTHORIZED, Some("use a token with a wider role")),
        (404, _) => (NOT_FOUND, Some("`quorate <noun> ls` shows what there is")),
        (409, "already_exists") => (CONFLICT, Some("choose another name, or remove the old one first")),
        (410, _) => (
            FAILED,
            Some("give the revision that it names to --after, or leave --after out"),
        ),
        (412, _) => (
            CONFLICT,
            Some("read it again, and repeat the change with its version now"),
        ),
        (409, _) => (CONFLICT, None),
        (429 | 503, "no_quorum") => (
            UNAVAILABLE,
            Some("a majority of the managers has to run: see `quorate cluster status`"),
        ),
        (502, "engine_unreachable") => (
            FAILED,
            Some("`quorate engine ls` shows what the managers see of it"),
        ),
        (502, _) => (FAILED, None),
        (429 | 503, _) => (UNAVAILABLE, Some("try again in a moment")),
        (504, _) => (
            UNKNOWN,
            Some("look whether the change was made before you try again"),
        ),
        (400..=499, _) => (USAGE, None),
        _ => (FAILED, Some("the manager's log says more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_as_documented() {
        for (status, code, expected) in [
            (400, "invalid_name", USAGE),
            (401, "unauthenticated", UNAUTHORIZED),
            (403, "forbidden", UNAUTHORIZED),
            (404, "not_found", NOT_FOUND),
            (409, "busy", CONFLICT),
            (412, "precondition_failed", CONFLICT),
            (413, "too_large", USAGE),
            (422, "invalid_spec", USAGE),
            (429, "overloaded", UNAVAILABLE),
            (500, "internal", FAILED),
            (503, "no_quorum", UNAVAILABLE),
            (504, "outcome_unknown", UNKNOWN),
        ] {
            assert_eq!(refused(status, code).0, expected, "{status} {code}");
        }
        let unknown = Failure::from(ClientError::Unknown("x".into()));
        assert_eq!(unknown.exit_code(), UNKNOWN);
        assert_eq!(
            Failure::from(ClientError::Unavailable("x".into())).exit_code(),
            UNAVAILABLE
        );
    }
}
