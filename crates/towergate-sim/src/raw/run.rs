//! Following the scripts.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{RawEvent, RawScript, Step, framing};

/// A longer request is not read to its end.
const MAX_REQUEST: usize = 64 << 20;

/// How many events are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 4096;

type Log = Arc<watch::Sender<Vec<RawEvent>>>;

struct Conversation {
    socket: TcpStream,
    /// What was read and belongs to no request yet.
    rest: BytesMut,
    number: u64,
    log: Log,
}

pub(super) async fn accept(listener: TcpListener, scripts: Vec<RawScript>, log: Log) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        let script = scripts.get(number).or(scripts.last()).cloned().unwrap_or_default();
        number += 1;
        let conversation =
            Conversation { socket, rest: BytesMut::new(), number: number as u64, log: Arc::clone(&log) };
        connections.spawn(conversation.follow(script));
    }
}

impl Conversation {
    async fn follow(mut self, script: RawScript) {
        let _ = self.socket.set_nodelay(true);
        self.add(RawEvent::Opened(self.number));
        for step in script.steps {
            if matches!(step, Step::Reset) {
                let _ = self.socket.set_zero_linger();
                break;
            }
            if self.step(step).await.is_err() {
                self.add(RawEvent::PeerClosed(self.number));
                break;
            }
        }
        let Self { socket, log, number, .. } = self;
        drop(socket);
        add(&log, RawEvent::Ended(number));
    }

    /// One step; an error means that the peer has gone.
    async fn step(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Head => self.read(framing::head).await,
            Step::Request => self.read(framing::request).await,
            Step::Write(bytes) => self.socket.write_all(&bytes).await,
            Step::WriteForever(bytes) => loop {
                self.socket.write_all(&bytes).await?;
                // Nothing to write would never wait.
                tokio::task::yield_now().await;
            },
            Step::Trickle(bytes, pause) => {
                for byte in bytes {
                    tokio::time::sleep(pause).await;
                    self.socket.write_u8(byte).await?;
                }
                Ok(())
            }
            Step::Wait(gate) => {
                gate.wait().await;
                Ok(())
            }
            Step::PeerClose => loop {
                self.rest.clear();
                self.fill().await?;
            },
            // The script is over with it.
            Step::Reset => Ok(()),
        }
    }

    /// Reads until the framing says that it is enough.
    async fn read(&mut self, enough: fn(&[u8]) -> Option<usize>) -> io::Result<()> {
        loop {
            if let Some(length) = enough(&self.rest) {
                let bytes: Bytes = self.rest.split_to(length).freeze();
                self.add(RawEvent::Request { connection: self.number, bytes });
                return Ok(());
            }
            if self.rest.len() > MAX_REQUEST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.rest).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn add(&self, event: RawEvent) {
        add(&self.log, event);
    }
}

fn add(log: &Log, event: RawEvent) {
    log.send_modify(|events| {
        if events.len() == REMEMBERED {
            events.remove(0);
        }
        events.push(event);
    });
}
