//! The supervisor's part: it takes one call after another, looks up what the process believes, and answers.

use std::borrow::Cow;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use minidock_sys::Errno;
use minidock_sys::notify::{self, Answer, Listener};
use rustix::process::Pid;

use super::Emulation;
use super::answer::{Outcome, Question, answer};
use super::credentials::Credentials;
use super::place::{self, Place};
use super::records::{Program, Record, Records};
use crate::seccomp::Numbers;

/// Answers the calls of one container.
#[derive(Debug)]
pub(crate) struct Supervisor {
    listener: Listener,
    numbers: Numbers,
    records: Records,
    /// The container's user namespace: what is in another one has ids of its own. Our own reaper does not tell (it cannot be
    /// looked into); then it is that of the first who asks.
    namespace: Option<(u64, u64)>,
}

impl Supervisor {
    /// `first` is a process of the container's.
    pub(crate) fn new(emulation: &Emulation, listener: OwnedFd, first: Pid) -> Self {
        Self {
            listener: listener.into(),
            numbers: emulation.numbers.clone(),
            records: Records::new(Credentials::root(
                emulation.capabilities,
                emulation.groups.clone(),
            )),
            namespace: namespace(first),
        }
    }

    /// Readable when a call waits; hung up when no process is left that could make one.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers the call that waits. A call that was given up meanwhile, with its process or by a signal, needs no answer.
    ///
    /// # Errors
    /// When the kernel hands out no call.
    pub(crate) fn answer_one(&mut self) -> Result<(), Errno> {
        let call = match self.listener.receive() {
            Ok(call) => call,
            Err(Errno::NOENT | Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let decided = self.decide(&call);
        match self.listener.answer(call.id, decided) {
            Ok(()) | Err(Errno::NOENT | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn decide(&mut self, call: &notify::Call) -> Answer {
        let known = self.numbers.find(call.architecture, call.number);
        let thread = i32::try_from(call.thread).ok().and_then(Pid::from_raw);
        let (Some((kind, width)), Some(thread)) = (known, thread) else {
            return Answer::Continue;
        };
        let Ok(number) = notify::lock_limit(thread) else {
            return Answer::Error(Errno::PERM);
        };
        self.namespace = self.namespace.or_else(|| namespace(thread));
        let question = Question {
            call: kind,
            width,
            arguments: call.arguments,
        };
        let who = self.who(number, thread);
        let read = |at: u64, into: &mut [u8]| notify::read_memory(thread, at, into);
        let outcome = answer(&question, &who, &read);
        if outcome == Outcome::Continue || namespace(thread) != self.namespace {
            return Answer::Continue;
        }
        self.carry_out(call, &question, thread, number, outcome)
            .unwrap_or_else(Answer::Error)
    }

    /// What a process with a number believes. Whether it has executed a program since is seen only here.
    fn who(&self, number: u64, thread: Pid) -> Cow<'_, Credentials> {
        let record = self.records.get(number);
        match record.program {
            Some(_) if program(thread) != record.program => {
                Cow::Owned(record.credentials.after_exec())
            }
            _ => Cow::Borrowed(&record.credentials),
        }
    }

    fn carry_out(
        &mut self,
        call: &notify::Call,
        question: &Question,
        thread: Pid,
        number: u64,
        outcome: Outcome,
    ) -> Result<Answer, Errno> {
        // Before anything is done to it, the thread must still be the one that asked.
        let waits = || {
            self.listener
                .waits(call.id)
                .then_some(())
                .ok_or(Errno::INTR)
        };
        match outcome {
            Outcome::Continue => Ok(Answer::Continue),
            Outcome::Value(value) => Ok(Answer::Value(value)),
            Outcome::Fail(errno) => Err(errno),
            Outcome::Write(writes, value) => {
                waits()?;
                for (at, bytes) in writes {
                    notify::write_memory(thread, at, &bytes)?;
                }
                Ok(Answer::Value(value))
            }
            Outcome::Become(credentials, value) => {
                waits()?;
                self.become_other(thread, number, credentials)?;
                Ok(Answer::Value(value))
            }
            Outcome::BecomeAndContinue(credentials) => {
                waits()?;
                self.become_other(thread, number, credentials)?;
                Ok(Answer::Continue)
            }
            Outcome::Chown => place::exists(question, thread).map(|()| Answer::Value(0)),
            Outcome::StandIn => {
                let place = Place::find(question, thread)?;
                waits()?;
                place.make().map(|()| Answer::Value(0))
            }
        }
    }

    fn become_other(
        &mut self,
        thread: Pid,
        number: u64,
        credentials: Credentials,
    ) -> Result<(), Errno> {
        let differs = credentials.after_exec() != credentials;
        let record = Record {
            program: differs.then(|| program(thread)).flatten(),
            credentials,
        };
        if *self.records.get(number) == record {
            return Ok(());
        }
        let new = self.records.number(record)?;
        notify::set_lock_limit(thread, new)
    }
}

/// What tells the program of a process from others: fields 26, 28, 48 and 51 of `/proc/PID/stat`, the addresses of its code,
/// its stack, its arguments and its environment (proc_pid_stat(5)).
fn program(thread: Pid) -> Option<Program> {
    let path = format!("/proc/{}/stat", thread.as_raw_pid());
    let stat = std::fs::read_to_string(path).ok()?;
    // The name is in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(Program([field(26)?, field(28)?, field(48)?, field(51)?]))
}

/// Which user namespace a process is in.
fn namespace(process: Pid) -> Option<(u64, u64)> {
    let path = format!("/proc/{}/ns/user", process.as_raw_pid());
    let found = rustix::fs::stat(path).ok()?;
    Some((found.st_dev, found.st_ino))
}
