//! `identityctl snapshot accept`: lets a removal through that identityd holds back.

use std::io::{IsTerminal, Write};
use std::path::Path;

use schema::wire::message::{Reply, Request};
use serde_json::{Value, json};

use super::super::output::{Output, lines, printable};
use super::super::questions::unexpected;
use super::super::{CliError, Exit};
use super::{LIVE, compare};
use crate::client::{Client, ClientError};
use crate::snapshot::open::Published;

/// So many names are shown before it asks.
const SHOWN: usize = 20;

pub(super) fn run(output: &Output, yes: bool) -> Result<Exit, CliError> {
    let Some(held) = held()? else {
        output.show(&json!({"accepted": false, "held": null}), |_| "Nothing is held back.\n".to_owned())?;
        return Ok(Exit::Ok);
    };
    if !yes {
        eprint!("{}", lines(&would_go(&held)));
        if !asked()? {
            return Err(CliError::Refused("nothing was accepted; look at the directory, or say yes (--yes)".into()));
        }
    }
    match Client::new().ask(&Request::AcceptRemoval)? {
        Reply::Done => output.show(&json!({"accepted": true, "held": held}), |_| {
            let Held { logins, groups, .. } = held;
            format!(
                "Accepted: identityd publishes without these {logins} logins and {groups} groups, and counts anew from here. What is removed after this is \
                 not in it.\n"
            )
        })?,
        other => return Err(unexpected(other)),
    }
    Ok(Exit::Ok)
}

/// How many would vanish, of how many.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Held {
    logins: u64,
    of: u64,
    groups: u64,
    of_groups: u64,
}

fn held() -> Result<Option<Held>, CliError> {
    let text = match Client::new().ask(&Request::Status)? {
        Reply::Status(text) => text,
        other => return Err(unexpected(other)),
    };
    let status: Value = serde_json::from_str(&text).map_err(|_| ClientError::Protocol("its status is not JSON"))?;
    let number = |key| status.pointer(&format!("/snapshot/held/{key}")).and_then(Value::as_u64);
    Ok(number("logins").zip(number("of")).map(|(logins, of)| Held {
        logins,
        of,
        groups: number("groups").unwrap_or(0),
        of_groups: number("of_groups").unwrap_or(0),
    }))
}

fn would_go(held: &Held) -> String {
    let Held { logins, of, groups, of_groups } = held;
    let all = logins + groups;
    let mut text = format!(
        "{logins} of {of} published logins and {groups} of {of_groups} groups are no longer in the directory, or have another owner there:\n"
    );
    // The numbers are identityd's; the names are looked for here, and may be a moment newer.
    let names = Published::open(Path::new(LIVE))
        .map_err(CliError::from)
        .and_then(|published| compare::removed(&published, SHOWN));
    match names {
        Ok(names) => {
            for name in &names {
                text.push_str(&format!("  {}\n", printable(name)));
            }
            if all > names.len() as u64 {
                text.push_str(&format!(
                    "  … and {} more: identityctl snapshot compare --directory --limit {all}\n",
                    all - names.len() as u64
                ));
            }
        }
        Err(error) => text.push_str(&format!("  (their names cannot be shown: {})\n", printable(&error.to_string()))),
    }
    text + "Accepted, nobody can log in with them here, and their files belong to bare numbers.\n"
}

fn asked() -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Let them go? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(CliError::io("read the answer"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
