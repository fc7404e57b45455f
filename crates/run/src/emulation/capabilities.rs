//! What a process believes to be able to do, and how that changes with its ids (capabilities(7)). Pure.

use minidock_sys::Errno;
use rustix::thread::CapabilitySet;

use super::credentials::Ids;

/// Capabilities of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub permitted: CapabilitySet,
    pub effective: CapabilitySet,
    /// Leaving root keeps what is permitted (`PR_SET_KEEPCAPS`), until execve(2).
    pub keep: bool,
}

/// Those about files, which follow the id for file access.
const ABOUT_FILES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::MAC_OVERRIDE);

impl Capabilities {
    /// All of a set, in use.
    pub(super) fn all(set: CapabilitySet) -> Self {
        Self {
            permitted: set,
            effective: set,
            keep: false,
        }
    }

    pub(super) fn none() -> Self {
        Self::all(CapabilitySet::empty())
    }

    /// After the user ids changed.
    pub(super) fn after(self, old: Ids, new: Ids) -> Self {
        let mut after = self;
        let is_root = |ids: Ids| [ids.real, ids.effective, ids.saved].contains(&0);
        if is_root(old) && !is_root(new) && !self.keep {
            after.permitted = CapabilitySet::empty();
            after.effective = CapabilitySet::empty();
        }
        match (old.effective, new.effective) {
            (0, 1..) => after.effective = CapabilitySet::empty(),
            (1.., 0) => after.effective = after.permitted,
            _ => {}
        }
        after
    }

    /// After the id for file access alone changed.
    pub(super) fn after_file(self, old: u32, new: u32) -> Self {
        let effective = match (old, new) {
            (0, 1..) => self.effective - ABOUT_FILES,
            (1.., 0) => self.effective | (self.permitted & ABOUT_FILES),
            _ => self.effective,
        };
        Self { effective, ..self }
    }

    /// capset(2), as far as these sets go.
    pub(super) fn set(
        self,
        permitted: CapabilitySet,
        effective: CapabilitySet,
    ) -> Result<Self, Errno> {
        if !self.permitted.contains(permitted) || !permitted.contains(effective) {
            return Err(Errno::PERM);
        }
        Ok(Self {
            permitted,
            effective,
            ..self
        })
    }
}

/// How capget(2) and capset(2) lay sets out: words of 32 bits, the effective, permitted and inheritable ones of the lower
/// half first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One half.
    Version1,
    /// Both.
    Version3,
}

impl Layout {
    /// `None` for what the kernel does not take either.
    pub(super) fn of(version: u32) -> Option<Self> {
        match version {
            0x1998_0330 => Some(Self::Version1),
            0x2007_1026 | 0x2008_0522 => Some(Self::Version3),
            _ => None,
        }
    }

    pub(super) fn size(self) -> usize {
        match self {
            Self::Version1 => 12,
            Self::Version3 => 24,
        }
    }

    /// The permitted and the effective set.
    pub(super) fn read(self, bytes: &[u8]) -> (CapabilitySet, CapabilitySet) {
        let words = bytes.as_chunks().0.iter().map(|b| u32::from_ne_bytes(*b));
        let words: Vec<u32> = words.collect();
        let word = |at: usize| u64::from(words.get(at).copied().unwrap_or(0));
        let set = |at: usize| CapabilitySet::from_bits_retain(word(at) | word(at + 3) << 32);
        (set(1), set(0))
    }

    /// No capability is inheritable.
    pub(super) fn write(self, capabilities: Capabilities) -> Vec<u8> {
        let (effective, permitted) = (capabilities.effective.bits(), capabilities.permitted.bits());
        let half = |shift: u32| [(effective >> shift) as u32, (permitted >> shift) as u32, 0];
        let words = [half(0), half(32)].concat();
        let bytes = words.iter().flat_map(|w| w.to_ne_bytes());
        bytes.take(self.size()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: CapabilitySet = CapabilitySet::CHOWN.union(CapabilitySet::NET_RAW);

    #[test]
    fn capabilities_follow_ids() {
        let (root, away, user) = (Ids::of(0, 0, 0), Ids::of(0, 5, 0), Ids::of(5, 5, 5));
        let all = Capabilities::all(SOME);
        let latent = Capabilities {
            effective: CapabilitySet::empty(),
            ..all
        };
        assert_eq!(all.after(root, root), all);
        assert_eq!(all.after(root, away), latent);
        assert_eq!(latent.after(away, root), all);
        assert_eq!(all.after(root, user), Capabilities::none());
        assert_eq!(latent.after(away, user), Capabilities::none());
        let kept = Capabilities { keep: true, ..all }.after(root, user);
        assert_eq!(
            kept,
            Capabilities {
                keep: true,
                ..latent
            }
        );
        assert_eq!(kept.set(SOME, SOME).unwrap().effective, SOME);
        assert_eq!(kept.set(SOME | CapabilitySet::KILL, SOME), Err(Errno::PERM));
        assert_eq!(kept.set(CapabilitySet::CHOWN, SOME), Err(Errno::PERM));
        let files = all.after_file(0, 5);
        assert_eq!(files.effective, CapabilitySet::NET_RAW);
        assert_eq!(files.after_file(5, 0), all);
    }

    #[test]
    fn sets_are_laid_out_as_the_kernel_has_them() {
        let set = CapabilitySet::CHOWN | CapabilitySet::BPF;
        let mut bytes = Layout::Version3.write(Capabilities::all(set));
        assert_eq!(Layout::Version3.read(&bytes), (set, set));
        bytes[4..8].fill(0);
        let (permitted, effective) = Layout::Version3.read(&bytes);
        assert_eq!((permitted, effective), (CapabilitySet::BPF, set));
        let short = Layout::Version1.write(Capabilities::all(set));
        assert_eq!(short.len(), 12);
        assert_eq!(Layout::Version1.read(&short).1, CapabilitySet::CHOWN);
        assert_eq!(Layout::of(0), None);
    }
}
