//! Who calls: API tokens against the replicated state, and what a role may do.
//!
//! A known token costs one look into the local state. One that is unknown here may have been made
//! on another manager a moment ago, so before it is refused a linearizable read confirms that it
//! does not exist. All who wait for such a confirmation share one read, and reads start at least
//! [`CONFIRM_EVERY`] apart: a flood of bad tokens costs the leader ten reads a second, no more.
//! A token revoked elsewhere is accepted until the revocation has been applied here.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::{HeaderMap, header};
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    App,
    problem::{Code, Problem},
};
use crate::{
    consensus::{Consensus, DEADLINE, ReadError},
    model::{Millis, Name, Token, TokenId},
    security::{Action, ApiToken},
    state::State,
};

/// The least time between two confirming reads.
const CONFIRM_EVERY: Duration = Duration::from_millis(100);

/// How many requests with unknown tokens may wait for a confirmation.
const MAX_WAITING: usize = 256;

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token that was shown.
    pub token: TokenId,
    /// Its name.
    pub name: Name,
}

impl Caller {
    fn with(token: &Token) -> Self {
        Self {
            token: token.id,
            name: token.name.clone(),
        }
    }
}

/// A linearizable read that all who need one at about the same time share.
#[derive(Debug)]
pub struct Confirm {
    last: Mutex<Option<Round>>,
    waiting: Semaphore,
}

/// One such read.
#[derive(Debug)]
struct Round {
    started: Instant,
    ended: Instant,
    result: Result<(), ReadError>,
}

impl Default for Confirm {
    fn default() -> Self {
        Self {
            last: Mutex::new(None),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }
}

impl Confirm {
    /// Returns once the local state holds everything acknowledged before this call.
    ///
    /// # Errors
    /// As [`Consensus::read`], all in all within its deadline; `Overloaded` when too many wait already.
    pub async fn up_to_date(&self, consensus: &Consensus) -> Result<(), ReadError> {
        self.up_to_date_by(consensus.read()).await
    }

