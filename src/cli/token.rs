//! `quorate token`.

use clap::{Subcommand, ValueEnum};

use super::{
    Context, Failure,
    output::{Row, all_pages, end, word},
};
use crate::{
    client::{
        Page,
        types::{TokenRequest, TokenView},
    },
    model::{Name, Role},
};

/// What can be done with API tokens.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes an API token and prints it, this once
    Create {
        /// Its name, unique among tokens
        name: Name,
        /// What its holder may do
        #[arg(long, value_enum)]
        role: Holder,
        /// When it ends, such as 30m, 12h or 7d; never when left out
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<u64>,
    },
    /// Lists API tokens, without their secrets
    #[command(visible_alias = "list")]
    Ls,
    /// Revokes an API token
    Revoke {
        /// Its id, `t-…`, or name
        id: String,
    },
}

/// What a token's holder may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Holder {
    /// Everything, managers and tokens included
    Admin,
    /// Everything about containers, agents, configs and engines
    Operator,
    /// Reads only
    Viewer,
    /// What an agent may do from inside its container
    Agent,
}

/// Seconds out of `90`, `90s`, `30m`, `12h` or `7d`.
pub(super) fn lifetime(text: &str) -> Result<u64, String> {
    let refused = || format!("`{text}` is not a time: write it like 90s, 30m, 12h or 7d");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    number
        .checked_mul(factor)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(refused)
}

impl Row for TokenView {
    fn head(_: bool) -> Vec<&'static str> {
        vec!["NAME", "ID", "ROLE", "EXPIRES"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.id.to_string(),
            word(&self.role),
            end(self.expires_at),
        ]
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Create { name, role, expires } => {
            let asked = TokenRequest {
                name,
                role: match role {
                    Holder::Admin => Role::Admin,
                    Holder::Operator => Role::Operator,
                    Holder::Viewer => Role::Viewer,
                    Holder::Agent => Role::Agent,
                },
                expires_in_seconds: expires,
            };
            output.new_token(&client.create_token(&asked).await?)
        }
        Verb::Ls => {
            let fetch = async |page: &Page| client.tokens(page).await;
            output.list(&all_pages(Page::default(), fetch).await?)
        }
        Verb::Revoke { id } => {
            let changed = client.revoke_token(&id).await?;
            output.changed(&format!("token {id} was revoked"), &changed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("30m", 1800),
            ("12h", 43_200),
            ("7d", 604_800),
        ] {
            assert_eq!(lifetime(text), Ok(seconds));
        }
        for bad in ["", "0", "0h", "h", "1w", "-1h", "1h30m", "99999999999999999999d"] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}
