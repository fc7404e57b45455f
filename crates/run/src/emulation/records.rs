//! Which credentials a process has: a number that the kernel keeps for us, and what the numbers stand for.
//!
//! See the module above for where the number is. Equal credentials have one number, and there is an end to how much a
//! container can make its supervisor remember.

use minidock_sys::Errno;

use super::credentials::Credentials;

/// Numbers are below this. Whatever else a process has there is the container's root.
pub(crate) const NUMBERS: u64 = 4096;

/// Group ids in all records together: 1 MiB.
const MOST_GROUPS: usize = 1 << 18;

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub credentials: Credentials,
    /// The program that it was given to, where executing another one makes a difference.
    pub program: Option<Program>,
}

/// Tells what one execve(2) made from what another did: where it put things in memory, which is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program(pub [u64; 4]);

#[derive(Debug)]
pub(super) struct Records {
    /// The first is the container's root, as the number 0 is.
    known: Vec<Record>,
    groups: usize,
}

impl Records {
    pub(super) fn new(root: Credentials) -> Self {
        Self {
            groups: root.groups.len(),
            known: vec![Record {
                credentials: root,
                program: None,
            }],
        }
    }

    /// What a number stands for.
    pub(super) fn get(&self, number: u64) -> &Record {
        let index = usize::try_from(number).unwrap_or(0);
        self.known.get(index).unwrap_or(&self.known[0])
    }

    /// The number of a record.
    pub(super) fn number(&mut self, record: Record) -> Result<u64, Errno> {
        if let Some(index) = self.known.iter().position(|known| *known == record) {
            return Ok(index as u64);
        }
        let index = self.known.len() as u64;
        let groups = record.credentials.groups.len();
        if index >= NUMBERS || self.groups + groups > MOST_GROUPS {
            return Err(Errno::NOMEM);
        }
        self.groups += groups;
        self.known.push(record);
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::*;

    fn with_groups(groups: Vec<u32>) -> Record {
        Record {
            credentials: Credentials::root(CapabilitySet::empty(), groups),
            program: None,
        }
    }

    #[test]
    fn numbers_are_kept_and_bounded() {
        let mut records = Records::new(with_groups(vec![1]).credentials);
        assert_eq!(records.number(with_groups(vec![1])), Ok(0));
        assert_eq!(records.number(with_groups(vec![])), Ok(1));
        assert_eq!(records.number(with_groups(vec![2])), Ok(2));
        assert_eq!(records.number(with_groups(vec![])), Ok(1));
        let groups = |records: &Records, number| records.get(number).credentials.groups.clone();
        assert_eq!(groups(&records, 2), [2]);
        // What nobody gave out is the container's root: "unlimited", above all.
        assert_eq!(groups(&records, 3), [1]);
        assert_eq!(groups(&records, u64::MAX), [1]);

        for first in 0..3 {
            let mut many = vec![7; 65_536];
            many[0] = first;
            records.number(with_groups(many)).unwrap();
        }
        let more = with_groups(vec![9; 65_536]);
        assert_eq!(records.number(more), Err(Errno::NOMEM));
        for n in 10.. {
            if records.number(with_groups(vec![n])).is_err() {
                break;
            }
        }
        assert_eq!(records.known.len() as u64, NUMBERS);
        assert_eq!(records.number(with_groups(vec![2])), Ok(2));
    }
}
