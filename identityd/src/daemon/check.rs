//! `identityd --check`: the configuration, and what it comes to.

use std::path::Path;

use crate::config::{DirectoryConfig, Loaded};

pub(super) fn print(path: &Path) -> Result<(), String> {
    let loaded = Loaded::from_file(path).map_err(|error| error.to_string())?;
    let config = &loaded.config;
    let DirectoryConfig::Sqlite { path: database, .. } = &config.directory;
    println!("{} is in order.", path.display());
    println!("directory: sqlite {}", database.display());
    println!(
        "cache: entries {}, absent names {}, kept while the directory is away {}",
        config.cache.positive, config.cache.negative, config.cache.stale
    );
    println!("services, and the capability that each needs:");
    for (service, need) in config.services.iter() {
        println!("  {:<14} {need}", if service == "*" { "(all others)" } else { service });
    }
    Ok(())
}
