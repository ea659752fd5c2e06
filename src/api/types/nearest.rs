//! The known word that an unknown one was probably meant to be.

/// The word nearest to `word`, if any is near enough to be a slip.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The words between backticks in serde's message about an unknown field: the field, then those it
/// expected.
pub fn unknown_field(message: &str) -> Option<(&str, Option<&str>)> {
    let rest = message.split_once("unknown field `")?.1;
    let (field, expected) = rest.split_once('`')?;
    let known = expected.split('`').skip(1).step_by(2);
    Some((field, nearest(field, known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["limit", "continue", "selector"];
        assert_eq!(nearest("limits", known), Some("limit"));
        assert_eq!(nearest("seletcor", known), Some("selector"));
        assert_eq!(nearest("zzz", known), None);
    }

    #[test]
    fn serdes_message_is_understood() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Two {
            #[allow(dead_code)]
            command: String,
            #[allow(dead_code)]
            args: String,
        }
        let error = serde_json::from_str::<Two>(r#"{"comand":1}"#)
            .unwrap_err()
            .to_string();
        assert_eq!(unknown_field(&error), Some(("comand", Some("command"))));
        assert_eq!(unknown_field("missing field `x`"), None);
    }
}
