//! Configs, with and without their values.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Config, Millis, Name, Revision};

/// The answer to a put of a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigPut {
    /// Which config.
    #[schema(value_type = String)]
    pub name: Name,
    /// Its version from now on; the ETag.
    pub version: Revision,
    /// Whether it did not exist before.
    pub created: bool,
}

/// A config without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The revision of its last put; the ETag.
    pub version: Revision,
    /// The revision of the put that created it.
    pub created: Revision,
    /// The Content-Type of its value.
    pub content_type: String,
    /// Bytes of its value.
    pub size: usize,
    /// When it was last put.
    #[schema(value_type = u64)]
    pub updated_at: Millis,
}

impl From<&Config> for ConfigView {
    fn from(config: &Config) -> Self {
        Self {
            name: config.name.clone(),
            version: config.version,
            created: config.created,
            content_type: config.content_type.to_string(),
            size: config.value.len(),
            updated_at: config.updated_at,
        }
    }
}

/// A config's value where it stands inside JSON: in a watch, and in a failed precondition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigValue {
    /// Which config.
    #[schema(value_type = String)]
    pub name: Name,
    /// Its version; of a deleted one, the revision at which it was seen to be absent.
    pub version: Revision,
    /// The Content-Type; absent with the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The value, where it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl From<&Config> for ConfigValue {
    fn from(config: &Config) -> Self {
        let text = std::str::from_utf8(&config.value).ok();
        Self {
            name: config.name.clone(),
            version: config.version,
            content_type: Some(config.content_type.to_string()),
            value: text.map(str::to_owned),
            value_base64: text
                .is_none()
                .then(|| data_encoding::BASE64.encode(&config.value)),
        }
    }
}
