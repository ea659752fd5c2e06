//! Query parameters: each call names the ones it knows, and everything else is refused.

use std::str::FromStr;

use axum::{extract::Query, http::Uri};
use data_encoding::BASE64URL_NOPAD;

use super::{
    problem::{Code, Problem},
    types::nearest,
};
use crate::model::{Revision, Selector};

/// How many items a list has when nothing else is asked for.
pub const DEFAULT_LIMIT: usize = 100;
/// How many items a list has at most.
pub const MAX_LIMIT: usize = 1000;

/// The parameters of one request, each known and given once.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

fn refused(detail: String) -> Problem {
    Problem::new(Code::InvalidParameter, detail)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Params {
    /// Takes the query apart.
    ///
    /// # Errors
    /// `invalid_parameter` for one that is not in `known`, or is given twice.
    pub fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| refused("the query is not of the form `name=value&name=value`".into()))?;
        for (i, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(refused(unknown(name, known)));
            }
            if pairs[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(refused(format!("`{name}` is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of a parameter as a number, a selector, …
    ///
    /// # Errors
    /// `invalid_parameter` naming what was expected.
    pub fn parse<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let parsed = text.parse();
        parsed
            .map(Some)
            .map_err(|_| refused(format!("`{name}={}` is not {expected}", shorten(text))))
    }

    /// Whether `name=true` is given.
    ///
    /// # Errors
    /// `invalid_parameter` for anything but `true` and `false`.
    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.parse(name, "`true` or `false`")?.unwrap_or(false))
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let name = shorten(name);
    if known.is_empty() {
        return format!("this call has no query parameters, and `{name}` was given");
    }
    match nearest(&name, known.iter().copied()) {
        Some(near) => format!("there is no query parameter `{name}` here; did you mean `{near}`?"),
        None => format!(
            "there is no query parameter `{name}` here; there are {}",
            known.join(", ")
        ),
    }
}

/// How fresh a read is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Everything acknowledged anywhere before the request is in the answer.
    #[default]
    Linearizable,
    /// What this manager has, at once.
    Stale,
    /// What Redis has; what this manager has, where that can't be told, and then the answer says why.
    Cached,
}

impl FromStr for Consistency {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "linearizable" => Ok(Self::Linearizable),
            "stale" => Ok(Self::Stale),
            "cached" => Ok(Self::Cached),
            _ => Err(()),
        }
    }
}

/// What every read may say about freshness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// `consistency`.
    pub consistency: Consistency,
    /// `min_revision`.
    pub min_revision: Option<Revision>,
}

/// The parameters of a single read.
pub const READ: &[&str] = &["consistency", "min_revision"];
/// The parameters of a list without labels.
pub const LIST: &[&str] = &["consistency", "min_revision", "limit", "continue"];
/// The parameters of a list with labels.
pub const LABELLED_LIST: &[&str] = &["consistency", "min_revision", "limit", "continue", "selector"];

impl Freshness {
    /// Reads `consistency` and `min_revision`.
    ///
    /// # Errors
    /// `invalid_parameter`.
    pub fn of(params: &Params) -> Result<Self, Problem> {
        Ok(Self {
            consistency: params
                .parse("consistency", "`linearizable`, `stale` or `cached`")?
                .unwrap_or_default(),
            min_revision: params.parse("min_revision", "a revision")?,
        })
    }
}

/// For what every manager tells of itself, which is local whatever is asked for.
///
/// # Errors
/// `invalid_parameter` for anything but `stale` and `cached`.
pub fn only_local(params: &Params) -> Result<(), Problem> {
    let asked: Option<Consistency> = params.parse("consistency", "`stale` or `cached`")?;
    if asked == Some(Consistency::Linearizable) {
        return Err(refused(
            "this call always tells what the answering manager sees: leave `consistency` out".into(),
        ));
    }
    Ok(())
}

/// Which part of a list is asked for.
#[derive(Debug, Default)]
pub struct Paging {
    /// At most so many items.
    pub limit: usize,
    /// Only items after this key.
    pub after: Option<String>,
    /// Only items whose labels match.
    pub selector: Selector,
}

impl Paging {
    /// Reads `limit`, `continue` and `selector`.
    ///
    /// # Errors
    /// `invalid_parameter`.
    pub fn of(params: &Params) -> Result<Self, Problem> {
        let limit = params
            .parse("limit", "a number from 1 to 1000")?
            .unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(refused(format!(
                "`limit={limit}` is not a number from 1 to {MAX_LIMIT}"
            )));
        }
        let after = params.get("continue").map(read_continue).transpose()?;
        let selector = params.get("selector").unwrap_or_default().parse::<Selector>();
        Ok(Self {
            limit,
            after,
            selector: selector.map_err(|e| refused(e.to_string()))?,
        })
    }

    /// The key to go on after, typed.
    ///
    /// # Errors
    /// `invalid_parameter` when `continue` comes from another list.
    pub fn after<T: FromStr>(&self) -> Result<Option<T>, Problem> {
        let key = self.after.as_deref().map(str::parse).transpose();
        key.map_err(|_| foreign_continue())
    }
}

/// The version of the form of `continue`, so that a later form can tell it apart.
const CONTINUE_FORM: u8 = 1;

fn foreign_continue() -> Problem {
    refused("`continue` is not one that this list gave out: begin again without it".into())
}

/// The opaque text that lets a list go on after `key`.
pub fn write_continue(key: &str) -> String {
    let mut bytes = vec![CONTINUE_FORM];
    bytes.extend_from_slice(key.as_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

fn read_continue(text: &str) -> Result<String, Problem> {
    let bytes = BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| foreign_continue())?;
    match bytes.split_first() {
        Some((&CONTINUE_FORM, key)) => String::from_utf8(key.to_vec()).map_err(|_| foreign_continue()),
        _ => Err(foreign_continue()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerId, Name};

    fn params(query: &str, known: &[&str]) -> Result<Params, Problem> {
        Params::of(&format!("/x?{query}").parse().unwrap(), known)
    }

    #[test]
    fn unknown_and_double_parameters_are_refused() {
        for bad in ["limits=1", "limit=1&limit=2", "x", "%zz=1&a=b"] {
            let error = params(bad, LIST).unwrap_err();
            assert_eq!(error.code(), Code::InvalidParameter, "{bad}");
        }
        assert!(params("", &[]).is_ok());
        assert!(unknown("limits", LIST).contains("`limit`"));
    }

    #[test]
    fn freshness_is_read() {
        let fresh = Freshness::of(&params("consistency=stale&min_revision=9", READ).unwrap()).unwrap();
        assert_eq!(
            fresh,
            Freshness {
                consistency: Consistency::Stale,
                min_revision: Some(9)
            }
        );
        for bad in [
            "consistency=fresh",
            "consistency=",
            "min_revision=-1",
            "min_revision=x",
        ] {
            assert!(Freshness::of(&params(bad, READ).unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_are_bounded_and_their_tokens_survive() {
        let paging = |query: &str| Paging::of(&params(query, LABELLED_LIST).unwrap());
        assert_eq!(paging("").unwrap().limit, DEFAULT_LIMIT);
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=a",
            "continue=!",
            "continue=",
            "continue=YWJj",
            "selector=a%20b",
        ] {
            assert!(paging(bad).is_err(), "{bad}");
        }
        let query = format!("limit=7&selector=zone%3Da&continue={}", write_continue("web-1"));
        let page = paging(&query).unwrap();
        assert_eq!(page.limit, 7);
        assert_eq!(page.after::<Name>().unwrap(), Some("web-1".parse().unwrap()));
        assert!(page.after::<ContainerId>().is_err());
    }
}
