//! The directory that the configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{DirectoryConfig, LdapConfig, MysqlConfig};
use crate::directory::Directory;
use crate::directory::ldap::LdapDirectory;
use crate::directory::mysql::MysqlDirectory;
use crate::directory::sqlite::SqliteDirectory;
use crate::feed::Opener;

/// Opens what the configuration names, each time anew.
pub(crate) fn directory(config: &DirectoryConfig) -> Opener {
    match config {
        DirectoryConfig::Sqlite { path, .. } => sqlite(path.clone()),
        DirectoryConfig::Mysql(config) => mysql((**config).clone()),
        DirectoryConfig::Ldap(config) => ldap((**config).clone()),
    }
}

fn ldap(config: LdapConfig) -> Opener {
    Arc::new(move || {
        let config = config.clone();
        Box::pin(async move {
            let directory: Arc<dyn Directory> = Arc::new(LdapDirectory::open(config)?);
            Ok(directory)
        })
    })
}

/// The embedded directory.
fn sqlite(path: PathBuf) -> Opener {
    Arc::new(move || {
        let path = path.clone();
        Box::pin(async move {
            let directory: Arc<dyn Directory> = Arc::new(SqliteDirectory::open_at_least_to_read(&path).await?);
            Ok(directory)
        })
    })
}

fn mysql(config: MysqlConfig) -> Opener {
    Arc::new(move || {
        let config = config.clone();
        Box::pin(async move {
            let directory: Arc<dyn Directory> = Arc::new(MysqlDirectory::open(config)?);
            Ok(directory)
        })
    })
}
