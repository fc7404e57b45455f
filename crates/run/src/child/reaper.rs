//! A first process of our own (`--init`): it passes signals on to the program, reaps whatever is orphaned, and ends as the
//! program does.
//!
//! It is this very process, which forks instead of executing anything. So there is no file in the container that could be
//! replaced. What it could be reached by is its own memory and its executable, the supervisor's: the kernel shows neither
//! of a process that is not dumpable to anybody without `CAP_SYS_PTRACE` outside the container (ptrace(2), proc(5)).

use std::os::fd::BorrowedFd;

use minidock_sys::process::{Fork, exit_now, fork};
use minidock_sys::signal::{self, SignalSet};
use minidock_sys::{Errno, fd};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, getpid, set_child_subreaper, set_dumpable_behavior,
    setpgid, wait,
};

use crate::report::{During as _, Fail, Phase};

/// Forks. Returns in the process that is to become the program; the other one stays for good.
pub(super) fn stay_and_fork(terminal: Option<BorrowedFd<'_>>) -> Result<(), Fail> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Phase::Act)?;
    // Where it is not the first of a pid namespace, orphans come here all the same.
    set_child_subreaper(Some(getpid())).during(Phase::Act)?;
    match fork().during(Phase::Act)? {
        Fork::Parent(program) => exit_now(watch(program)),
        Fork::Child => {
            // So that the terminal's keys reach the program and what it starts, and not the reaper.
            setpgid(None, None).during(Phase::Act)?;
            if let Some(terminal) = terminal {
                rustix::termios::tcsetpgrp(terminal, getpid()).during(Phase::Act)?;
            }
            Ok(())
        }
    }
}

const FAILED: u8 = 125;

/// All signals are blocked, and taken one by one.
fn watch(program: Pid) -> u8 {
    // Nothing here may keep a pipe open whose end somebody waits for.
    if fd::close_everything().is_err() {
        return FAILED;
    }
    let all = SignalSet::all();
    loop {
        match signal::wait(&all) {
            Ok(number) if number == Signal::CHILD.as_raw() => {
                if let Some(code) = reap(program) {
                    return code;
                }
            }
            // They are about the terminal, which the program's group has.
            Ok(number) if number == Signal::TTIN.as_raw() || number == Signal::TTOU.as_raw() => {}
            Ok(number) => pass_on(program, number),
            Err(Errno::INTR) => {}
            Err(_) => return FAILED,
        }
    }
}

fn pass_on(program: Pid, number: i32) {
    // The program may just have ended.
    let _ = signal::kill(program, number);
}

/// Takes all that have ended; the status to end with when the program is among them.
fn reap(program: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == program {
            let number = match status.terminating_signal() {
                Some(signal) => 128 + signal,
                None => status.exit_status().unwrap_or(i32::from(FAILED)),
            };
            code = Some(u8::try_from(number & 0xff).unwrap_or(FAILED));
        }
    }
    code
}
