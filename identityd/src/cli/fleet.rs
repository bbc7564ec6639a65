//! `identityctl fleet`: every host of the fleet, as the directory knows it.

use std::time::Duration;

use schema::wire::message::{Reply, Request};
use serde_json::json;

use super::args::FleetCommand;
use super::output::{Output, printable};
use super::questions::unexpected;
use super::session::{chosen, with_accounts};
use super::{CliError, Exit};
use crate::client::{Client, ClientError};
use crate::config::DirectoryConfig;
use crate::directory::fleet::HostName;
use crate::fleet::{Fleet, HostLine};

/// A generation above this is no count of changes: LDAP's are microseconds since 1970, and this is the year 1973.
const MICROSECONDS: u64 = 100_000_000_000_000;
/// Writing waits for other writers.
const FORGET_LIMIT: Duration = Duration::from_secs(15);

pub(super) fn run(output: &Output, command: Option<FleetCommand>) -> Result<Exit, CliError> {
    match command {
        None => show(output),
        Some(FleetCommand::Forget { host }) => forget(output, host),
    }
}

/// The list, as this host's identityd gives it.
pub(super) fn ask(client: &Client) -> Result<Fleet, CliError> {
    match client.ask(&Request::Fleet)? {
        Reply::Fleet(text) => {
            serde_json::from_str(&text).map_err(|_| ClientError::Protocol("its list of hosts cannot be read").into())
        }
        Reply::Failed(reason) => Err(CliError::Unavailable(reason)),
        other => Err(unexpected(other)),
    }
}

fn show(output: &Output) -> Result<Exit, CliError> {
    let fleet = ask(&Client::new())?;
    output.show(&fleet, |output| {
        let head = ["host", "generation", "behind", "reported", "version", "trouble"];
        let rows = fleet.hosts.iter().map(|line| {
            vec![
                line.host.to_string(),
                line.generation.to_string(),
                behind(line, fleet.newest.0),
                if line.own { "this host".into() } else { format!("{} ago", span(line.reported_seconds)) },
                line.version.clone(),
                line.trouble.clone().unwrap_or_else(|| "-".into()),
            ]
        });
        let mut list = output.table(&head, rows);
        if let Some(why) = &fleet.incomplete {
            list.push_str(&format!("\nNot all hosts: {}\n", printable(why)));
        }
        list
    })?;
    Ok(Exit::Ok)
}

fn forget(output: &Output, host: String) -> Result<Exit, CliError> {
    // identityd's account may not, in MySQL, and in LDAP where each host has its own: a server that is not trusted would take others off the list.
    let as_admin = match chosen()? {
        DirectoryConfig::Mysql(_) => true,
        DirectoryConfig::Ldap(config) => !config.admin_dn.is_empty(),
        _ => false,
    };
    if as_admin {
        let name: HostName = host.parse().map_err(CliError::Refused)?;
        if !with_accounts(async |accounts| Ok(accounts.directory().forget_host(&name).await?))? {
            return Err(CliError::Refused(format!("no host {name} is on the list; see identityctl fleet")));
        }
        output.show(&json!({ "forgotten": host }), |_| format!("{host} is off the list.\n"))?;
        return Ok(Exit::Ok);
    }
    match Client::new().within(FORGET_LIMIT).ask(&Request::ForgetHost { host: host.clone() })? {
        Reply::Done => output.show(&json!({ "forgotten": host }), |_| format!("{host} is off the list.\n"))?,
        other => return Err(unexpected(other)),
    }
    Ok(Exit::Ok)
}

/// How far a host is behind: changes, or with LDAP a time.
pub(super) fn behind(line: &HostLine, newest: u64) -> String {
    match (line.behind, newest > MICROSECONDS) {
        (0, _) => "-".into(),
        (changes, false) => format!("{changes} {}", if changes == 1 { "change" } else { "changes" }),
        (micros, true) if micros < 1_000_000 => format!("{} ms", micros.div_ceil(1000)),
        (micros, true) => span(micros / 1_000_000),
    }
}

/// A rough length of time.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use schema::record::Generation;

    use super::*;

    fn line(behind: u64) -> HostLine {
        HostLine {
            host: "web1".parse().unwrap(),
            generation: Generation(1),
            behind,
            stale_seconds: 0,
            reported_seconds: 0,
            version: String::new(),
            trouble: None,
            own: false,
        }
    }

    #[test]
    fn behind_is_a_number_of_changes_or_a_time() {
        let ldap = 1_790_000_000_000_000;
        for (micros_or_changes, newest, shown) in [
            (0, 7, "-"),
            (1, 7, "1 change"),
            (12, 70, "12 changes"),
            (1_500, ldap, "2 ms"),
            (90_000_000, ldap, "90 s"),
            (7_200_000_000, ldap, "2 h"),
        ] {
            assert_eq!(behind(&line(micros_or_changes), newest), shown);
        }
    }
}
