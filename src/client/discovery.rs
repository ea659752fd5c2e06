//! Scans of networks, and the approval of what they find.

use reqwest::Method;

use super::{
    Client, ClientError, Condition,
    resources::at,
    send::Outgoing,
    types::{ApproveRequest, Approved, Changed, DiscoveryView, ScanAsked, ScanRequest},
};

impl Client {
    /// The scans, and what they met.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn discovery(&self) -> Result<DiscoveryView, ClientError> {
        self.json(Outgoing::read("/api/v1/discovery")).await
    }

    /// Asks for a scan.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_field` when it is too much.
    pub async fn scan(&self, asked: &ScanRequest) -> Result<ScanAsked, ClientError> {
        self.json(Outgoing::write(Method::POST, "/api/v1/discovery/scan").json(asked)?)
            .await
    }

    /// Ends a scan.
    ///
    /// # Errors
    /// [`ClientError`]; `busy` when it is over.
    pub async fn cancel_scan(&self, id: &str) -> Result<Changed, ClientError> {
        self.json(Outgoing::write(Method::DELETE, at("discovery/scans", id)))
            .await
    }

    /// Lets a candidate in that a scan found. When it does not answer with the key that is approved, the answer
    /// says so as `trouble`: it may have been let in by an earlier try of this request.
    ///
    /// # Errors
    /// [`ClientError`]; `busy` when another key than that is known.
    pub async fn approve_container(
        &self,
        name: &str,
        asked: &ApproveRequest,
        condition: Condition,
    ) -> Result<Approved, ClientError> {
        let request = Outgoing::write(Method::POST, format!("{}/approve", at("containers", name)));
        self.json(condition.on(request).json(asked)?).await
    }
}
