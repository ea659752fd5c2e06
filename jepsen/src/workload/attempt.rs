//! What an answer means: it happened, it certainly did not, or nobody knows.

use serde_json::Value;

use quorate::client::{ClientError, Problem};

use crate::history::{Kind, Notes};

/// What became of an operation.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub kind: Kind,
    /// What the completion says: the value that was read; what was asked for where this is `None`.
    pub value: Option<Value>,
    /// Why it is not `ok`.
    pub error: Option<String>,
    /// What else was told.
    pub notes: Notes,
}

/// Codes with which the API says that nothing was changed. What is not in here is uncertain, also a code that is
/// made up later: better one operation too many that may have happened than one too few.
const NOTHING_CHANGED: &[&str] = &[
    "invalid_request",
    "invalid_name",
    "invalid_parameter",
    "malformed_json",
    "unknown_field",
    "invalid_field",
    "invalid_precondition",
    "invalid_idempotency_key",
    "unauthenticated",
    "token_expired",
    "forbidden",
    "not_found",
    "no_such_path",
    "method_not_allowed",
    "body_timeout",
    "already_exists",
    "busy",
    "quota_exceeded",
    "precondition_failed",
    "too_large",
    "unsupported_media_type",
    "invalid_spec",
    "idempotency_key_reused",
    "overloaded",
    "no_quorum",
    "behind",
    "stopping",
];

impl Outcome {
    /// It happened.
    pub fn ok(value: Option<Value>, notes: Notes) -> Self {
        Self {
            kind: Kind::Ok,
            value,
            error: None,
            notes,
        }
    }

    /// A write without its answer.
    pub fn of_write(error: &ClientError) -> Self {
        let certain = match error {
            ClientError::Refused(problem) => NOTHING_CHANGED.contains(&problem.code.as_str()),
            // Refused or never connected: not a byte of the request was sent.
            ClientError::Setup(_) | ClientError::Unavailable(_) => true,
            ClientError::Unknown(_) | ClientError::Answer(_) => false,
        };
        let kind = if certain { Kind::Fail } else { Kind::Info };
        Self::not_ok(kind, error)
    }

    /// A read without its answer: whatever happened to it, it changed nothing.
    pub fn of_read(error: &ClientError) -> Self {
        Self::not_ok(Kind::Fail, error)
    }

    fn not_ok(kind: Kind, error: &ClientError) -> Self {
        let error = match error.code() {
            Some(code) => code.to_owned(),
            None => error.to_string().chars().take(200).collect(),
        };
        Self {
            kind,
            value: None,
            error: Some(error),
            notes: Notes::default(),
        }
    }
}

/// What a failed precondition shows: the version that stood in the way, and the value at that version where it was
/// still there to be shown.
pub fn stood_in_the_way(error: &ClientError) -> Option<(Option<u64>, Option<String>)> {
    let ClientError::Refused(problem) = error else {
        return None;
    };
    if problem.code != "precondition_failed" {
        return None;
    }
    let version = problem.more.get("current_version")?.as_u64();
    let shown = current(problem).filter(|(at, _)| Some(*at) == version);
    Some((version, shown.map(|(_, value)| value)))
}

/// The object that a problem shows. It may be newer than what the write met.
fn current(problem: &Problem) -> Option<(u64, String)> {
    let current = problem.more.get("current")?;
    let version = current.get("version")?.as_u64()?;
    Some((version, current.get("value")?.as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> ClientError {
        let problem = serde_json::json!({ "status": status, "code": code, "detail": "x" });
        ClientError::Refused(Box::new(serde_json::from_value(problem).unwrap()))
    }

    #[test]
    fn only_what_certainly_did_nothing_failed() {
        for (error, kind) in [
            (refused(412, "precondition_failed"), Kind::Fail),
            (refused(503, "no_quorum"), Kind::Fail),
            (refused(500, "internal"), Kind::Info),
            (refused(504, "outcome_unknown"), Kind::Info),
            // Somebody in between, or a code of tomorrow.
            (refused(409, "made_up"), Kind::Info),
            (ClientError::Unknown("broke off".into()), Kind::Info),
            (ClientError::Answer("garbage".into()), Kind::Info),
            (ClientError::Unavailable("refused".into()), Kind::Fail),
        ] {
            assert_eq!(Outcome::of_write(&error).kind, kind, "{error}");
        }
    }

    #[test]
    fn what_a_refused_write_met_is_told_only_when_it_is_that() {
        let met = |shown: u64| {
            let problem = serde_json::json!({ "status": 412, "code": "precondition_failed", "detail": "x",
                "current_version": 7, "current": { "name": "r0", "version": shown, "value": "3" } });
            stood_in_the_way(&ClientError::Refused(Box::new(
                serde_json::from_value(problem).unwrap(),
            )))
        };
        assert_eq!(met(7), Some((Some(7), Some("3".into()))));
        // The object moved on before it was shown.
        assert_eq!(met(8), Some((Some(7), None)));
        assert_eq!(stood_in_the_way(&refused(503, "no_quorum")), None);
    }
}
