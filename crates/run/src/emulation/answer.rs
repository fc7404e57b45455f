//! What a call comes to, from what its process believes. Pure but for reading the arguments that are in memory.

use minidock_sys::Errno;

use rustix::thread::CapabilitySet;

use super::calls::{Call, Kind, Need, Width};
use super::capabilities::{Capabilities, Layout};
use super::credentials::{Credentials, Ids, MOST_GROUPS, UNCHANGED};

/// What is done about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The kernel knows better, or the same.
    Continue,
    /// It returns this.
    Value(i64),
    /// It writes to the process's memory, and then returns this.
    Write(Vec<(u64, Vec<u8>)>, i64),
    /// The process has other credentials from now on, and the call returns this.
    Become(Credentials, i64),
    /// The same, and the kernel makes the call.
    BecomeAndContinue(Credentials),
    /// It returns 0 if the file is there.
    Chown,
    /// A stand-in for a device is made.
    StandIn,
    /// It fails.
    Fail(Errno),
}

/// Reads the memory of the process.
pub(super) type Reader<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<(), Errno>;

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub call: Call,
    pub width: Width,
    pub arguments: [u64; 6],
}

impl Question {
    /// An id, whose 16-bit form has a "leave it" of its own.
    fn id(&self, argument: usize) -> u32 {
        let id = self.arguments.get(argument).map_or(0, |a| *a as u32);
        match self.width {
            Width::Full => id,
            Width::Short if id & 0xffff == 0xffff => UNCHANGED,
            Width::Short => id & 0xffff,
        }
    }

    fn ids(&self) -> [u32; 3] {
        [0, 1, 2].map(|argument| self.id(argument))
    }

    fn word(&self, argument: u8) -> u64 {
        self.arguments
            .get(usize::from(argument))
            .copied()
            .unwrap_or(0)
    }

    /// An id as it is in memory. What does not fit has a stand-in (`overflowuid`).
    fn bytes(&self, id: u32) -> Vec<u8> {
        match self.width {
            Width::Full => id.to_ne_bytes().into(),
            Width::Short => u16::try_from(id).unwrap_or(65_534).to_ne_bytes().into(),
        }
    }

    /// An id as a call returns it.
    fn value(&self, id: u32) -> Outcome {
        Outcome::Value(match self.width {
            Width::Full => id.into(),
            Width::Short => u16::try_from(id).unwrap_or(65_534).into(),
        })
    }
}

/// Decides. `who` is what the process believes.
pub(super) fn answer(question: &Question, who: &Credentials, read: Reader<'_>) -> Outcome {
    let ids = |kind| match kind {
        Kind::User => who.uid,
        Kind::Group => who.gid,
    };
    let privileged = |capability| match who.is_root() || who.can(capability) {
        true => Outcome::Continue,
        false => Outcome::Fail(Errno::PERM),
    };
    match question.call {
        Call::Real(k) | Call::Effective(k) | Call::GetThree(k) => get(question, ids(k)),
        Call::Set(k) | Call::SetTwo(k) | Call::SetThree(k) | Call::SetFile(k) => {
            set(question, who, k)
        }
        Call::GetGroups => get_groups(question, &who.groups),
        Call::SetGroups => set_groups(question, who, read),
        Call::Chown { .. } | Call::ChownOpen => chown(question, who, 1),
        Call::ChownAt => chown(question, who, 2),
        Call::MakeNode(path) => make_node(question, who, path),
        Call::Unshare if question.word(0) & CLONE_NEWUSER != 0 => Outcome::Continue,
        Call::Unshare | Call::Privileged(Need::Admin) => privileged(CapabilitySet::SYS_ADMIN),
        Call::Privileged(Need::Chroot) => privileged(CapabilitySet::SYS_CHROOT),
        Call::RawSocket => privileged(CapabilitySet::NET_RAW),
        Call::GetCapabilities => get_capabilities(question, who, read),
        Call::SetCapabilities => set_capabilities(question, who, read),
        Call::KeepCapabilities => keep_capabilities(question, who),
        // The filter has answered.
        Call::SetLimit(_) => Outcome::Continue,
    }
}

