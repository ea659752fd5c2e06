//! Errors as `application/problem+json` (RFC 9457), and the one table of their stable codes.
//!
//! HTTP statuses exist only here: the rest of the program speaks of rejections and errors, which
//! are turned into problems at the bottom of this file. Unknown is never told as failed: it is 504
//! with `"outcome": "unknown"`, and everything else had no effect.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use crate::{
    command::Rejection,
    consensus::{MembershipError, ProposeError, ReadError},
    model::{Revision, SpecError},
};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $status:ident, $code:literal, $title:literal;)*) => {
        /// What went wrong, as programs may rely on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The text in `code`; never changes once released.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What is the same for every problem with this code.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    /// Something about the request that no narrower code names.
    InvalidRequest = BAD_REQUEST, "invalid_request", "The request is not valid";
    /// A name or id outside its rule.
    InvalidName = BAD_REQUEST, "invalid_name", "The name or id is not valid";
    /// A query parameter that this call does not know, twice, or with a value outside its rule.
    InvalidParameter = BAD_REQUEST, "invalid_parameter", "A query parameter is not valid";
    /// The body is not JSON.
    MalformedJson = BAD_REQUEST, "malformed_json", "The body is not valid JSON";
    /// The body is JSON with a field that this call does not know.
    UnknownField = BAD_REQUEST, "unknown_field", "The body has an unknown field";
    /// The body is JSON of another shape.
    InvalidField = BAD_REQUEST, "invalid_field", "A field of the body is not valid";
    /// `If-Match` or `If-None-Match` that can't be understood or does not go with this call.
    InvalidPrecondition = BAD_REQUEST, "invalid_precondition", "The precondition is not valid";
    /// `Idempotency-Key` outside 1 to 128 visible ASCII characters.
    InvalidIdempotencyKey = BAD_REQUEST, "invalid_idempotency_key", "The idempotency key is not valid";
    /// No token, a malformed one, or one that nobody knows.
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "A valid token is needed";
    /// The token was good once.
    TokenExpired = UNAUTHORIZED, "token_expired", "The token has expired";
    /// The token's role does not reach this far.
    Forbidden = FORBIDDEN, "forbidden", "The token's role does not allow this";
    /// There is no such object.
    NotFound = NOT_FOUND, "not_found", "There is no such object";
    /// There is no such path.
    NoSuchPath = NOT_FOUND, "no_such_path", "There is no such path";
    /// The path has no such method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not have this method";
    /// The body stopped arriving.
    BodyTimeout = REQUEST_TIMEOUT, "body_timeout", "The body did not arrive in time";
    /// The name or id is taken.
    AlreadyExists = CONFLICT, "already_exists", "The object exists already";
    /// The object is in the way of the request.
    Busy = CONFLICT, "busy", "The object is not in a state for this";
    /// A bound of the cluster.
    QuotaExceeded = CONFLICT, "quota_exceeded", "The cluster holds as many as it may";
    /// The change would cost the quorum.
    QuorumAtRisk = CONFLICT, "quorum_at_risk", "The change would put the quorum at risk";
    /// Another change of the managers is under way.
    ChangeInProgress = CONFLICT, "change_in_progress", "Another change of the managers is under way";
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed = PRECONDITION_FAILED, "precondition_failed", "The object is not at the expected version";
    /// Events that are asked for are kept no more.
    EventsGone = GONE, "events_gone", "The events are kept no more";
    /// The body is over its bound.
    TooLarge = PAYLOAD_TOO_LARGE, "too_large", "The body is too large";
    /// The body's type is not the one this call takes.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The content type is not supported";
    /// Well-formed, and still not something that can be done.
    InvalidSpec = UNPROCESSABLE_ENTITY, "invalid_spec", "The spec can't be run";
    /// The key was used for something else.
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The idempotency key was used for another request";
    /// As many requests wait as this manager holds.
    Overloaded = TOO_MANY_REQUESTS, "overloaded", "The manager is overloaded";
    /// The token makes more requests than one may.
    RateLimited = TOO_MANY_REQUESTS, "rate_limited", "Too many requests";
    /// A defect; the log has the details.
    Internal = INTERNAL_SERVER_ERROR, "internal", "The manager failed to answer";
    /// No leader or no quorum.
    NoQuorum = SERVICE_UNAVAILABLE, "no_quorum", "There is no quorum";
    /// The manager is behind the wanted revision.
    Behind = SERVICE_UNAVAILABLE, "behind", "The manager is behind";
    /// The manager is stopping.
    Stopping = SERVICE_UNAVAILABLE, "stopping", "The manager is stopping";
    /// The engine is not reached from this manager.
    EngineUnreachable = BAD_GATEWAY, "engine_unreachable", "The engine can't be reached";
    /// The engine tried and failed, or its answer makes no sense.
    EngineFailed = BAD_GATEWAY, "engine_failed", "The engine failed";
    /// Nobody holds a session of the container.
    NoSession = SERVICE_UNAVAILABLE, "no_session", "The container has no open session";
    /// There is no stream to the container, or it broke.
    StreamFailed = SERVICE_UNAVAILABLE, "stream_failed", "The stream to the container failed";
    /// Handed on, and what became of it is not known.
    OutcomeUnknown = GATEWAY_TIMEOUT, "outcome_unknown", "The outcome of the request is unknown";
}

/// An error answer. Boxed, because it travels in every `Result` of this module.
#[derive(Debug)]
pub struct Problem(Box<Content>);

