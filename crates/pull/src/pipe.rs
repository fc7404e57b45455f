//! From the network to the thread that makes files: a bounded queue of pieces whose memory is used again.
//!
//! What the HTTP client hands out is copied, which costs less than it saves: the client then reads into the same memory
//! again, where it would else ask for new with every read, and the kernel would have to clear each page of it.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

/// Bytes of one piece.
const PIECE: usize = 64 << 10;
/// Pieces that may wait.
const PIECES: usize = 48;

/// A message to the thread: bytes, or the end. Without an end, the transfer was given up.
enum Part {
    Bytes(Vec<u8>),
    End,
}

/// Pieces that were read, to be filled again.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

/// The network's end.
pub struct Inlet {
    sender: mpsc::Sender<Part>,
    spare: Spare,
}

/// The thread's end.
pub struct Outlet {
    receiver: mpsc::Receiver<Part>,
    spare: Spare,
    piece: Vec<u8>,
    /// How much of it was read.
    at: usize,
    ended: bool,
}

/// Nobody reads any more.
#[derive(Debug)]
pub struct Closed;

pub fn pipe() -> (Inlet, Outlet) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let spare = Spare::default();
    let outlet = Outlet {
        receiver,
        spare: Arc::clone(&spare),
        piece: Vec::new(),
        at: 0,
        ended: false,
    };
    (Inlet { sender, spare }, outlet)
}

impl Inlet {
    /// Hands bytes on, and waits for room.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), Closed> {
        for part in bytes.chunks(PIECE) {
            let mut piece = lock(&self.spare).pop().unwrap_or_default();
            piece.clear();
            piece.extend_from_slice(part);
            let sent = self.sender.send(Part::Bytes(piece)).await;
            sent.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Says that all bytes were handed on.
    pub async fn end(&self) {
        // If nobody reads, nobody waits for the end.
        let _ = self.sender.send(Part::End).await;
    }
}

fn lock(spare: &Mutex<Vec<Vec<u8>>>) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Read for Outlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Part::Bytes(piece)) => {
                    let read = std::mem::replace(&mut self.piece, piece);
                    self.at = 0;
                    if read.capacity() > 0 {
                        lock(&self.spare).push(read);
                    }
                }
                Some(Part::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        "the transfer was given up",
                    ));
                }
            }
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_and_pieces_are_used_again() {
        let (inlet, mut outlet) = pipe();
        let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = bytes.clone();
        let spare = Arc::clone(&inlet.spare);
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            outlet.read_to_end(&mut read).map(|_| read)
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            for chunk in bytes.chunks(100_001) {
                inlet.send(chunk).await.unwrap();
            }
            inlet.end().await;
        });
        assert!(reader.join().unwrap().unwrap() == expected);
        // Those that wait, one that is filled and one that is read.
        assert!(lock(&spare).len() <= PIECES + 2);
    }

    #[test]
    fn without_an_end_there_is_an_error_and_without_a_reader_nobody_waits() {
        let (inlet, mut outlet) = pipe();
        drop(inlet);
        let error = outlet.read(&mut [0; 9]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let (inlet, outlet) = pipe();
        drop(outlet);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        assert!(runtime.block_on(inlet.send(b"bytes")).is_err());
    }
}
