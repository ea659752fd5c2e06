//! `quorate cluster join-token`.

use clap::{Subcommand, ValueEnum};

use super::{
    Context, Failure,
    output::{Row, all_pages, end, or_dash, word},
    token::lifetime,
};
use crate::{
    client::{
        Page,
        types::{JoinTokenRequest, JoinTokenView},
    },
    model::JoinRole,
};

/// What can be done with join tokens.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a join token and prints it, this once
    Create {
        /// What may join with it
        #[arg(long, value_enum, default_value_t)]
        role: Joiner,
        /// When it ends, such as 30m, 12h or 7d; never when left out
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expires: Option<u64>,
        /// How often it may be used; without limit when left out
        #[arg(long)]
        uses: Option<u32>,
    },
    /// Lists join tokens, without their secrets
    #[command(visible_alias = "list")]
    Ls,
    /// Revokes a join token; what has joined with it stays
    Revoke {
        /// Its id, `j-…`
        id: String,
    },
}

/// What may join.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Joiner {
    /// A container's runner
    #[default]
    Runner,
    /// A further manager
    Manager,
}

impl Row for JoinTokenView {
    fn head(_: bool) -> Vec<&'static str> {
        vec!["ID", "ROLE", "USES LEFT", "EXPIRES"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![
            self.id.to_string(),
            word(&self.role),
            or_dash(self.uses_left),
            end(self.expires_at),
        ]
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Create { role, expires, uses } => {
            let asked = JoinTokenRequest {
                role: match role {
                    Joiner::Runner => JoinRole::Runner,
                    Joiner::Manager => JoinRole::Manager,
                },
                expires_in_seconds: expires,
                uses,
            };
            output.new_token(&client.create_join_token(&asked).await?)
        }
        Verb::Ls => {
            let fetch = async |page: &Page| client.join_tokens(page).await;
            output.list(&all_pages(Page::default(), fetch).await?)
        }
        Verb::Revoke { id } => {
            let changed = client.revoke_join_token(&id).await?;
            output.changed(&format!("join token {id} was revoked"), &changed)
        }
    }
}