const CLONE_NEWUSER: u64 = 0x1000_0000;

fn get(question: &Question, ids: Ids) -> Outcome {
    if ids == Ids::default() {
        return Outcome::Continue;
    }
    match question.call {
        Call::Real(_) => question.value(ids.real),
        Call::Effective(_) => question.value(ids.effective),
        _ => {
            let ids = [ids.real, ids.effective, ids.saved];
            let places = (0..).zip(ids);
            let writes = places.map(|(at, id)| (question.word(at), question.bytes(id)));
            Outcome::Write(writes.collect(), 0)
        }
    }
}

fn set(question: &Question, who: &Credentials, kind: Kind) -> Outcome {
    let (old, needed) = match kind {
        Kind::User => (who.uid, CapabilitySet::SETUID),
        Kind::Group => (who.gid, CapabilitySet::SETGID),
    };
    let privileged = who.can(needed);
    let [a, b, _] = question.ids();
    let new = match question.call {
        Call::Set(_) => old.set(a, privileged),
        Call::SetTwo(_) => old.set_two(a, b, privileged),
        Call::SetThree(_) => old.set_three(question.ids(), privileged),
        _ => Ok(old.set_file(a, privileged)),
    };
    let file = matches!(question.call, Call::SetFile(_));
    let returned = if file { old.file.into() } else { 0 };
    match new {
        Err(errno) => Outcome::Fail(errno),
        Ok(new) if new == old => Outcome::Value(returned),
        Ok(new) => {
            let mut who = who.clone();
            match kind {
                Kind::User if file => {
                    who.capabilities = who.capabilities.after_file(old.file, new.file);
                    who.uid = new;
                }
                Kind::User => {
                    who.capabilities = who.capabilities.after(old, new);
                    who.uid = new;
                }
                Kind::Group => who.gid = new,
            }
            Outcome::Become(who, returned)
        }
    }
}

fn get_groups(question: &Question, groups: &[u32]) -> Outcome {
    let room = question.word(0) as u32 as i32;
    let count = i64::try_from(groups.len()).unwrap_or(0);
    if room == 0 {
        return Outcome::Value(count);
    }
    if i64::from(room) < count {
        return Outcome::Fail(Errno::INVAL);
    }
    let bytes = groups.iter().flat_map(|gid| question.bytes(*gid)).collect();
    match count {
        0 => Outcome::Value(0),
        _ => Outcome::Write(vec![(question.word(1), bytes)], count),
    }
}

fn set_groups(question: &Question, who: &Credentials, read: Reader<'_>) -> Outcome {
    if !who.can(CapabilitySet::SETGID) {
        return Outcome::Fail(Errno::PERM);
    }
    let count = question.word(0) as u32;
    if count > MOST_GROUPS {
        return Outcome::Fail(Errno::INVAL);
    }
    let size = match question.width {
        Width::Full => 4,
        Width::Short => 2,
    };
    let mut bytes = vec![0; count as usize * size];
    if let (1.., Err(errno)) = (count, read(question.word(1), &mut bytes)) {
        return Outcome::Fail(errno);
    }
    let mut groups: Vec<u32> = match question.width {
        Width::Full => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| u32::from_ne_bytes(*b))
            .collect(),
        Width::Short => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| match u16::from_ne_bytes(*b) {
                u16::MAX => UNCHANGED,
                gid => gid.into(),
            })
            .collect(),
    };
    if groups.contains(&UNCHANGED) {
        return Outcome::Fail(Errno::INVAL);
    }
    // As the kernel keeps them.
    groups.sort_unstable();
    let new = Credentials {
        groups,
        ..who.clone()
    };
    match new == *who {
        true => Outcome::Value(0),
        false => Outcome::Become(new, 0),
    }
}

/// Root may give files to anybody; nobody else may, but to himself and to a group of his.
fn chown(question: &Question, who: &Credentials, user: usize) -> Outcome {
    let (uid, gid) = (question.id(user), question.id(user + 1));
    let real = |id| id == 0 || id == UNCHANGED;
    if who.is_root() && real(uid) && real(gid) {
        return Outcome::Continue;
    }
    let own = (uid == UNCHANGED || uid == who.uid.file) && (gid == UNCHANGED || who.in_group(gid));
    match own || who.can(CapabilitySet::CHOWN) {
        true => Outcome::Chown,
        false => Outcome::Fail(Errno::PERM),
    }
}

