//! Every unsafe block and raw system call of minidock.
