//! The directory that the configuration names.

use std::path::PathBuf;
use std::sync::Arc;

use crate::directory::Directory;
use crate::directory::sqlite::SqliteDirectory;
use crate::feed::Opener;

/// Opens the embedded directory, each time anew.
pub(super) fn sqlite(path: PathBuf) -> Opener {
    Box::new(move || {
        let path = path.clone();
        Box::pin(async move {
            let directory: Arc<dyn Directory> = Arc::new(SqliteDirectory::open_at_least_to_read(&path).await?);
            Ok(directory)
        })
    })
}