fn make_node(question: &Question, who: &Credentials, path: u8) -> Outcome {
    let (mode, device) = (question.word(path + 1), question.word(path + 2) as u32);
    // A whiteout, which anybody can make.
    if mode & 0o170_000 == 0o020_000 && device == 0 {
        return Outcome::Continue;
    }
    match who.can(CapabilitySet::MKNOD) {
        true => Outcome::StandIn,
        false => Outcome::Fail(Errno::PERM),
    }
}

/// The layout that a call's header asks for, where it is about the caller himself.
fn layout(question: &Question, read: Reader<'_>) -> Result<Option<Layout>, Errno> {
    let mut header = [0; 8];
    read(question.word(0), &mut header)?;
    let [a, b, c, d, process @ ..] = header;
    let himself = u32::from_ne_bytes(process) == 0 || question.call == Call::SetCapabilities;
    Ok(Layout::of(u32::from_ne_bytes([a, b, c, d])).filter(|_| himself && question.word(1) != 0))
}

/// Root's are the kernel's.
fn get_capabilities(question: &Question, who: &Credentials, read: Reader<'_>) -> Outcome {
    if who.is_root() {
        return Outcome::Continue;
    }
    match layout(question, read) {
        Ok(None) => Outcome::Continue,
        Ok(Some(layout)) => {
            let sets = layout.write(who.capabilities);
            Outcome::Write(vec![(question.word(1), sets)], 0)
        }
        Err(errno) => Outcome::Fail(errno),
    }
}

/// What is given up here is given up for real as well.
fn set_capabilities(question: &Question, who: &Credentials, read: Reader<'_>) -> Outcome {
    let asked = layout(question, read).and_then(|layout| {
        let Some(layout) = layout else {
            return Ok(None);
        };
        let mut bytes = vec![0; layout.size()];
        read(question.word(1), &mut bytes)?;
        let (permitted, effective) = layout.read(&bytes);
        who.capabilities.set(permitted, effective).map(Some)
    });
    match asked {
        Err(errno) => Outcome::Fail(errno),
        Ok(None) => Outcome::Continue,
        Ok(Some(capabilities)) => become_able(who, capabilities),
    }
}

fn keep_capabilities(question: &Question, who: &Credentials) -> Outcome {
    let keep = question.word(1) == 1;
    let capabilities = Capabilities {
        keep,
        ..who.capabilities
    };
    become_able(who, capabilities)
}

