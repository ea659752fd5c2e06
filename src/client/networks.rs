//! The calls about engines' networks.

use reqwest::Method;

use super::{
    Client, ClientError,
    resources::{at, step},
    send::Outgoing,
    types::{List, NetworkChanged, NetworkConnect, NetworkDisconnect, NetworkRequest, NetworkView},
};

/// The path of an engine's networks.
fn all(engine: &str) -> String {
    format!("{}/networks", at("engines", engine))
}

/// The path of one of them.
fn one(engine: &str, network: &str) -> String {
    format!("{}/{}", all(engine), step(network))
}

impl Client {
    /// An engine's networks by name.
    ///
    /// # Errors
    /// [`ClientError`]; `engine_unreachable` when the manager does not reach it.
    pub async fn networks(&self, engine: &str) -> Result<List<NetworkView>, ClientError> {
        self.json(Outgoing::read(all(engine))).await
    }

    /// Makes a network.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_network(
        &self,
        engine: &str,
        asked: &NetworkRequest,
    ) -> Result<NetworkChanged, ClientError> {
        let request = Outgoing::once(Method::POST, all(engine));
        self.json(request.json(asked)?).await
    }

    /// Removes a network.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_network(&self, engine: &str, network: &str) -> Result<NetworkChanged, ClientError> {
        self.json(Outgoing::once(Method::DELETE, one(engine, network)))
            .await
    }

    /// Connects a container to a network.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect_network(
        &self,
        engine: &str,
        network: &str,
        asked: &NetworkConnect,
    ) -> Result<NetworkChanged, ClientError> {
        let path = format!("{}/connect", one(engine, network));
        self.json(Outgoing::once(Method::POST, path).json(asked)?).await
    }

    /// Disconnects a container from a network.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn disconnect_network(
        &self,
        engine: &str,
        network: &str,
        asked: &NetworkDisconnect,
    ) -> Result<NetworkChanged, ClientError> {
        let path = format!("{}/disconnect", one(engine, network));
        self.json(Outgoing::once(Method::POST, path).json(asked)?).await
    }
}
