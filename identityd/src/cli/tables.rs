//! `identityctl schema` and `identityctl directory check`.

use std::path::Path;

use serde_json::json;

use super::args::{DirectoryCommand, SchemaArgs, SchemaCommand, SchemaKind};
use super::output::Output;
use super::session::{chosen, with_accounts};
use super::{CliError, Exit};
use crate::accounts::{Accounts, AccountsError};
use crate::config::{DirectoryConfig, Loaded, MysqlConfig};
use crate::directory::mysql::tables::{SchemaConnection, script};
use crate::directory::mysql::{Checked, MysqlDirectory};

pub(super) fn run(output: &Output, command: SchemaCommand) -> Result<Exit, CliError> {
    match command {
        SchemaCommand::Show { kind } => show(output, kind),
        SchemaCommand::Apply(args) => {
            let applied = with_connection(&args, async |connection| connection.apply().await)?;
            output.show(&json!({ "applied": applied }), |_| match applied.as_slice() {
                [] => "Nothing to apply.\n".to_owned(),
                names => format!(
                    "Applied: {}.\nThe accounts identityd, identity_authentication, identity_panel and identity_admin are locked until they have passwords:\n  \
                     ALTER USER 'identityd'@'%' IDENTIFIED BY '…' REQUIRE SSL ACCOUNT UNLOCK;\n",
                    names.join(", ")
                ),
            })?;
            Ok(Exit::Ok)
        }
        SchemaCommand::Check(args) => {
            let found = with_connection(&args, async |connection| connection.check().await)?;
            output.show(&json!({ "findings": found }), |_| match found.as_slice() {
                [] => "The tables are as this version has them.\n".to_owned(),
                lines => lines.join("\n") + "\n",
            })?;
            Ok(if found.is_empty() { Exit::Ok } else { Exit::Failed })
        }
    }
}

pub(super) fn directory(output: &Output, command: &DirectoryCommand) -> Result<Exit, CliError> {
    if let DirectoryCommand::Copy(args) = command {
        return super::copy::run(output, args);
    }
    let checked = match chosen()? {
        DirectoryConfig::Mysql(config) => block_on(async {
            let directory = MysqlDirectory::open(*config).map_err(AccountsError::from)?;
            let checked = directory.check().await;
            directory.close().await;
            Ok(checked)
        })?,
        // One question: is all of it whole?
        DirectoryConfig::Sqlite { .. } | DirectoryConfig::Ldap(_) => {
            let wrong = with_accounts(async |accounts: &Accounts| Ok(accounts.store().check().await?))?;
            vec![Checked { query: "whole", wrong, absent: Vec::new() }]
        }
    };
    let wrong = checked.iter().any(|one| !one.wrong.is_empty());
    output.show(&json!({ "ok": !wrong, "queries": checked }), |output| {
        let row = |one: &Checked| {
            let state = if one.wrong.is_empty() { "ok".to_owned() } else { one.wrong.join("; ") };
            vec![one.query.to_owned(), state, one.absent.join(", ")]
        };
        output.table(&["query", "result", "not there"], checked.iter().map(row))
    })?;
    Ok(if wrong { Exit::Failed } else { Exit::Ok })
}

fn show(output: &Output, kind: Option<SchemaKind>) -> Result<Exit, CliError> {
    let kind = match kind {
        Some(kind) => kind,
        None => match load()?.config.directory {
            DirectoryConfig::Mysql(_) => SchemaKind::Mysql,
            _ => SchemaKind::Sqlite,
        },
    };
    let text = match kind {
        SchemaKind::Mysql => script(),
        SchemaKind::Sqlite => crate::directory::sqlite::schema(),
    };
    output.show(&json!({ "sql": text }), |_| text.clone())?;
    Ok(Exit::Ok)
}

fn with_connection<T>(
    args: &SchemaArgs,
    work: impl AsyncFnOnce(&mut SchemaConnection) -> Result<T, crate::directory::DirectoryError>,
) -> Result<T, CliError> {
    let config = mysql(args)?;
    let (user, file) = match &args.user {
        Some(user) => (user.clone(), args.password_file.clone()),
        None => (config.admin_user.clone(), Some(config.admin_password_file.clone())),
    };
    block_on(async {
        let mut connection = SchemaConnection::open(&config, args.server.as_deref(), &user, file.as_deref())
            .await
            .map_err(AccountsError::from)?;
        Ok(work(&mut connection).await.map_err(AccountsError::from)?)
    })
}

fn mysql(args: &SchemaArgs) -> Result<MysqlConfig, CliError> {
    if args.kind == Some(SchemaKind::Sqlite) {
        return Err(CliError::Refused("the embedded directory is made with: identityctl init".into()));
    }
    match load()?.config.directory {
        DirectoryConfig::Mysql(config) => Ok(*config),
        _ => Err(CliError::Refused(format!(
            "{} has no [directory] with type = \"mysql\"; write it first, with servers = [\"…\"]",
            schema::paths::CONFIG
        ))),
    }
}

fn load() -> Result<Loaded, CliError> {
    Loaded::from_file(Path::new(schema::paths::CONFIG)).map_err(|error| CliError::Unavailable(error.to_string()))
}

fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::io("start the run-time of the directory"))?.block_on(work)
}
