//! Reads the body of a check in the form in which nearly every caller sends it, without a value in between.
//!
//! Owns which bodies are plain. Must never read a body differently from [`CheckRequest::from_body`]: whatever is not
//! plain is left to it, with every error.

use crate::decision::{AskedAction, Question};
use crate::domain::assignment::{PrincipalType, default_principal_type};
use crate::domain::fields::parse_uuid;
use crate::domain::{JsonObject, Moment};

use super::question_body::CheckRequest;

impl CheckRequest {
    /// Reads a plain body: an object of the members of a question, each at most once, with texts without escapes as
    /// values. `principal` is the name of the member that holds the principal's id. `None` for any other body, valid or
    /// not, which [`Json::parse_bounded`](crate::domain::Json::parse_bounded) and [`CheckRequest::from_body`] read.
    ///
    /// ```
    /// use epr_core::CheckRequest;
    ///
    /// let body = br#"{"user_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download",
    ///     "resource_id": "01a20864-775e-7192-9677-77033a7b75da"}"#;
    /// assert!(CheckRequest::from_plain_text(body, "user_id").is_some());
    /// assert!(CheckRequest::from_plain_text(br#"{"user_id": 1}"#, "user_id").is_none());
    /// ```
    #[must_use]
    pub fn from_plain_text(body: &[u8], principal: &str) -> Option<Self> {
        let mut reader = Reader { rest: std::str::from_utf8(body).ok()? };
        let [mut principal_id, mut action, mut resource_id, mut principal_type] = [None; 4];
        reader.take('{')?;
        loop {
            let name = reader.text()?;
            reader.take(':')?;
            let member = match name {
                "action" => &mut action,
                "resource_id" => &mut resource_id,
                "principal_type" => &mut principal_type,
                _ if name == principal => &mut principal_id,
                _ => return None,
            };
            if member.replace(reader.text()?).is_some() {
                return None;
            }
            if reader.take(',').is_none() {
                break;
            }
        }
        reader.take('}')?;
        reader.end()?;
        let principal_type = match principal_type {
            Some(text) => PrincipalType::new(text).ok()?,
            None => default_principal_type(),
        };
        let question = Question {
            principal_id: parse_uuid(principal_id?)?,
            principal_type,
            action: AskedAction::new(action?).ok()?,
            resource_id: parse_uuid(resource_id?)?,
        };
        Some(Self { question, context: JsonObject::new(), moment: Moment::default() })
    }
}

/// Reads what is left of a text. `None` is the end of the attempt.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, sign: char) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(sign)?;
        Some(())
    }

    /// A string without escapes. Control characters are not allowed in one.
    fn text(&mut self) -> Option<&'a str> {
        self.take('"')?;
        let end = self.rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.strip_prefix('"')?;
        Some(text)
    }

    fn end(&mut self) -> Option<()> {
        self.skip_space();
        self.rest.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Json;

    /// Pieces of bodies, valid and not.
    const PIECES: [&str; 26] = [
        "{",
        "}",
        ",",
        ":",
        " ",
        "\n",
        "[",
        "\"",
        "\"user_id\"",
        "\"principal_id\"",
        "\"action\"",
        "\"resource_id\"",
        "\"principal_type\"",
        "\"context\"",
        "\"at\"",
        "\"a:b\"",
        "\"\"",
        "\"user\"",
        "null",
        "1",
        "\"\\u0061\"",
        "\"7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11\"",
        "\"{7B0C9F526A0E4A5E9A550C6A2F3F8A11}\"",
        "\"7b0c\"",
        "\"\u{7f}ü\"",
        "\"a\tb\"",
    ];

    /// A body with these members, in this order, and what stands between them.
    fn body() -> impl Strategy<Value = String> {
        let value = proptest::sample::select(&PIECES[8..]);
        let member =
            (proptest::sample::select(&PIECES[8..15]), value).prop_map(|(name, value)| format!("{name}: {value}"));
        let complete = Just([
            format!("{}:{}", PIECES[8], PIECES[21]),
            format!("{}:{}", PIECES[10], PIECES[15]),
            format!("{}:{}", PIECES[11], PIECES[22]),
        ]);
        let members = (complete, proptest::collection::vec(member, 0..3), any::<bool>()).prop_map(
            |(complete, others, with_complete)| {
                let mut all = if with_complete { complete.to_vec() } else { Vec::new() };
                all.extend(others);
                format!("{{{}}}", all.join(" ,"))
            },
        );
        let noise =
            proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..12).prop_map(|all| all.concat());
        prop_oneof![4 => members, 1 => noise]
    }

    proptest! {
        /// Of every body, plain or not: what is read here is what the general reader reads.
        #[test]
        fn a_plain_body_is_read_as_the_general_reader_reads_it(body in body(), principal in 0..2_usize) {
            let principal = ["user_id", "principal_id"][principal];
            if let Some(read) = CheckRequest::from_plain_text(body.as_bytes(), principal) {
                let general = CheckRequest::from_body(&Json::parse_bounded(body.as_bytes()).unwrap(), principal);
                prop_assert_eq!(Ok(read), general);
            }
        }
    }

    #[test]
    fn usual_bodies_are_plain() {
        let id = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11";
        for body in [
            format!(r#"{{"user_id":"{id}","action":"a:b","resource_id":"{id}"}}"#),
            format!(
                "{{ \"action\" : \"ä\",\n\"principal_type\":\"service\",\"resource_id\":\"{id}\",\t\
                 \"user_id\":\"{id}\" }} "
            ),
        ] {
            assert!(CheckRequest::from_plain_text(body.as_bytes(), "user_id").is_some(), "{body}");
            assert!(CheckRequest::from_plain_text(body.as_bytes(), "principal_id").is_none(), "{body}");
            let twice = body.replacen('{', r#"{"action":"a:b","#, 1);
            assert!(CheckRequest::from_plain_text(twice.as_bytes(), "user_id").is_none(), "{twice}");
            for end in 0..body.trim_end().len() {
                assert!(CheckRequest::from_plain_text(&body.as_bytes()[..end], "user_id").is_none(), "{end}");
            }
        }
    }
}