fn become_able(who: &Credentials, capabilities: Capabilities) -> Outcome {
    if capabilities == who.capabilities {
        return Outcome::Continue;
    }
    Outcome::BecomeAndContinue(Credentials {
        capabilities,
        ..who.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Credentials {
        let mut some = CapabilitySet::SETUID | CapabilitySet::SETGID;
        some |= CapabilitySet::CHOWN | CapabilitySet::MKNOD;
        Credentials::root(some, Vec::new())
    }

    fn question(call: Call, width: Width, arguments: &[u64]) -> Question {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        Question {
            call,
            width,
            arguments: all,
        }
    }

    fn ask(who: &Credentials, call: Call, arguments: &[u64]) -> Outcome {
        let nothing = |_: u64, _: &mut [u8]| Err(Errno::FAULT);
        answer(&question(call, Width::Full, arguments), who, &nothing)
    }

    fn user() -> Credentials {
        let root = root();
        let Outcome::Become(who, 0) = ask(&root, Call::Set(Kind::Group), &[66]) else {
            panic!();
        };
        let Outcome::Become(mut who, 0) = ask(&who, Call::Set(Kind::User), &[55]) else {
            panic!();
        };
        who.groups = vec![70_000];
        who
    }

    const DENIED: Outcome = Outcome::Fail(Errno::PERM);

    #[test]
    fn what_root_is_the_kernel_tells() {
        let root = root();
        for call in [
            Call::Real(Kind::User),
            Call::Effective(Kind::Group),
            Call::GetThree(Kind::User),
            Call::Privileged(Need::Admin),
            Call::Privileged(Need::Chroot),
            Call::RawSocket,
        ] {
            assert_eq!(ask(&root, call, &[]), Outcome::Continue, "{call:?}");
        }
        let chown = |u, g| ask(&root, Call::ChownAt, &[0, 0, u, g]);
        assert_eq!(chown(0, 0xffff_ffff), Outcome::Continue);
        assert_eq!(chown(5, 0xffff_ffff), Outcome::Chown);
        let node = |mode, dev| ask(&root, Call::MakeNode(0), &[1, mode, dev]);
        assert_eq!(node(0o020_666, 0x103), Outcome::StandIn);
        assert_eq!(node(0o020_000, 0), Outcome::Continue);
    }

    #[test]
    fn who_left_root_finds_what_he_set_and_has_no_way_back() {
        let who = user();
        let ids = |call| ask(&who, call, &[8, 16, 24]);
        assert_eq!(ids(Call::Real(Kind::User)), Outcome::Value(55));
        assert_eq!(ids(Call::Effective(Kind::Group)), Outcome::Value(66));
        let writes = [8, 16, 24].map(|at| (at, 55_u32.to_ne_bytes().to_vec()));
        assert_eq!(
            ids(Call::GetThree(Kind::User)),
            Outcome::Write(writes.into(), 0)
        );
        for call in [
            Call::Set(Kind::User),
            Call::Set(Kind::Group),
            Call::SetGroups,
            Call::Privileged(Need::Admin),
            Call::Privileged(Need::Chroot),
            Call::RawSocket,
            Call::Unshare,
        ] {
            assert_eq!(ask(&who, call, &[]), DENIED, "{call:?}");
        }
        assert_eq!(
            ask(&who, Call::Unshare, &[CLONE_NEWUSER]),
            Outcome::Continue
        );
        assert_eq!(ask(&who, Call::Set(Kind::User), &[55]), Outcome::Value(0));
        assert_eq!(
            ask(&who, Call::SetFile(Kind::User), &[0]),
            Outcome::Value(55)
        );
        let node = ask(&who, Call::MakeNode(1), &[0, 1, 0o060_600, 0x103]);
        assert_eq!(node, DENIED);
        let chown = |u, g| ask(&who, Call::ChownOpen, &[0, u, g]);
        assert_eq!(chown(0, 0), DENIED);
        assert_eq!(chown(55, 70_000), Outcome::Chown);
        assert_eq!(chown(u64::MAX, 66), Outcome::Chown);
        assert_eq!(chown(u64::MAX, 67), DENIED);
    }

    #[test]
    fn without_the_capability_root_may_not_either() {
        let root = Credentials::root(CapabilitySet::empty(), Vec::new());
        let ask = |call, arguments: &[u64]| ask(&root, call, arguments);
        assert_eq!(ask(Call::Set(Kind::User), &[5]), DENIED);
        assert_eq!(ask(Call::Set(Kind::User), &[0]), Outcome::Value(0));
        assert_eq!(ask(Call::SetGroups, &[0]), DENIED);
        assert_eq!(ask(Call::ChownOpen, &[0, 5, 5]), DENIED);
        assert_eq!(ask(Call::MakeNode(0), &[0, 0o060_600, 1]), DENIED);
    }

    /// As setpriv(1) and servers do it that keep a capability.
    #[test]
    fn capabilities_can_be_kept() {
        let all = root().capabilities.permitted;
        let header = |at: u64, into: &mut [u8]| {
            let sets = Layout::Version3.write(Capabilities::all(CapabilitySet::SETGID));
            let all = [&0x2008_0522_u32.to_ne_bytes()[..], &[0; 4], &sets].concat();
            into.copy_from_slice(&all[at as usize..at as usize + into.len()]);
            Ok(())
        };
        let ask = |who: &Credentials, call, arguments: &[u64]| {
            answer(&question(call, Width::Full, arguments), who, &header)
        };
        let Outcome::BecomeAndContinue(keeping) = ask(&root(), Call::KeepCapabilities, &[8, 1])
        else {
            panic!();
        };
        let Outcome::Become(user, 0) = ask(&keeping, Call::Set(Kind::User), &[5]) else {
            panic!();
        };
        assert_eq!(user.capabilities.permitted, all);
        assert_eq!(ask(&user, Call::Set(Kind::Group), &[5]), DENIED);
        let Outcome::BecomeAndContinue(able) = ask(&user, Call::SetCapabilities, &[0, 8]) else {
            panic!();
        };
        assert_eq!(able.capabilities.permitted, CapabilitySet::SETGID);
        let changed = ask(&able, Call::Set(Kind::Group), &[5]);
        assert!(matches!(changed, Outcome::Become(..)), "{changed:?}");
        assert_eq!(ask(&able, Call::Set(Kind::User), &[0]), DENIED);
        let sets = Layout::Version3.write(able.capabilities);
        assert_eq!(
            ask(&able, Call::GetCapabilities, &[0, 99]),
            Outcome::Write(vec![(99, sets)], 0)
        );
        assert_eq!(
            ask(&root(), Call::GetCapabilities, &[0, 99]),
            Outcome::Continue
        );
        let none = Credentials {
            capabilities: Capabilities::none(),
            ..user
        };
        assert_eq!(ask(&none, Call::SetCapabilities, &[0, 8]), DENIED);
    }

    #[test]
    fn groups_are_read_and_written() {
        let root = root();
        let memory = |at: u64, into: &mut [u8]| {
            let all = [9_u32, 7, 4_000_000].map(u32::to_ne_bytes).concat();
            let from = all.get(at as usize..at as usize + into.len());
            into.copy_from_slice(from.ok_or(Errno::FAULT)?);
            Ok(())
        };
        let ask = |who: &Credentials, call, width, arguments: &[u64]| {
            answer(&question(call, width, arguments), who, &memory)
        };
        let set = |width, count| ask(&root, Call::SetGroups, width, &[count, 0]);
        let Outcome::Become(who, 0) = set(Width::Full, 3) else {
            panic!();
        };
        assert_eq!(who.groups, [7, 9, 4_000_000]);
        assert_eq!(set(Width::Full, 4), Outcome::Fail(Errno::FAULT));
        assert_eq!(set(Width::Full, 65_537), Outcome::Fail(Errno::INVAL));
        assert_eq!(set(Width::Full, 0), Outcome::Value(0));
        let Outcome::Become(short, 0) = set(Width::Short, 2) else {
            panic!();
        };
        assert_eq!(short.groups, [0, 9]);

        let get = |width, room| ask(&who, Call::GetGroups, width, &[room, 64]);
        assert_eq!(get(Width::Full, 0), Outcome::Value(3));
        assert_eq!(get(Width::Full, 2), Outcome::Fail(Errno::INVAL));
        assert_eq!(
            get(Width::Full, u64::from(u32::MAX)),
            Outcome::Fail(Errno::INVAL)
        );
        let bytes = [7_u32, 9, 4_000_000].map(u32::to_ne_bytes).concat();
        assert_eq!(get(Width::Full, 3), Outcome::Write(vec![(64, bytes)], 3));
        let bytes = [7_u16, 9, 65_534].map(u16::to_ne_bytes).concat();
        assert_eq!(get(Width::Short, 9), Outcome::Write(vec![(64, bytes)], 3));
    }

    #[test]
    fn old_calls_have_ids_of_16_bits() {
        let root = root();
        let nothing = |_: u64, _: &mut [u8]| Ok(());
        let ask = |who: &Credentials, call, arguments: &[u64]| {
            answer(&question(call, Width::Short, arguments), who, &nothing)
        };
        let three = ask(&root, Call::SetThree(Kind::User), &[0xffff, 7, 0xffff]);
        let Outcome::Become(who, 0) = three else {
            panic!();
        };
        assert_eq!((who.uid.real, who.uid.effective, who.uid.saved), (0, 7, 0));
        let mut who = who;
        who.uid.effective = 70_000;
        assert_eq!(
            ask(&who, Call::Effective(Kind::User), &[]),
            Outcome::Value(65_534)
        );
    }
}
