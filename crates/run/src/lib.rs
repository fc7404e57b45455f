//! One container's life in the kernel: an OCI runtime Spec plus a root file system in, a process and its exit status
//! out. This crate knows no image and no registry.
//!
//! ```text
//! Spec, Rootfs, Host ──plan──▶ Plan ──start──▶ Running ──supervise──▶ Exit
//!                     (pure)        (one clone)        (poll loop)
//! ```
//!
//! * [`plan()`] decides: the Spec becomes an ordered list of steps, which can be printed and compared without a kernel. What
//!   this runtime cannot do is refused there, by the name the specification gives it.
//! * [`start`] makes one process with one clone(2), in all new namespaces at once. That process walks the plan (`child`),
//!   reports over a socketpair (`report`), and becomes the container's program. No process stands between.
//! * [`Running::supervise`] is all that stays outside: one thread that polls a pidfd, a signalfd and what has to be relayed.
//!
//! A root file system that a program serves ([`Rootfs::FuseOverlay`]) has that program beside the container (`server`).
//! A caller with subordinate ids first moves into a user namespace that maps them ([`enter`]); all else is then as for root.
//!
//! # Guarantees
//! * The container dies with its supervisor, whenever that is: the kernel kills the child at its parent's death, and with
//!   the first process of a pid namespace all others. Mounts and namespaces vanish with the last process in them.
//!   (The kernel forgets this wish if the container's program gains privileges by executing a set-user-ID file; with
//!   `process.noNewPrivileges` it cannot.)
//! * The program inherits descriptors 0, 1 and 2 and no other, no ignored or blocked signal, and none of the
//!   supervisor's terminal. What would let it reach the caller's files through `/proc/self/fd` is relayed instead of
//!   handed over (`stdio`). It has a session keyring of its own, and the kernel's own personality, not the caller's.
//! * Nothing inside the image is trusted: see `child::place`. The supervisor's own binary, which the child still is until
//!   exec, cannot be reached by the command's path (no magic links), and cannot be written to while it runs.
//! * A masked or read-only path is looked at again after mounting: what the container finds there is what was put there
//!   (`child::mounts`).
//! * The caller's terminal comes back, whoever is killed (`terminal`).
//!
//! # Walls besides namespaces
//! *Landlock* stands where Docker's filter does and the kernel has it (5.19; before, it refuses every move between folders).
//! It has one rule: all is allowed at and below `/`. To a program that only names files this changes nothing, for names end at
//! `/` already. It is for what gets in by other ways: a folder of the host's in a descriptor that leaked or was sent over a
//! socket, `/proc/self/exe` while it is still the supervisor's. A Landlock domain refuses mounts as well, so whoever may mount
//! (`CAP_SYS_ADMIN`), or has a filter of his own choice, has none: he may want containers inside. Neither signals nor
//! abstract sockets are scoped: namespaces do that, and where one is shared, it was asked for (X11 with `--network
//! host`, debuggers with `--pid host`). It costs 20 µs.
//!
//! *AppArmor*: a profile that was asked for is applied or the container is not started. None is by default: ordinary users
//! cannot load any, so that it would be Docker's or nothing, and what `docker-default` denies (mounts, writing to `/proc/sys`
//! and to the kernel's memory) is denied by the user namespace, the filter and the read-only and masked paths.
//!
//! # One id
//! With [`RootEmulation`], the supervisor also answers the system calls by which root acts for other ids, where there are none
//! (`emulation`).
//!
//! # What a start costs
//! `minidock run --rm --network none busybox true` as an ordinary user, release binary, store on tmpfs, by sampling
//! (`perf record -F 15000`, 200 runs); shares of about 3.3 ms of processor time, which is also how long it takes, for nearly
//! nothing of it happens at once. `make bench BENCH=start` compares it with others.
//!
//! | share | what | where |
//! |---|---|---|
//! | 22 % | own instructions: flags, the image's config, the Spec as JSON, the plan, the filters | all crates |
//! | 13 % | page faults: 100 of the program's pages in pieces of 64 KiB, 50 of the heap | |
//! | 10 % | the network namespace, which no other order or flag makes cheaper | clone |
//! | 9 % | installing filters: two, where root is emulated; most is turning them into machine code | `Step::Filter`, `Step::Emulate` |
//! | 9 % | files of the store: container made, state twice, five small files, all removed again | `store` |
//! | 4 % | the other namespaces, and the process | clone |
//! | 4 % | finding places inside by openat2(2), and 2 % making them | `child::place` |
//! | 3 % | executing minidock itself | |
//! | 2 % each | the overlay; proc, dev, pts, mqueue, shm and sys together; `lo`; the pivot and letting go of the host's mounts; binds and masks with their verification; waiting | `child` |
//! | < 1 % | Landlock and the keyring; the end of the process | |
//! | 12 % | some 400 other system calls, and getting into and out of them | |
//!
//! What was found on the way: musl's allocator (0.5 ms of mmap and munmap), describing the flags of all verbs (0.4 ms), moving
//! a position-independent program at its start (70 page faults). After 50 ms the supervisor gives back what its stack and its
//! program take (`minidock_sys::memory`): some 500 KiB stay instead of 5.6 MB, and in the loop it asks for no memory.
//!
//! # The first process and signals
//! The kernel discards signals that the first process of a pid namespace has no handler for, even SIGTERM. Where such a
//! program (`sleep`, say) ignores `SIGINT`, `SIGTERM`, `SIGHUP` or `SIGQUIT` only by that rule, [`Running::supervise`] kills
//! the container and reports the signal: Ctrl-C ends what a person would expect it to end. Docker leaves such containers
//! running. A program that chose to ignore the signal keeps ignoring it. With [`Launch::init`] the first process is a reaper
//! of ours (`child::reaper`), and the program gets signals as anywhere.

mod alone;
mod attach;
pub mod cgroup;
mod channel;
mod child;
mod emulation;
mod error;
mod exit;
mod host;
mod join;
mod keep;
mod launch;
mod own_root;
mod plan;
mod ranges;
mod relay;
mod render;
mod report;
mod running;
mod seccomp;
mod server;
mod stdio;
mod supervise;
mod terminal;
mod trial;
mod trial_rootfs;
mod visit;

pub use alone::become_own_root;
pub use attach::{
    AttachOptions, Attached, DetachKeys, Guests, KeyError, Line, Stream, Welcome, Word, line,
};
pub use emulation::RootEmulation;
pub use error::{Error, PlanError};
pub use exit::Exit;
pub use host::Host;
pub use join::{Join, Member, Prepared, prepare_join, read_inside, sealed_copy};
pub use keep::{KeepOptions, Keeper, Kept, Pause, WAKE, pause};
pub use launch::{Launch, Provision, Rootfs};
pub use own_root::as_own_root;
pub use plan::{Plan, plan};
pub use ranges::{MapWriters, RangeMaps, enter, find_program, try_ranges};
pub use render::{Cause, StepFailure};
pub use running::{Running, fill_volumes, start, start_on};
pub use supervise::signal;
pub use trial::{Isolation, Stage, try_isolation, try_root_emulation};
pub use trial_rootfs::{RootfsRefusal, try_overlay};
pub use visit::{LiveRoot, bind_onto, mount_rootfs, open_rootfs};
