//! What a process believes its ids to be, and the kernel's rules for changing them (credentials(7), capabilities(7)). Pure.

use minidock_sys::Errno;
use rustix::thread::CapabilitySet;

use super::capabilities::Capabilities;

/// "Leave it as it is", and no id.
pub(super) const UNCHANGED: u32 = u32::MAX;

/// The most further groups that a process can have (`NGROUPS_MAX`).
pub(super) const MOST_GROUPS: u32 = 65_536;

/// One kind of id, fourfold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
    /// For file access; it follows the effective one.
    pub file: u32,
}

impl Ids {
    fn holds(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// setuid(2), setgid(2).
    pub(super) fn set(self, id: u32, privileged: bool) -> Result<Self, Errno> {
        if id == UNCHANGED {
            return Err(Errno::INVAL);
        }
        let fits = id == self.real || id == self.saved;
        match (privileged, fits) {
            (true, _) => Ok(Self {
                real: id,
                effective: id,
                saved: id,
                file: id,
            }),
            (false, true) => Ok(Self {
                effective: id,
                file: id,
                ..self
            }),
            (false, false) => Err(Errno::PERM),
        }
    }

    /// setreuid(2), setregid(2).
    pub(super) fn set_two(
        self,
        real: u32,
        effective: u32,
        privileged: bool,
    ) -> Result<Self, Errno> {
        let mut new = self;
        if real != UNCHANGED {
            if !privileged && real != self.real && real != self.effective {
                return Err(Errno::PERM);
            }
            new.real = real;
        }
        if effective != UNCHANGED {
            if !privileged && !self.holds(effective) {
                return Err(Errno::PERM);
            }
            new.effective = effective;
        }
        if real != UNCHANGED || (effective != UNCHANGED && effective != self.real) {
            new.saved = new.effective;
        }
        new.file = new.effective;
        Ok(new)
    }

    /// setresuid(2), setresgid(2).
    pub(super) fn set_three(self, ids: [u32; 3], privileged: bool) -> Result<Self, Errno> {
        if !privileged && ids.iter().any(|&id| id != UNCHANGED && !self.holds(id)) {
            return Err(Errno::PERM);
        }
        let [real, effective, saved] = ids;
        let or = |id: u32, old: u32| if id == UNCHANGED { old } else { id };
        let effective = or(effective, self.effective);
        Ok(Self {
            real: or(real, self.real),
            effective,
            saved: or(saved, self.saved),
            file: effective,
        })
    }

    /// setfsuid(2), setfsgid(2), which cannot fail.
    pub(super) fn set_file(self, id: u32, privileged: bool) -> Self {
        let allowed = privileged || self.holds(id) || id == self.file;
        if id == UNCHANGED || !allowed {
            return self;
        }
        Self { file: id, ..self }
    }
}

/// All that a process believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub uid: Ids,
    pub gid: Ids,
    pub groups: Vec<u32>,
    pub capabilities: Capabilities,
}

impl Credentials {
    /// The container's root, as which everything starts.
    pub(super) fn root(capabilities: CapabilitySet, groups: Vec<u32>) -> Self {
        Self {
            uid: Ids::default(),
            gid: Ids::default(),
            groups,
            capabilities: Capabilities::all(capabilities),
        }
    }

    /// Whether all ids are root's, as the kernel believes as well.
    pub(super) fn is_root(&self) -> bool {
        self.uid == Ids::default() && self.gid == Ids::default()
    }

    pub(super) fn can(&self, capability: CapabilitySet) -> bool {
        self.capabilities.effective.contains(capability)
    }

    /// What execve(2) makes of them. Nobody gains by it: where programs may gain privileges by being executed, they still get
    /// no more here.
    pub(super) fn after_exec(&self) -> Self {
        let saved = |ids: Ids| Ids {
            saved: ids.effective,
            file: ids.effective,
            ..ids
        };
        let (uid, gid) = (saved(self.uid), saved(self.gid));
        let capabilities = match [uid.real, uid.effective].contains(&0) {
            true => Capabilities {
                keep: false,
                ..self.capabilities
            },
            false => Capabilities::none(),
        };
        Self {
            uid,
            gid,
            capabilities,
            groups: self.groups.clone(),
        }
    }

    /// Whether a file of its own may have this group.
    pub(super) fn in_group(&self, gid: u32) -> bool {
        gid == self.gid.file || self.groups.contains(&gid)
    }
}

