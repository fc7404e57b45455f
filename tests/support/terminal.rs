//! A real terminal with a program on it, for everything that only happens on one.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::fchown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{Context, Output, PATIENCE, Running};

/// A pseudo terminal, and the program for which it is the controlling one.
pub struct Terminal {
    master: OwnedFd,
    device: File,
    running: Option<Running>,
    chunks: Receiver<Vec<u8>>,
    /// What the screen got since the last match.
    pending: String,
    /// All that the screen got.
    transcript: String,
    /// How the terminal was set before the program started.
    pub settings: Termios,
}

impl Terminal {
    /// Starts `minidock ARGS` on a new terminal of 24 rows and 80 columns.
    pub fn start<const N: usize>(cx: &Context, args: [&str; N]) -> Self {
        Self::start_args(cx, &args)
    }

    /// The same, for arguments of any number.
    pub fn start_args<S: AsRef<std::ffi::OsStr>>(cx: &Context, args: &[S]) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        fchown(&device, Some(cx.uid), None).unwrap();

        let settings = tcgetattr(&device).unwrap();
        let stream = || Stdio::from(device.try_clone().unwrap());
        // A session of its own, whose controlling terminal is its standard input.
        let mut command: Command = cx.program("setsid");
        command
            .arg("--ctty")
            .arg(cx.binary())
            .args(args)
            .env("TERM", "xterm");
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let (sender, chunks) = channel();
        let mut reader = File::from(master.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with EIO when nobody has the terminal open any more.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let _ = sender.send(buffer[..length].to_owned());
            }
        });
        let terminal = Self {
            master,
            device,
            running: None,
            chunks,
            pending: String::new(),
            transcript: String::new(),
            settings,
        };
        terminal.resize(24, 80);
        Self {
            running: Some(Running::spawn(&mut command)),
            ..terminal
        }
    }

    /// Types `text`.
    pub fn send(&self, text: &str) {
        File::from(self.master.try_clone().unwrap())
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Waits until the screen has shown `text` since the last such wait; what came before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.pending.find(text) {
                let before = self.pending[..at].to_owned();
                self.pending.drain(..at + text.len());
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(chunk) = self.chunks.recv_timeout(left) else {
                panic!(
                    "the terminal never showed {text:?}; it showed\n{}",
                    self.transcript
                );
            };
            let chunk = String::from_utf8_lossy(&chunk);
            self.pending += &chunk;
            self.transcript += &chunk;
        }
    }

    /// Gives the terminal another size, as someone dragging its window does.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// The terminal's own end, to look at its settings after the program's end.
    pub fn keep_device(&self) -> File {
        self.device.try_clone().unwrap()
    }

    /// The process on the terminal.
    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Waits for the end that a signal brings; all that the screen showed.
    #[track_caller]
    pub fn wait_for_signal(mut self) -> String {
        self.running.take().unwrap().wait_for_signal();
        self.finish();
        self.transcript
    }

    /// Waits for the program's end; its exit status, and all that the screen showed.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let output = self.running.take().unwrap().wait();
        self.end(output)
    }

    /// Kills the program outright, and waits until nothing of it is left on the terminal.
    #[track_caller]
    pub fn kill(mut self) -> Output {
        let output = self.running.take().unwrap().kill();
        self.end(output)
    }

    #[track_caller]
    fn end(mut self, output: Output) -> Output {
        self.finish();
        Output {
            stdout: self.transcript,
            ..output
        }
    }

    /// Reads the transcript to its end.
    fn finish(&mut self) {
        // All that the program wrote comes before what is written now.
        const END: &str = "\x01end of the transcript\x01";
        self.device.write_all(END.as_bytes()).unwrap();
        while !self.transcript.contains(END) {
            let chunk = self.chunks.recv_timeout(PATIENCE).unwrap();
            self.transcript += &String::from_utf8_lossy(&chunk);
        }
        let end = self.transcript.find(END).unwrap();
        self.transcript.truncate(end);
    }
}
