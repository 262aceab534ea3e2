//! Who else can read a file of secrets.

use std::{fmt, fs::Metadata, path::Path};

/// Others than this process's own user can read a file of secrets. What to do about it is in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadableByOthers {
    /// The permission bits.
    mode: u32,
}

/// Says whether others can read a file of secrets: every user of the machine, or the group of a file of one's own. Where
/// the file belongs to somebody else, the group is how it is meant to be read (Kubernetes' `fsGroup`). Links are
/// followed. Always `None` where there is no such file, and on systems without permission bits.
///
/// Needs a tokio runtime.
pub async fn readable_by_others(path: &Path) -> Option<ReadableByOthers> {
    let file = tokio::fs::metadata(path).await.ok()?;
    // Who we are; `std` has no call for it.
    let ourselves = tokio::fs::metadata("/proc/self").await.ok();
    ReadableByOthers::of(&file, ourselves.as_ref())
}

/// Logs a warning where others can read a file of secrets, which `setting` names.
pub async fn warn_if_readable_by_others(setting: &str, path: &Path) {
    if let Some(readers) = readable_by_others(path).await {
        tracing::warn!(setting, path = %path.display(), "a file of secrets: {readers}");
    }
}

impl ReadableByOthers {
    #[cfg(unix)]
    fn of(file: &Metadata, ourselves: Option<&Metadata>) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        Self::new(file.mode(), file.uid(), ourselves.map(Metadata::uid))
    }

    #[cfg(unix)]
    fn new(mode: u32, owner: u32, ourselves: Option<u32>) -> Option<Self> {
        let by_group = mode & 0o040 != 0 && ourselves.is_none_or(|ourselves| ourselves == owner);
        (mode & 0o004 != 0 || by_group).then_some(Self { mode: mode & 0o777 })
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata, _: Option<&Metadata>) -> Option<Self> {
        None
    }
}

impl fmt::Display for ReadableByOthers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.mode & 0o004 != 0 { "every user of this machine" } else { "its group" };
        write!(
            f,
            "{who} can read it (mode {:04o}); make it 0400 or 0600, in Kubernetes by defaultMode: 0400 of the volume",
            self.mode
        )
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_that_others_can_read_is_told() {
        let path = std::env::temp_dir().join(format!("towergate-readers-{}", std::process::id()));
        std::fs::write(&path, "sk-canary").unwrap();
        for (mode, who) in [
            (0o600, None),
            (0o400, None),
            (0o622, None),
            (0o640, Some("its group can read it (mode 0640)")),
            (0o644, Some("every user of this machine can read it (mode 0644)")),
            (0o604, Some("every user of this machine can read it (mode 0604)")),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let told = readable_by_others(&path).await.map(|readers| readers.to_string());
            assert_eq!(told.is_some(), who.is_some(), "{mode:o}");
            assert!(told.unwrap_or_default().starts_with(who.unwrap_or_default()));
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(readable_by_others(&path).await, None);
    }

    #[test]
    fn the_group_of_somebody_elses_file_is_how_it_is_read() {
        let told = |mode, owner, ourselves| ReadableByOthers::new(mode, owner, ourselves).is_some();
        assert!(told(0o100_440, 1000, Some(1000)) && told(0o100_440, 0, None));
        assert!(!told(0o100_440, 0, Some(1000)));
        assert!(told(0o100_444, 0, Some(1000)));
    }
}