#[cfg(test)]
impl Ids {
    /// Ids whose files are reached as the effective one.
    pub(super) fn of(real: u32, effective: u32, saved: u32) -> Self {
        Self {
            real,
            effective,
            saved,
            file: effective,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: u32 = UNCHANGED;

    /// As the manual pages have it.
    #[test]
    fn ids_change_as_in_the_kernel() {
        let root = Ids::of(0, 0, 0);
        let (user, away) = (Ids::of(5, 5, 5), Ids::of(0, 5, 0));
        let denied = Err(Errno::PERM);
        assert_eq!(root.set(5, true), Ok(user));
        assert_eq!(root.set(U, true), Err(Errno::INVAL));
        assert_eq!(user.set(5, false), Ok(user));
        assert_eq!(user.set(0, false), denied);
        assert_eq!(away.set(0, false), Ok(root));
        assert_eq!(Ids::of(0, 5, 5).set(6, false), denied);

        // seteuid(2) is setresuid(-1, id, -1).
        assert_eq!(root.set_three([U, 5, U], true), Ok(away));
        assert_eq!(away.set_three([U, 0, U], false), Ok(root));
        assert_eq!(away.set_three([U, U, 5], false), Ok(Ids::of(0, 5, 5)));
        assert_eq!(away.set_three([U, U, 6], false), denied);
        assert_eq!(user.set_three([5, 0, 5], false), denied);
        assert_eq!(user.set_three([U, U, U], false), Ok(user));

        assert_eq!(root.set_two(5, 5, true), Ok(user));
        // The saved id keeps what only the effective one left.
        assert_eq!(root.set_two(U, 0, true), Ok(root));
        assert_eq!(root.set_two(U, 5, true), Ok(Ids::of(0, 5, 5)));
        assert_eq!(Ids::of(0, 5, 0).set_two(5, 0, false), Ok(Ids::of(5, 0, 0)));
        assert_eq!(Ids::of(5, 6, 7).set_two(7, U, false), denied);
        assert_eq!(Ids::of(5, 6, 7).set_two(U, 7, false), Ok(Ids::of(5, 7, 7)));
        assert_eq!(Ids::of(5, 6, 7).set_two(U, 5, false), Ok(Ids::of(5, 5, 7)));
        assert_eq!(user.set_two(U, 0, false), denied);

        assert_eq!(root.set_file(5, true).file, 5);
        assert_eq!(user.set_file(0, false), user);
        assert_eq!(away.set_file(0, false).file, 0);
        assert_eq!(root.set_file(U, true), root);
    }

    /// A C library makes the same call in each thread of a process, which has one record here.
    #[test]
    fn a_change_that_was_made_can_be_made_again() {
        let starts = [
            Ids::of(0, 0, 0),
            Ids::of(0, 5, 0),
            Ids::of(5, 6, 7),
            Ids::of(5, 5, 0),
        ];
        let some = [0, 5, 6, 7, U];
        for start in starts {
            let privileged = |ids: Ids| ids.effective == 0;
            for a in some {
                if let Ok(once) = start.set(a, privileged(start)) {
                    // A way back to root by setuid(2) takes the real id along at the second time.
                    let again = once.set(a, privileged(once)).unwrap();
                    assert_eq!(again.effective, once.effective, "{start:?} {a}");
                }
                for b in some {
                    if let Ok(once) = start.set_two(a, b, privileged(start)) {
                        let again = once.set_two(a, b, privileged(once)).unwrap();
                        assert_eq!(
                            (again.real, again.effective),
                            (once.real, once.effective),
                            "{start:?} {a} {b}"
                        );
                    }
                    for c in some {
                        if let Ok(once) = start.set_three([a, b, c], privileged(start)) {
                            assert_eq!(once.set_three([a, b, c], privileged(once)), Ok(once));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn executing_a_program_leaves_no_way_back() {
        let all = CapabilitySet::SETUID;
        let root = Credentials::root(all, vec![4]);
        assert_eq!(root.after_exec(), root);
        // What was put aside for a while is gone, and what was kept on purpose as well.
        let mut latent = root.clone();
        (latent.uid, latent.capabilities.keep) = (Ids::of(5, 5, 0), true);
        let after = latent.after_exec();
        assert_eq!(after.uid, Ids::of(5, 5, 5));
        assert_eq!(after.capabilities, Capabilities::none());
        assert_eq!(after.groups, [4]);
        // A set-user-ID program that is itself for a moment.
        latent.uid = Ids::of(0, 5, 5);
        assert_eq!(latent.after_exec().capabilities.permitted, all);
    }
}