    async fn up_to_date_by<T>(
        &self,
        read: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<(), ReadError> {
        let arrived = Instant::now();
        // A read that began earlier proves nothing for this call, except that there is no quorum.
        let enough =
            |last: &Round| last.started >= arrived || (last.result.is_err() && last.ended >= arrived);
        self.round(read, arrived + DEADLINE, enough).await
    }

    /// Whether a quorum confirmed a read just now, or confirms one by `deadline`.
    ///
    /// # Errors
    /// As [`up_to_date`](Self::up_to_date).
    pub async fn lately(&self, consensus: &Consensus, deadline: Instant) -> Result<(), ReadError> {
        self.lately_by(consensus.read(), deadline).await
    }

    async fn lately_by<T>(
        &self,
        read: impl Future<Output = Result<T, ReadError>>,
        deadline: Instant,
    ) -> Result<(), ReadError> {
        let arrived = Instant::now();
        let enough = |last: &Round| last.ended + CONFIRM_EVERY > arrived;
        self.round(read, deadline, enough).await
    }

    async fn round<T>(
        &self,
        read: impl Future<Output = Result<T, ReadError>>,
        deadline: Instant,
        enough: impl Fn(&Round) -> bool,
    ) -> Result<(), ReadError> {
        let late = |_| ReadError::NoQuorum("none answered in time".into());
        let _place = self.waiting.try_acquire().map_err(|_| ReadError::Overloaded)?;
        let mut last = timeout_at(deadline, self.last.lock()).await.map_err(late)?;
        if let Some(last) = &*last {
            if enough(last) {
                return last.result.clone();
            }
            sleep_until(deadline.min(last.started + CONFIRM_EVERY)).await;
        }
        let started = Instant::now();
        let read = timeout_at(deadline, read).await;
        let result = read.map_err(late).and_then(|read| read.map(|_| ()));
        *last = Some(Round {
            started,
            ended: Instant::now(),
            result: result.clone(),
        });
        result
    }
}

fn refused(detail: &str) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

fn bearer(headers: &HeaderMap) -> Result<ApiToken, Problem> {
    let missing = || refused("send `Authorization: Bearer <token>` with an API token (`qat_…`)");
    let given = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = given
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    token.parse().map_err(|error| refused(&format!("{error}")))
}

/// This machine's clock.
pub fn clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Whether a token is past its end, by log time or by this machine's clock.
fn expired(token: &Token, state: &State) -> bool {
    token
        .expires_at
        .is_some_and(|end| end <= state.now() || end <= clock())
}

fn check(state: &State, shown: &ApiToken, action: Action) -> Option<Result<Arc<Token>, Problem>> {
    let known = state.token(TokenId(shown.id()))?;
    Some(if shown.verify(&known.hash) {
        may(state, known, action).map(|_| Arc::clone(known))
    } else {
        Err(refused("the token is not valid: check that it was copied whole"))
    })
}

/// Whether the holder of a token may do this now.
fn may(state: &State, known: &Token, action: Action) -> Result<Caller, Problem> {
    if expired(known, state) {
        let detail = format!(
            "token `{}` has expired: ask an administrator for a new one",
            known.name
        );
        Err(Problem::new(Code::TokenExpired, detail))
    } else if !known.role.allows(action) {
        let detail = format!(
            "token `{}` has the role {:?}, which does not allow this: use a token with a wider role",
            known.name, known.role
        );
        Err(Problem::new(Code::Forbidden, detail))
    } else {
        Ok(Caller::with(known))
    }
}

impl App {
    /// Tells who calls, and that they may, at this rate.
    ///
    /// # Errors
    /// 401 or 403; 429 above the rate; 503 when the token is unknown here and no quorum can say whether it
    /// exists.
    pub async fn authorize(&self, headers: &HeaderMap, action: Action) -> Result<Caller, Problem> {
        let caller = self.identify(headers, action).await?;
        if self.rates().admit(caller.token) {
            return Ok(caller);
        }
        let rate = self.limits().rate;
        Err(Problem::new(
            Code::RateLimited,
            format!(
                "one token may make {rate} requests a second of one manager: slow down, or ask others too"
            ),
        ))
    }

    async fn identify(&self, headers: &HeaderMap, action: Action) -> Result<Caller, Problem> {
        if let Some(verdict) = self.recognize(headers, action) {
            return verdict;
        }
        let shown = bearer(headers)?;
        if let Some(verdict) = check(&self.consensus().objects(), &shown, action) {
            return verdict.map(|known| self.remember(headers, known));
        }
        self.confirm().up_to_date(self.consensus()).await?;
        check(&self.consensus().objects(), &shown, action)
            .unwrap_or_else(|| Err(refused("the token is unknown or was revoked")))
            .map(|known| self.remember(headers, known))
    }

    /// The verdict over a header that was verified before, if its token still is what it was.
    fn recognize(&self, headers: &HeaderMap, action: Action) -> Option<Result<Caller, Problem>> {
        let verified = self.verified().find(headers.get(header::AUTHORIZATION)?)?;
        let state = self.consensus().objects();
        let known = state.token(verified.id)?;
        // Any change of a token makes another one of it.
        Arc::ptr_eq(known, &verified).then(|| may(&state, known, action))
    }

    fn remember(&self, headers: &HeaderMap, known: Arc<Token>) -> Caller {
        let caller = Caller::with(&known);
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            self.verified().keep(given.clone(), known);
        }
        caller
    }

