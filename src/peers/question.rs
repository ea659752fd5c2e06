//! What one manager asks another, and the frames that carry it.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{model::ManagerId, wire};

/// Which question a frame asks: a number that is never given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuestionId(pub u16);

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "question {}", self.0)
    }
}

/// Something a manager asks another one.
///
/// Numbers below 10 are of this module, below 50 of consensus, and from 50 on of what is built on it.
pub trait Question: Serialize + DeserializeOwned + Send + 'static {
    /// Its number.
    const ID: QuestionId;
    /// What is answered.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// Asks for nothing but an answer. Every manager answers it on every lane of questions.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Look;

impl Question for Look {
    const ID: QuestionId = QuestionId(0);
    type Answer = ();
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The question never left: it certainly had no effect.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The other side did nothing, and says why.
    #[error("{0}")]
    Refused(String),
    /// It was sent, and the connection ended or the time ran out before the answer.
    #[error("no answer: {0}")]
    Lost(String),
}

/// What all other managers answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers<T> {
    /// By each manager that answered.
    pub answered: BTreeMap<ManagerId, T>,
    /// Who did not answer in time, or refused to.
    pub unanswered: Vec<ManagerId>,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self {
            answered: BTreeMap::new(),
            unanswered: Vec::new(),
        }
    }
}

/// A question on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Tells the answers of a connection apart.
    pub number: u64,
    /// Which question.
    pub id: QuestionId,
    /// The question in its own form.
    pub body: Bytes,
}

/// What comes back, after the number of the question. Variants are only added.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answered {
    /// The answer in its own form.
    Done(Bytes),
    /// Nothing was done, and why.
    Refused(String),
    /// Something was done, and why its answer can't be had.
    Lost(String),
}

/// A question or an answer in its own form.
///
/// # Errors
/// When it has none.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, String> {
    postcard::to_stdvec(value)
        .map(Bytes::from)
        .map_err(|error| error.to_string())
}

/// Reads it again.
///
/// # Errors
/// When the bytes are something else.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    wire::decode(body).map_err(|error| error.to_string())
}
