//! Real files and FIFOs.

#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::*;

const NAME: &str = "OPENAI_API_KEY";

/// A directory of a test's own.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("towergate-secret-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn fifo(&self) -> PathBuf {
        let path = self.0.join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn secret(path: &Path) -> SecretFile {
    SecretFile::new(NAME, path).poll_interval(Duration::from_millis(5))
}

fn bearer(key: &RotatingKey) -> String {
    key.credential().unwrap().bearer().to_str().unwrap().to_owned()
}

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(20);

/// Waits until the key is the one expected.
async fn until(key: &RotatingKey, expected: &str) {
    let waiting = async {
        while bearer(key) != format!("Bearer {expected}") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("the key does not change");
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_bad_one_is_not_taken() {
    let directory = Directory::new();
    let path = directory.file("key", "sk-1\n");
    let key = secret(&path).open().await.unwrap();
    assert_eq!(bearer(&key), "Bearer sk-1");

    directory.file("key", "sk-2\n");
    until(&key, "sk-2").await;

    // The same length, by rename.
    fs::rename(directory.file("next", "sk-3\n"), &path).unwrap();
    until(&key, "sk-3").await;

    // Neither nothing, nor several lines, nor the file's absence, takes the key away.
    directory.file("key", "");
    tokio::time::sleep(Duration::from_millis(50)).await;
    directory.file("key", "a\nb");
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::remove_file(&path).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bearer(&key), "Bearer sk-3");

    directory.file("key", r#"{"OPENAI_API_KEY": "sk-4"}"#);
    until(&key.clone(), "sk-4").await;
}

#[test]
fn what_cannot_be_read_at_the_moment_is_read_again() {
    // As where no file can be opened: the new key must not be missed.
    assert!(Problem::Io(io::ErrorKind::Other).may_pass() && Problem::Slow(LONG).may_pass());
    assert!(!Problem::Empty.may_pass() && !Problem::NotThere.may_pass());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_half_written_is_not_taken_over() {
    use std::io::Write as _;

    let directory = Directory::new();
    let path = directory.file("key", "sk-1\n");
    let key = SecretFile::new(NAME, &path).open().await.unwrap();
    let mut file = fs::File::create(&path).unwrap();
    // Every look finds more than the one before.
    for part in b"sk-2-is-longer".chunks(1) {
        file.write_all(part).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bearer(&key), "Bearer sk-1");
    }
    until(&key, "sk-2-is-longer").await;
}

#[tokio::test]
async fn the_swap_of_kubernetes_is_followed() {
    let directory = Directory::new();
    for (version, content) in [("..1", "sk-1"), ("..2", "sk-2")] {
        fs::create_dir(directory.0.join(version)).unwrap();
        fs::write(directory.0.join(version).join("key"), content).unwrap();
    }
    symlink("..1", directory.0.join("..data")).unwrap();
    symlink("..data/key", directory.0.join("key")).unwrap();
    let key = secret(&directory.0.join("key")).open().await.unwrap();
    assert_eq!(bearer(&key), "Bearer sk-1");

    symlink("..2", directory.0.join("..data_tmp")).unwrap();
    fs::rename(directory.0.join("..data_tmp"), directory.0.join("..data")).unwrap();
    until(&key, "sk-2").await;
}

#[tokio::test]
async fn dropping_the_last_clone_ends_the_watch() {
    let directory = Directory::new();
    let key = secret(&directory.file("key", "sk-1")).open().await.unwrap();
    let current = Arc::downgrade(&key.0.current);
    let clone = key.clone();
    drop(key);
    assert!(clone.credential().is_some());
    drop(clone);
    // The watch held the other reference.
    let waiting = async {
        while current.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("the watch goes on");
}

#[tokio::test]
async fn a_fifo_is_read_once_to_its_end() {
    let directory = Directory::new();
    let path = directory.fifo();
    // The writer comes after the reader, and writes in two pieces.
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            use std::io::Write as _;
            std::thread::sleep(Duration::from_millis(30));
            let mut pipe = fs::OpenOptions::new().write(true).open(path).unwrap();
            pipe.write_all(b"{\"OPENAI_API_KEY\":").unwrap();
            pipe.flush().unwrap();
            std::thread::sleep(Duration::from_millis(30));
            pipe.write_all(b" \"sk-fifo\"}\n").unwrap();
        }
    });
    let key = secret(&path).open().await.unwrap();
    writer.join().unwrap();
    assert_eq!(bearer(&key), "Bearer sk-fifo");
    assert!(key.0.watch.is_none());
}

#[tokio::test]
async fn a_writer_that_was_there_first_is_served() {
    let directory = Directory::new();
    let path = directory.fifo();
    let writer = std::thread::spawn({
        let path = path.clone();
        // Blocks until the reader opens.
        move || fs::write(path, "OPENAI_API_KEY=\"sk-env\"\n").unwrap()
    });
    let key = secret(&path).open().await.unwrap();
    writer.join().unwrap();
    assert_eq!(bearer(&key), "Bearer sk-env");
}

#[tokio::test]
async fn a_fifo_without_a_writer_runs_into_the_limit() {
    let directory = Directory::new();
    let path = directory.fifo();
    let error = secret(&path).time_limit(Duration::from_millis(50)).open().await.unwrap_err();
    assert_eq!(error.problem, Problem::Slow(Duration::from_millis(50)));
    let text = error.to_string();
    assert!(text.contains(NAME) && text.contains("fifo") && text.contains("0.05 s"), "{text}");
}

#[tokio::test]
async fn what_gives_no_key_is_named_and_not_shown() {
    let directory = Directory::new();
    let problem = async |path: PathBuf| {
        let error = secret(&path).open().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(NAME) && !text.contains("canary"), "{text}");
        assert_eq!(error.path(), path);
        error.problem
    };
    assert_eq!(problem(directory.0.join("none")).await, Problem::Io(io::ErrorKind::NotFound));
    assert_eq!(problem(directory.0.clone()).await, Problem::NotAFile);
    assert_eq!(problem(directory.file("a", "sk-canary\nsk-canary")).await, Problem::NotThere);
    assert_eq!(problem(directory.file("b", "{\"canary\": ")).await, Problem::BrokenJson);
    let invalid = Problem::Invalid(InvalidCredential::NotAHeaderValue);
    assert_eq!(problem(directory.file("c", "sk-\u{1}canary")).await, invalid);
    assert_eq!(problem(directory.file("d", &"x".repeat(1024 * 1024 + 1))).await, Problem::TooLarge);
    fs::write(directory.0.join("e"), [b'k', 0xff]).unwrap();
    assert_eq!(problem(directory.0.join("e")).await, Problem::NotText);
}
