//! inotify on the folders of some files: a file may be replaced, and one that is not there yet may come.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use inotify::{Inotify, WatchMask};
use tokio::io::unix::AsyncFd;

/// Wakes when one of the files has changed, come or gone. Without inotify it never wakes; there is a poll besides.
pub struct FileWatch {
    inotify: Option<AsyncFd<Inotify>>,
    folders: Vec<(PathBuf, bool)>,
    names: HashSet<OsString>,
}

impl FileWatch {
    /// Watches these files.
    #[must_use]
    pub fn new(files: Vec<PathBuf>) -> Self {
        let names = files.iter().filter_map(|file| file.file_name().map(Into::into)).collect();
        let folders: HashSet<PathBuf> = files.iter().filter_map(|file| file.parent().map(Into::into)).collect();
        let inotify = Inotify::init().and_then(|inotify| {
            // SAFETY: `Inotify` keeps one descriptor from `init` until it is dropped, and `AsyncFd` owns it all that time.
            unsafe { AsyncFd::register(inotify) }.map_err(Into::into)
        });
        if let Err(error) = &inotify {
            tracing::warn!(%error, "no inotify: changes are noticed by polling only");
        }
        let mut watch =
            Self { inotify: inotify.ok(), folders: folders.into_iter().map(|folder| (folder, false)).collect(), names };
        watch.renew();
        watch
    }

    /// Adds folders that were not there before. (A watch of a folder that is still watched stays the same watch.)
    pub fn renew(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let mask = WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE;
        for (folder, watched) in &mut self.folders {
            let result = inotify.get_ref().watches().add(&*folder, mask);
            if let (Err(error), true) = (&result, *watched) {
                tracing::warn!(folder = %folder.display(), %error, "cannot be watched any more; polling");
            }
            *watched = result.is_ok();
        }
    }

    /// Returns after the next change of one of the files. Changes that come together are one.
    pub async fn changed(&mut self) {
        let Some(inotify) = &mut self.inotify else {
            return std::future::pending().await;
        };
        let mut buffer = [0; 4096];
        loop {
            let Ok(mut ready) = inotify.readable_mut().await else {
                return std::future::pending().await;
            };
            let mut ours = false;
            while let Ok(events) = ready.get_inner_mut().read_events(&mut buffer) {
                for event in events {
                    // An event without a name is about the folder itself, or says that some were lost.
                    ours |= event.name.is_none_or(|name| self.names.contains(name));
                }
            }
            ready.clear_ready();
            if ours {
                return;
            }
        }
    }
}
