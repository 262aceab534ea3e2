//! Reading a secret's file, and seeing that it changed.

use std::{fs::Metadata, path::Path, time::SystemTime};

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Problem;

/// A secret over this many bytes is none (as in Kubernetes).
const MAX_LEN: u64 = 1024 * 1024;

/// What tells one content of a regular file from another without reading it. It follows links, so that the
/// swap of Kubernetes' `..data` link shows as another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

/// What was read.
pub(super) struct Content {
    pub(super) text: SecretString,
    /// Nothing for a FIFO: it is read once and never again.
    pub(super) fingerprint: Option<Fingerprint>,
}

// === impl Fingerprint ===

impl Fingerprint {
    /// That of a file as it is now; `None` where there is none, or it is no regular file: a FIFO can be read
    /// only once. Needs a tokio runtime.
    pub async fn of(path: &Path) -> Option<Self> {
        let metadata = tokio::fs::metadata(path).await.ok().filter(Metadata::is_file)?;
        Some(Self::new(&metadata))
    }

    fn new(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a regular file or a FIFO. The caller limits the time.
pub(super) async fn read(path: &Path) -> Result<Content, Problem> {
    let metadata = tokio::fs::metadata(path).await.map_err(Problem::io)?;
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()) {
        return Ok(Content { text: read_fifo(path).await?, fingerprint: None });
    }
    if !metadata.is_file() {
        return Err(Problem::NotAFile);
    }
    // Taken before the bytes: a change in between shows at the next look.
    let fingerprint = Fingerprint::new(&metadata);
    let file = tokio::fs::File::open(path).await.map_err(Problem::io)?;
    Ok(Content { text: into_text(read_capped(file).await?)?, fingerprint: Some(fingerprint) })
}

/// Reads a FIFO to its end.
///
/// Opened for reading without blocking, which does not wait for a writer and holds no thread.
/// Before a writer has come, a read gives "end" too; so an end counts only once there were bytes.
#[cfg(unix)]
async fn read_fifo(path: &Path) -> Result<SecretString, Problem> {
    const AGAIN: std::time::Duration = std::time::Duration::from_millis(10);

    let mut pipe = tokio::net::unix::pipe::OpenOptions::new().open_receiver(path).map_err(Problem::io)?;
    loop {
        let bytes = read_capped(&mut pipe).await?;
        if !bytes.is_empty() {
            return into_text(bytes);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn read_capped(source: impl AsyncRead + Unpin) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    source.take(MAX_LEN + 1).read_to_end(&mut bytes).await.map_err(Problem::io)?;
    if bytes.len() as u64 > MAX_LEN { Err(Problem::TooLarge) } else { Ok(bytes) }
}

fn into_text(bytes: Vec<u8>) -> Result<SecretString, Problem> {
    // The error would carry the bytes.
    String::from_utf8(bytes).map(SecretString::from).map_err(|_| Problem::NotText)
}
