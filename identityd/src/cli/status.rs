//! `identityctl status`: the daemon's JSON (`docs/status.md`) for people.

use schema::wire::message::{Reply, Request};
use serde_json::Value;

use super::output::{Output, printable};
use super::questions::unexpected;
use super::{CliError, Exit};
use crate::client::{Client, ClientError};

pub(super) fn run(output: &Output) -> Result<Exit, CliError> {
    let text = match Client::new().ask(&Request::Status)? {
        Reply::Status(text) => text,
        other => return Err(unexpected(other)),
    };
    let status: Value = serde_json::from_str(&text).map_err(|_| ClientError::Protocol("its status is not JSON"))?;
    output.show(&status, |output| render(output, &status))?;
    Ok(if is_well(&status) { Exit::Ok } else { Exit::Failed })
}

fn is_well(status: &Value) -> bool {
    status.get("health").and_then(Value::as_str) == Some("ok")
}

/// Scalars as pairs with dotted names, lists as tables: a key that a newer daemon adds shows as well.
pub(super) fn render(output: &Output, status: &Value) -> String {
    let mut pairs = Vec::new();
    let mut lists = Vec::new();
    flatten("", status, &mut pairs, &mut lists);
    // The most important comes first, whatever the order of the object.
    pairs.sort_by_key(|(key, _)| key != "health");
    let shown: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let mut text = output.pairs(&shown);
    for (key, list) in lists {
        text.push_str(&format!("\n{} ({}):\n", printable(&key), list.len()));
        text.push_str(&list_text(output, list));
    }
    text
}

fn flatten<'a>(
    prefix: &str,
    value: &'a Value,
    pairs: &mut Vec<(String, String)>,
    lists: &mut Vec<(String, &'a Vec<Value>)>,
) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, pairs, lists);
            }
        }
        Value::Array(list) if list.is_empty() => pairs.push((prefix.to_owned(), "none".into())),
        Value::Array(list) => lists.push((prefix.to_owned(), list)),
        scalar => pairs.push((prefix.to_owned(), scalar_text(scalar))),
    }
}

fn list_text(output: &Output, list: &[Value]) -> String {
    let Some(Value::Object(first)) = list.first() else {
        return list.iter().fold(String::new(), |text, item| text + "  " + &printable(&scalar_text(item)) + "\n");
    };
    let head: Vec<_> = first.keys().map(String::as_str).collect();
    let row = |item: &Value| head.iter().map(|key| item.get(key).map(scalar_text).unwrap_or_default()).collect();
    output.table(&head, list.iter().map(row))
}

pub(super) fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn health_comes_first_and_unknown_keys_show() {
        let status = json!({"cache": {"entries": 3}, "brand_new": true, "health": "ok", "warnings": []});
        let text = render(&Output::new(false), &status);
        assert!(text.starts_with("health"), "{text}");
        assert!(
            text.contains("cache.entries  3") && text.contains("brand_new") && text.contains("warnings       none")
        );
    }

    #[test]
    fn quarantined_entries_show_with_their_reasons() {
        let status = json!({"health": "degraded", "quarantine": [
            {"kind": "login", "name": "ro\u{1b}ot", "id": 0, "reason": "id 0 is below 1000"}]});
        let text = render(&Output::new(false), &status);
        assert!(text.contains("quarantine (1):") && text.contains("id 0 is below 1000"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn only_a_health_of_ok_is_well() {
        assert!(is_well(&json!({"health": "ok"})));
        for status in [json!({"health": "degraded"}), json!({}), json!([]), json!({"health": 1})] {
            assert!(!is_well(&status));
        }
    }
}
