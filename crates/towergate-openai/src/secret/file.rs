//! Reading a secret's file.

use std::path::Path;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Problem;

/// A secret over this many bytes is none (as in Kubernetes).
const MAX_LEN: u64 = 1024 * 1024;

/// What was read.
pub(super) struct Content {
    pub(super) text: SecretString,
    /// A FIFO is read once and never again.
    pub(super) is_fifo: bool,
}

/// Reads a regular file or a FIFO. The caller limits the time.
pub(super) async fn read(path: &Path) -> Result<Content, Problem> {
    let metadata = tokio::fs::metadata(path).await.map_err(Problem::io)?;
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()) {
        return Ok(Content { text: read_fifo(path).await?, is_fifo: true });
    }
    if !metadata.is_file() {
        return Err(Problem::NotAFile);
    }
    let file = tokio::fs::File::open(path).await.map_err(Problem::io)?;
    Ok(Content { text: into_text(read_capped(file).await?)?, is_fifo: false })
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
