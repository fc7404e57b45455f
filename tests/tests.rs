//! End-to-end tests: the built binary only, as an ordinary user and as root.
//!
//! Each scenario runs in a world of its own (see [`support::Context`]) and is judged by what a user
//! sees: exit status, standard output and standard error together, and what is left in the store.
//! A test that cannot be done on a machine says why; `MINIDOCK_TEST_MUST_WORK=1` makes that a failure.
#![expect(
    clippy::unwrap_used,
    reason = "helpers outside of test functions fail a test by panicking"
)]

mod support;

mod archives;
mod at_once;
mod background;
mod bad_input;
mod bad_store;
mod breakouts;
mod check;
mod commit;
mod cp;
mod crash;
mod crash_points;
mod debian;
mod docker_hub;
mod doctor;
mod events;
mod exec;
mod fixtures;
mod flags;
mod full_disk;
mod hostile_archives;
mod id_maps;
mod images;
mod import_url;
mod info;
mod inspect;
mod isolation;
mod kernels;
mod limits;
mod load;
mod login;
mod nested;
mod network;
mod odd_layers;
mod platforms;
mod prune;
mod ps;
mod pull;
mod pull_back;
mod push;
mod read_only_store;
mod readme;
mod registries;
mod root_emulation;
mod run;
mod search;
mod seccomp;
mod signals;
mod start_killed;
mod storage;
mod terminal;
mod volumes;
mod weather;
