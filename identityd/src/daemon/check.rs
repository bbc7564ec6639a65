//! `identityd --check`: the configuration, and what it comes to.

use std::io::Write;
use std::path::Path;

use crate::config::Loaded;

pub(super) fn print(path: &Path) -> Result<(), String> {
    let loaded = Loaded::from_file(path).map_err(|error| error.to_string())?;
    let config = &loaded.config;
    let mut text = format!(
        "{} is in order.\ndirectory: {} {}\n\
         cache: entries {}, absent names {}, kept while the directory is away {}\n\
         services, and the capability that each needs:\n",
        path.display(),
        config.directory.kind(),
        config.directory.location(),
        config.cache.positive,
        config.cache.negative,
        config.cache.stale
    );
    for (service, need) in config.services.iter() {
        let service = if service == "*" { "(all others)" } else { service };
        text += &format!("  {service:<14} {need}\n");
    }
    // Whoever reads only the head of it closes the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