#[derive(Debug)]
struct Content {
    code: Code,
    detail: String,
    extra: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem whose detail says what is wrong and what to do next.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let mut headers = Vec::new();
        if matches!(
            code.status(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.push((header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        if code.status() == StatusCode::UNAUTHORIZED {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        let mut extra = Map::new();
        if code == Code::OutcomeUnknown {
            extra.insert("outcome".into(), "unknown".into());
        }
        Self(Box::new(Content {
            code,
            detail: detail.into(),
            extra,
            headers,
        }))
    }

    /// Adds a member to the problem's JSON.
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(member.to_owned(), value.into());
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says it in other words.
    #[must_use]
    pub fn detail(mut self, detail: String) -> Self {
        self.0.detail = detail;
        self
    }

    /// Gives it this code if its detail begins like this: what a value is refused for while it is decoded
    /// is only a text.
    #[must_use]
    pub fn recoded(mut self, beginning: &str, code: Code) -> Self {
        if self.0.detail.starts_with(beginning) {
            self.0.code = code;
        }
        self
    }

    /// Whether it has this code.
    pub fn is(&self, code: Code) -> bool {
        self.0.code == code
    }

    /// Its code.
    #[cfg(test)]
    pub fn code(&self) -> Code {
        self.0.code
    }

    fn json(&self) -> Value {
        let code = self.0.code;
        let mut members = Map::new();
        members.insert(
            "type".into(),
            format!("urn:quorate:problem:{}", code.as_str()).into(),
        );
        members.insert("title".into(), code.title().into());
        members.insert("status".into(), code.status().as_u16().into());
        members.insert("code".into(), code.as_str().into());
        members.insert("detail".into(), self.0.detail.clone().into());
        for (member, value) in &self.0.extra {
            members.insert(member.clone(), value.clone());
        }
        Value::Object(members)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json().to_string()));
        *response.status_mut() = self.0.code.status();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        for (name, value) in self.0.headers {
            headers.insert(name, value);
        }
        response
    }
}

/// A rejection without the object it speaks of; see `write::failed_precondition` for one with it.
impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let code = match &rejection {
            Rejection::NotFound { .. } => Code::NotFound,
            Rejection::Exists { .. } => Code::AlreadyExists,
            Rejection::Condition { .. } => Code::PreconditionFailed,
            Rejection::Busy(_) => Code::Busy,
            Rejection::Refused(_) => Code::Forbidden,
            Rejection::Quota(_) => Code::QuotaExceeded,
            Rejection::KeyReused => Code::IdempotencyKeyReused,
        };
        let current: Option<Option<Revision>> = match &rejection {
            Rejection::Condition { current } => Some(*current),
            _ => None,
        };
        let problem = Self::new(code, rejection.to_string());
        match current {
            Some(version) => problem.with("current_version", version),
            None => problem,
        }
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        let code = match &error {
            ProposeError::NotTaken(_) => Code::NoQuorum,
            ProposeError::Unknown(_) => Code::OutcomeUnknown,
            ProposeError::Overloaded => Code::Overloaded,
            ProposeError::Stopping => Code::Stopping,
            ProposeError::TooLarge { .. } => Code::TooLarge,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            ReadError::NoQuorum(_) => Code::NoQuorum,
            ReadError::Behind { .. } => Code::Behind,
            ReadError::Overloaded => Code::Overloaded,
            ReadError::Stopping => Code::Stopping,
        };
        Self::new(code, error.to_string())
    }
}

impl From<MembershipError> for Problem {
    fn from(error: MembershipError) -> Self {
        let code = match &error {
            MembershipError::Unknown(_) => Code::NotFound,
            MembershipError::QuorumAtRisk(_) => Code::QuorumAtRisk,
            MembershipError::InProgress => Code::ChangeInProgress,
            MembershipError::Unconfirmed(_) => Code::OutcomeUnknown,
            MembershipError::NotTaken(_) => Code::NoQuorum,
            MembershipError::Conflict(_) => Code::Busy,
            MembershipError::Invalid(_) => Code::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SpecError> for Problem {
    fn from(error: SpecError) -> Self {
        Self::new(Code::InvalidSpec, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_errors() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert!(code.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }

    #[test]
    fn what_is_unknown_says_so_and_nothing_else_does() {
        for code in Code::ALL {
            let json = Problem::new(*code, "x").json();
            assert_eq!(
                json.get("outcome").is_some(),
                code.status() == StatusCode::GATEWAY_TIMEOUT
            );
        }
        let problem = Problem::from(ProposeError::Unknown("the leader went away".into()));
        assert_eq!(problem.json()["outcome"], "unknown");
    }

    #[test]
    fn who_may_try_again_is_told_when() {
        for (error, retry) in [
            (Problem::from(ProposeError::NotTaken("x".into())), true),
            (Problem::from(ProposeError::Overloaded), true),
            (Problem::from(ReadError::NoQuorum("x".into())), true),
            (Problem::from(Rejection::KeyReused), false),
        ] {
            let response = error.into_response();
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), retry);
        }
    }

    #[test]
    fn changes_of_managers_say_whether_anything_happened() {
        for (error, status) in [
            (MembershipError::NotTaken("x".into()), 503),
            (MembershipError::Conflict("x".into()), 409),
            (MembershipError::Unconfirmed("x".into()), 504),
        ] {
            let problem = Problem::from(error);
            assert_eq!(problem.code().status().as_u16(), status);
            assert_eq!(problem.json().get("outcome").is_some(), status == 504);
        }
    }

    #[test]
    fn a_failed_condition_tells_the_version() {
        let json = Problem::from(Rejection::Condition { current: Some(7) }).json();
        assert_eq!(
            (&json["status"], &json["current_version"]),
            (&412.into(), &7.into())
        );
        let json = Problem::from(Rejection::Condition { current: None }).json();
        assert!(json["current_version"].is_null() && json.get("current_version").is_some());
    }
}
