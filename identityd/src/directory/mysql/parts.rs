//! Which of several servers can be written. It must be one: identityd takes each such server for the primary.

use sqlx::mysql::MySqlRow;

use super::MysqlDirectory;
use super::node::Role;
use super::queries::Query;
use crate::directory::DirectoryError;
use crate::directory::sql::Columns;

/// Also where there is no Galera, whose variables are not there then.
pub(super) const ASK: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'wsrep_on', 'server_id', 'hostname', 'port', 'datadir')";

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Part {
    writable: bool,
    /// A node of Galera: all of them may be written.
    galera: bool,
    /// Tells it from others: a list may name one server twice, by its socket and by its address.
    which: Vec<Vec<u8>>,
}

impl Part {
    /// From the rows of [`ASK`].
    pub(super) fn read(rows: &[MySqlRow]) -> Self {
        let mut part = Self::default();
        for row in rows {
            let value = row.bytes("Value");
            let is = |wanted: &[&str]| wanted.iter().any(|wanted| value.eq_ignore_ascii_case(wanted.as_bytes()));
            match row.bytes("Variable_name").as_slice() {
                b"read_only" => part.writable = is(&["OFF", "0"]),
                b"wsrep_on" => part.galera = is(&["ON", "1"]),
                _ => part.which.push(value),
            }
        }
        part
    }
}

/// What is wrong, with what to do.
pub(super) fn judge(servers: &[(String, Part)]) -> Option<String> {
    let mut writable: Vec<&(String, Part)> = Vec::new();
    for server in servers.iter().filter(|(_, part)| part.writable && !part.galera) {
        if writable.iter().all(|(_, part)| part.which != server.1.which) {
            writable.push(server);
        }
    }
    let names: Vec<&str> = writable.iter().map(|(name, _)| name.as_str()).collect();
    (names.len() > 1).then(|| {
        format!(
            "{} can be written (read_only is 0), and identityd takes each for the primary: what it writes to a replica is missing on the primary, and replication stops. On each replica: \
             SET GLOBAL read_only = 1, and read_only = 1 in its my.cnf (docs/mysql.md, Several servers)",
            names.join(" and ")
        )
    })
}

impl MysqlDirectory {
    /// What is wrong with who can be written of all servers, and which were not asked, and why.
    pub async fn parts(&self) -> (Option<String>, Vec<DirectoryError>) {
        let query = Query { text: ASK.into(), parameters: Vec::new() };
        let (mut answered, mut silent) = (Vec::new(), Vec::new());
        for node in &self.inner.nodes {
            let asked = tokio::time::timeout(self.inner.config.timeout.0, node.rows(Role::Reader, &query, &[])).await;
            match asked {
                Ok(Ok(rows)) => answered.push((node.name.clone(), Part::read(&rows))),
                Ok(Err(error)) => silent.push(error),
                Err(_) => silent.push(DirectoryError::Unavailable {
                    directory: node.name.clone(),
                    reason: format!("no answer within {}", self.inner.config.timeout),
                }),
            }
        }
        (judge(&answered), silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, id: &str, writable: bool, galera: bool) -> (String, Part) {
        (name.into(), Part { writable, galera, which: vec![id.into()] })
    }

    #[test]
    fn more_than_one_that_can_be_written_is_named_unless_they_are_one_or_a_cluster() {
        let primary = server("near", "1", true, false);
        assert_eq!(judge(&[primary.clone(), server("far", "2", false, false)]), None);
        assert_eq!(judge(&[primary.clone(), server("/run/mysqld.sock", "1", true, false)]), None);
        assert_eq!(judge(&[server("near", "1", true, true), server("far", "2", true, true)]), None);
        let wrong = judge(&[primary, server("far", "2", true, false)]).unwrap();
        assert!(wrong.starts_with("near and far can be written") && wrong.contains("SET GLOBAL read_only"), "{wrong}");
    }
}
