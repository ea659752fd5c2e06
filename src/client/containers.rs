//! Containers of the registry.

use std::time::Duration;

use reqwest::Method;

use super::{
    Client, ClientError, Condition, Page,
    resources::at,
    send::Outgoing,
    types::{
        Changed, ContainerRequest, ContainerStats, ContainerView, CordonRequest, Created, EchoRequest,
        EchoView, List,
    },
};
use crate::model::Millis;

/// For an echo to come back; managers give it up before.
const ECHO: Duration = Duration::from_secs(60);

impl Client {
    /// The containers by id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn containers(&self, page: &Page) -> Result<List<ContainerView>, ClientError> {
        self.page("containers", page).await
    }

    /// A container by name or id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn container(&self, name: &str) -> Result<ContainerView, ClientError> {
        self.json(Outgoing::read(at("containers", name))).await
    }

    /// What was in use in a container in the last hour, from `since` on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn container_stats(&self, name: &str, since: Millis) -> Result<ContainerStats, ClientError> {
        let path = format!("{}/stats?since={}", at("containers", name), since.0);
        self.json(Outgoing::read(path)).await
    }

    /// Sends bytes to a container and back through the manager that answers, and tells how long it took.
    ///
    /// # Errors
    /// [`ClientError`]; `no_session` or `stream_failed` when they did not come back.
    pub async fn echo_container(&self, name: &str, bytes: u64) -> Result<EchoView, ClientError> {
        let path = format!("{}/echo", at("containers", name));
        let mut request = Outgoing::once(Method::POST, path).json(&EchoRequest { bytes })?;
        request.within = ECHO;
        self.json(request).await
    }

    /// Registers a container before its runner comes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register_container(&self, asked: &ContainerRequest) -> Result<Created, ClientError> {
        self.json(Outgoing::write(Method::POST, "/api/v1/containers").json(asked)?)
            .await
    }

    /// Forgets a container that has no agents.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_container(&self, name: &str, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::DELETE, at("containers", name));
        self.json(condition.on(request)).await
    }

    /// Keeps new agents out of a container.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cordon_container(
        &self,
        name: &str,
        asked: &CordonRequest,
        condition: Condition,
    ) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::POST, format!("{}/cordon", at("containers", name)));
        self.json(condition.on(request).json(asked)?).await
    }

    /// Lets new agents into a container again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn uncordon_container(&self, name: &str, condition: Condition) -> Result<Changed, ClientError> {
        let request = Outgoing::write(Method::POST, format!("{}/uncordon", at("containers", name)));
        self.json(condition.on(request)).await
    }
}