    /// Whether a caller that was let in may still stay, for streams that last.
    pub fn still_welcome(&self, caller: &Caller, state: &State) -> bool {
        state
            .token(caller.token)
            .is_some_and(|token| !expired(token, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_failed_round_shares_it_and_nobody_waits_for_two() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (confirm, reads) = (Confirm::default(), AtomicUsize::new(0));
        let fails = || async {
            reads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(DEADLINE).await;
            Err::<(), _>(ReadError::NoQuorum("x".into()))
        };
        let ask = async |after: Duration| {
            tokio::time::sleep(after).await;
            let began = Instant::now();
            let result = confirm.up_to_date_by(fails()).await;
            assert!(matches!(result, Err(ReadError::NoQuorum(_))));
            assert!(began.elapsed() <= DEADLINE, "{:?}", began.elapsed());
        };
        let second = Duration::from_secs(1);
        tokio::join!(ask(Duration::ZERO), ask(second), ask(second));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_began_earlier_confirms_nothing() {
        let confirm = Confirm::default();
        let reads = std::sync::atomic::AtomicUsize::new(0);
        let works = || async {
            reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        };
        let late = async |after: u64| {
            tokio::time::sleep(Duration::from_millis(after)).await;
            confirm.up_to_date_by(works()).await.unwrap();
        };
        tokio::join!(late(0), late(10), late(20));
        assert_eq!(reads.load(std::sync::atomic::Ordering::Relaxed), 2);
        let lately = confirm.lately_by(works(), Instant::now() + DEADLINE);
        lately.await.unwrap();
        assert_eq!(
            reads.load(std::sync::atomic::Ordering::Relaxed),
            2,
            "just found out"
        );
    }

    #[test]
    fn only_bearer_tokens_are_read() {
        let token = ApiToken::generate().unwrap();
        assert_eq!(
            bearer(&with(&format!("Bearer {token}"))).unwrap().id(),
            token.id()
        );
        assert_eq!(
            bearer(&with(&format!("bearer {token}"))).unwrap().id(),
            token.id()
        );
        let cut = token.to_string();
        for bad in [
            "".to_owned(),
            "Bearer".to_owned(),
            format!("Basic {token}"),
            format!("{token}"),
            format!("Bearer {}", &cut[..cut.len() - 1]),
        ] {
            let error = bearer(&with(&bad)).unwrap_err();
            assert_eq!(error.code(), Code::Unauthenticated, "{bad}");
        }
        assert!(bearer(&HeaderMap::new()).is_err());
    }

    #[test]
    fn secrets_expiry_and_roles_are_checked_in_this_order() {
        let shown = ApiToken::generate().unwrap();
        let state_with = |role, expires_at| {
            use crate::command::{ClusterCommand, Command, Proposal};
            let token = Token {
                id: TokenId(shown.id()),
                name: "x".parse().unwrap(),
                role,
                hash: shown.hash(),
                expires_at,
                version: 0,
            };
            let mut state = State::default();
            let command = Command::Cluster(ClusterCommand::CreateToken(token));
            let proposal = Proposal {
                at: Millis(1000),
                by: crate::command::Principal::Manager,
                key: None,
                command,
            };
            assert!(state.apply(1, 1, &proposal).result.is_ok());
            state
        };
        let verdict = |state: &State, shown: &ApiToken, action| {
            check(state, shown, action).map(|v| v.map(|_| ()).map_err(|p| p.code()))
        };
        let state = state_with(Role::Viewer, None);
        assert_eq!(verdict(&state, &shown, Action::Read), Some(Ok(())));
        assert_eq!(verdict(&state, &shown, Action::Write), Some(Err(Code::Forbidden)));
        assert_eq!(
            verdict(&state, &ApiToken::generate().unwrap(), Action::Read),
            None
        );
        let forged: ApiToken = {
            let (own, other) = (shown.to_string(), ApiToken::generate().unwrap().to_string());
            format!("{}{}", &own[..18], &other[18..]).parse().unwrap()
        };
        assert_eq!(
            verdict(&state, &forged, Action::Read),
            Some(Err(Code::Unauthenticated))
        );
        let state = state_with(Role::Admin, Some(Millis(1000)));
        assert_eq!(
            verdict(&state, &shown, Action::Read),
            Some(Err(Code::TokenExpired))
        );
    }
}
