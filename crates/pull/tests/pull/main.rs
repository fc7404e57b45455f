//! Pulling from a registry that imitates Docker Hub, from one that misbehaves, and from the real `docker-registry`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod at_once;
mod docker_registry;
mod foreign;
mod hostile;
mod lies;
mod login;
mod places;
mod platforms;
mod protocol;
mod push;
mod remote;
mod resume;
mod weather;
mod world;
