//! [`FileWatch`]: files that are followed while a process runs, and never taken over half written.
//!
//! Files are looked at, not subscribed to: a notification of the kernel's neither passes a network file system nor
//! tells that the folder behind a link was swapped, as Kubernetes does it. A look costs one `stat` a file.
//!
//! A change counts once two looks in a row found the same: a file that is just being written, or a certificate whose
//! key has not come yet, is left alone until nothing moves any more. What is read of it counts only where nothing
//! changed until the end of the read.
//!
//! ```
//! use towergate_openai::file_watch::FileWatch;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::env::temp_dir().join(format!("towergate-file-watch-{}", std::process::id()));
//! std::fs::write(&path, "old")?;
//! let mut watch = FileWatch::new([&path]);
//! watch.mark_read().await;
//!
//! std::fs::write(&path, "new content")?;
//! assert!(!watch.look().await, "it may still be written");
//! assert!(watch.look().await);
//! let content = watch.read(|| tokio::fs::read_to_string(&path)).await??;
//! assert_eq!(content, "new content");
//! assert!(!watch.look().await);
//! # std::fs::remove_file(&path)?;
//! # Ok(())
//! # }
//! ```

use std::{
    fs::Metadata,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

/// The time between the two looks before a read that somebody asked for: longer than a program pauses between two
/// writes of one file, and short enough to wait for.
const GAP: Duration = Duration::from_millis(50);

/// How long a read waits for files that keep changing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files that belong together, and what they were when they were last read. See the [module](self).
#[derive(Debug, Clone)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    /// As they were when they were last read.
    read: Vec<Option<Fingerprint>>,
    /// As they were at the last look.
    seen: Vec<Option<Fingerprint>>,
}

/// The files kept changing for ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file kept changing for {} s: it is still being written", PATIENCE.as_secs())]
pub struct StillChanging;

/// What tells one content of a regular file from another without reading it. It follows links, so that the
/// swap of Kubernetes' `..data` link shows as another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

// === impl FileWatch ===

impl FileWatch {
    /// How often files are looked at.
    pub const INTERVAL: Duration = Duration::from_secs(2);

    /// Follows these files, none of which has been read yet.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        let none = vec![None; paths.len()];
        Self { paths, read: none.clone(), seen: none }
    }

    /// Follows one more, which counts as read as it is now.
    pub async fn add(&mut self, path: impl Into<PathBuf>) {
        let path = path.into();
        let now = Fingerprint::of(&path).await;
        self.paths.push(path);
        self.read.push(now);
        self.seen.push(now);
    }

    /// Counts them as read as they are now. Called before they are read, so that what changes meanwhile is a change.
    pub async fn mark_read(&mut self) {
        self.seen = self.now().await;
        self.read.clone_from(&self.seen);
    }

    /// Looks once: whether the files are others than those that were read, and the same as at the look before. A
    /// file that is gone is a change, too; a FIFO counts as no file, as it can be read only once.
    pub async fn look(&mut self) -> bool {
        let now = self.now().await;
        let is_settled = now == self.seen;
        self.seen = now;
        is_settled && self.seen != self.read
    }

    /// Reads the files once two looks, a twentieth of a second apart, and a third after the read have found the
    /// same. What `read` gives counts as read, also where it is an error.
    ///
    /// # Errors
    ///
    /// Files that keep changing.
    pub async fn read<F: Future>(&mut self, mut read: impl FnMut() -> F) -> Result<F::Output, StillChanging> {
        let deadline = Instant::now() + PATIENCE;
        self.seen = self.now().await;
        while Instant::now() < deadline {
            sleep(GAP).await;
            let before = self.now().await;
            if before == self.seen {
                let content = read().await;
                self.seen = self.now().await;
                if before == self.seen {
                    self.read = before;
                    return Ok(content);
                }
            } else {
                self.seen = before;
            }
        }
        Err(StillChanging)
    }

    /// Counts them as not read: what could not be read at this moment is a change at the next look.
    pub fn mark_unread(&mut self) {
        self.read.fill(None);
    }

    async fn now(&self) -> Vec<Option<Fingerprint>> {
        let mut now = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            now.push(Fingerprint::of(path).await);
        }
        now
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// `None` where there is no regular file.
    async fn of(path: &Path) -> Option<Self> {
        let metadata = tokio::fs::metadata(path).await.ok().filter(Metadata::is_file)?;
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Some(Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, future::ready};

    use super::*;

    /// Two files in a folder of a test's own.
    struct Folder([PathBuf; 2]);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("towergate-watch-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let files = ["one", "two"].map(|file| folder.join(file));
            files.iter().for_each(|file| fs::write(file, "old").unwrap());
            Self(files)
        }

        async fn watch(&self) -> FileWatch {
            let mut watch = FileWatch::new(&self.0);
            watch.mark_read().await;
            watch
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0[0].parent().unwrap());
        }
    }

    #[tokio::test]
    async fn a_change_counts_once_nothing_moves_any_more() {
        let folder = Folder::new("settled");
        let [one, two] = &folder.0;
        let mut watch = folder.watch().await;
        assert!(!watch.look().await && !watch.look().await);
        fs::write(one, "half").unwrap();
        assert!(!watch.look().await);
        // The other of the two comes later.
        fs::write(two, "whole").unwrap();
        assert!(!watch.look().await);
        fs::write(one, "whole").unwrap();
        assert!(!watch.look().await);
        assert!(watch.look().await && watch.look().await, "until it is read");
        assert_eq!(watch.read(|| ready(7)).await, Ok(7));
        assert!(!watch.look().await);
    }

    #[tokio::test]
    async fn a_file_that_goes_and_comes_back_is_a_change() {
        let folder = Folder::new("gone");
        let mut watch = folder.watch().await;
        fs::remove_file(&folder.0[0]).unwrap();
        assert!(!watch.look().await && watch.look().await);
        watch.read(|| ready(())).await.unwrap();
        assert!(!watch.look().await && !watch.look().await, "it was told");
        fs::write(&folder.0[0], "old").unwrap();
        assert!(!watch.look().await && watch.look().await);
    }

    #[tokio::test]
    async fn what_changes_while_it_is_read_is_read_again() {
        let folder = Folder::new("again");
        let mut watch = folder.watch().await;
        let mut reads = 0;
        let content = watch.read(|| {
            reads += 1;
            let content = fs::read_to_string(&folder.0[0]).unwrap();
            if reads == 1 {
                fs::write(&folder.0[1], "new content").unwrap();
            }
            ready(content)
        });
        assert_eq!(content.await.as_deref(), Ok("old"));
        assert_eq!(reads, 2);
        assert!(!watch.look().await && !watch.look().await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_changing_is_given_up() {
        let folder = Folder::new("restless");
        let mut watch = folder.watch().await;
        let mut content = String::new();
        let restless = watch.read(|| {
            content.push('.');
            fs::write(&folder.0[0], &content).unwrap();
            ready(())
        });
        assert_eq!(restless.await.err(), Some(StillChanging));
        assert!(watch.look().await, "it is read once it has come to rest");
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_a_change_until_it_is() {
        let folder = Folder::new("unread");
        let mut watch = folder.watch().await;
        watch.mark_unread();
        assert!(watch.look().await && watch.look().await);
        watch.read(|| ready(())).await.unwrap();
        assert!(!watch.look().await);
        let mut never_read = FileWatch::new(["/nonexistent/file"]);
        assert!(!never_read.look().await && !never_read.look().await, "there is nothing to read");
    }
}
