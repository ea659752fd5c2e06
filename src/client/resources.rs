//! The calls, resource by resource.

use bytes::Bytes;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::de::DeserializeOwned;

use super::{
    Answer, Client, ClientError, Condition, EventFilter, Page,
    send::Outgoing,
    types::{
        AgentView, BreakerView, Changed, ClusterStatus, ConfigPut, ConfigView, Created, EngineRequest,
        EngineView, EventView, Explained, Health, JoinTokenRequest, JoinTokenView, List, ManagerView,
        NewToken, TokenRequest, TokenView, Topology, TransferRequest,
    },
};
use crate::model::{AgentSpec, ManagerId, Revision};

/// A config as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRead {
    /// The value.
    pub value: Bytes,
    /// Its Content-Type.
    pub content_type: String,
    /// Its version.
    pub version: Revision,
    /// The revision that the read shows.
    pub revision: Revision,
}

/// A name as one step of a path. Names need no escaping; what is none must not change the path.
pub(super) fn step(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && name.len() > 2) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

pub(super) fn at(base: &str, name: &str) -> String {
    format!("/api/v1/{base}/{}", step(name))
}

impl Client {
    /// A page of a list.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
        page: &Page,
    ) -> Result<List<T>, ClientError> {
        self.json(page.on(Outgoing::read(format!("/api/v1/{path}"))))
            .await
    }

    /// Any `GET` of the API, as it is answered.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.call(Outgoing::read(path)).await
    }

    /// The cluster as one manager sees it; needs no quorum.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cluster_status(&self) -> Result<ClusterStatus, ClientError> {
        self.json(Outgoing::read("/api/v1/cluster/status")).await
    }

    /// Whether all is well, check by check.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cluster_health(&self) -> Result<Health, ClientError> {
        self.json(Outgoing::read("/api/v1/cluster/health")).await
    }

    /// The managers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn managers(&self) -> Result<List<ManagerView>, ClientError> {
        self.json(Outgoing::read("/api/v1/cluster/managers")).await
    }

    /// What there is and who reaches whom.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn topology(&self) -> Result<Topology, ClientError> {
        self.json(Outgoing::read("/api/v1/cluster/topology")).await
    }

    /// A page of events, the oldest first; with `newest` the newest `page.limit` of them.
    ///
    /// # Errors
    /// [`ClientError`]; `events_gone` when what follows `filter.after` is not kept any more.
    pub async fn events(
        &self,
        filter: &EventFilter,
        newest: bool,
        page: &Page,
    ) -> Result<List<EventView>, ClientError> {
        let request = filter.on(Outgoing::read("/api/v1/events"));
        self.json(page.on(request.query("newest", newest.then_some(true))))
            .await
    }

    /// Removes a manager for ever.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_manager(&self, id: ManagerId) -> Result<Changed, ClientError> {
        self.json(Outgoing::once(
            Method::DELETE,
            format!("/api/v1/cluster/managers/{id}"),
        ))
        .await
    }

    /// Hands leadership over: to a manager, or to the one furthest ahead.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transfer_leadership(&self, to: Option<ManagerId>) -> Result<Changed, ClientError> {
        let request = Outgoing::once(Method::POST, "/api/v1/cluster/transfer");
        self.json(request.json(&TransferRequest { to })?).await
    }

    /// The breaker.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn breaker(&self) -> Result<BreakerView, ClientError> {
        self.json(Outgoing::read("/api/v1/cluster/breaker")).await
    }

    /// Lifts the breaker.
    ///
    /// # Errors
    /// [`ClientError`]; `busy` when it is closed.
    pub async fn lift_breaker(&self, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::POST, "/api/v1/cluster/breaker/lift");
        self.json(condition.on(request)).await
    }

    /// The join tokens, without their secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn join_tokens(&self, page: &Page) -> Result<List<JoinTokenView>, ClientError> {
        self.page("cluster/join-tokens", page).await
    }

    /// Makes a join token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_join_token(&self, asked: &JoinTokenRequest) -> Result<NewToken, ClientError> {
        let request = Outgoing::write(Method::POST, "/api/v1/cluster/join-tokens");
        self.json(request.json(asked)?).await
    }

    /// Revokes a join token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_join_token(&self, id: &str) -> Result<Changed, ClientError> {
        self.json(Outgoing::write(Method::DELETE, at("cluster/join-tokens", id)))
            .await
    }

    /// The API tokens, without their secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self, page: &Page) -> Result<List<TokenView>, ClientError> {
        self.page("tokens", page).await
    }

    /// Makes an API token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_token(&self, asked: &TokenRequest) -> Result<NewToken, ClientError> {
        self.json(Outgoing::write(Method::POST, "/api/v1/tokens").json(asked)?)
            .await
    }

    /// Revokes an API token, by id or name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_token(&self, id: &str) -> Result<Changed, ClientError> {
        self.json(Outgoing::write(Method::DELETE, at("tokens", id))).await
    }

    /// Writes a config. With a `key`, a repeat of the same call has one effect and one answer.
    ///
    /// # Errors
    /// [`ClientError`]; `precondition_failed` when the condition does not hold.
    pub async fn put_config(
        &self,
        name: &str,
        content_type: &str,
        value: impl Into<Bytes>,
        condition: Condition,
        key: Option<&str>,
    ) -> Result<ConfigPut, ClientError> {
        let unusable =
            |what: &str| ClientError::Setup(format!("{what} holds characters that no header may have"));
        let kind = HeaderValue::from_str(content_type).map_err(|_| unusable("the content type"))?;
        let mut request = condition.on(Outgoing::write(Method::PUT, at("configs", name)));
        request.body = value.into();
        request = request.header(CONTENT_TYPE, kind);
        if let Some(key) = key {
            let key = HeaderValue::from_str(key).map_err(|_| unusable("the idempotency key"))?;
            request = request.key(key);
        }
        self.json(request).await
    }

    /// Reads a config. Of the page only freshness counts.
    ///
    /// # Errors
    /// [`ClientError`]; `not_found` when there is none.
    pub async fn get_config(&self, name: &str, fresh: &Page) -> Result<ConfigRead, ClientError> {
        let answer = self.call(fresh.on(Outgoing::read(at("configs", name)))).await?;
        let told = |what: &str| ClientError::Answer(format!("a config without its {what}"));
        let kind = answer
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        Ok(ConfigRead {
            content_type: kind.unwrap_or("application/octet-stream").to_owned(),
            version: answer.version().ok_or_else(|| told("ETag"))?,
            revision: answer.revision().ok_or_else(|| told("revision"))?,
            value: answer.body,
        })
    }

    /// The configs by name, without their values.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn configs(&self, page: &Page) -> Result<List<ConfigView>, ClientError> {
        self.page("configs", page).await
    }

    /// Deletes a config.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_config(&self, name: &str, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::DELETE, at("configs", name));
        self.json(condition.on(request)).await
    }

    /// The agents by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agents(&self, page: &Page) -> Result<List<AgentView>, ClientError> {
        self.page("agents", page).await
    }

    /// An agent by name or id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn agent(&self, name: &str) -> Result<AgentView, ClientError> {
        self.json(Outgoing::read(at("agents", name))).await
    }

    /// Why each container would or would not get an agent now.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn explain_agent(&self, name: &str, page: &Page) -> Result<List<Explained>, ClientError> {
        let request = Outgoing::read(format!("{}/explain", at("agents", name)));
        self.json(page.on(request)).await
    }

    /// Deploys an agent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deploy_agent(&self, spec: &AgentSpec) -> Result<Created, ClientError> {
        self.json(Outgoing::write(Method::POST, "/api/v1/agents").json(spec)?)
            .await
    }

    /// Starts a stopped or failed agent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start_agent(&self, name: &str, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::POST, format!("{}/start", at("agents", name)));
        self.json(condition.on(request)).await
    }

    /// Stops an agent; it stays known.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stop_agent(&self, name: &str, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::POST, format!("{}/stop", at("agents", name)));
        self.json(condition.on(request)).await
    }

    /// Deletes an agent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_agent(&self, name: &str, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::DELETE, at("agents", name));
        self.json(condition.on(request)).await
    }

    /// The engines by id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn engines(&self, page: &Page) -> Result<List<EngineView>, ClientError> {
        self.page("engines", page).await
    }

    /// An engine by name or id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn engine(&self, name: &str) -> Result<EngineView, ClientError> {
        self.json(Outgoing::read(at("engines", name))).await
    }

    /// Adds an engine to watch.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_engine(&self, asked: &EngineRequest) -> Result<Created, ClientError> {
        self.json(Outgoing::write(Method::POST, "/api/v1/engines").json(asked)?)
            .await
    }

    /// Stops watching an engine.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_engine(&self, name: &str, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::DELETE, at("engines", name));
        self.json(condition.on(request)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_stays_one_step_of_the_path() {
        for (name, expected) in [
            ("web-1", "web-1"),
            ("a.b_c", "a.b_c"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(step(name), expected);
        }
    }
}
