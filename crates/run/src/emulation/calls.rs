//! The system calls that root emulation concerns.

/// User or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Group,
}

/// What a call is about, whatever its number and the width of its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// getuid(2) and getgid(2).
    Real(Kind),
    /// geteuid(2) and getegid(2).
    Effective(Kind),
    /// getresuid(2) and getresgid(2).
    GetThree(Kind),
    /// setuid(2) and setgid(2).
    Set(Kind),
    /// setreuid(2) and setregid(2).
    SetTwo(Kind),
    /// setresuid(2) and setresgid(2).
    SetThree(Kind),
    /// setfsuid(2) and setfsgid(2).
    SetFile(Kind),
    /// getgroups(2).
    GetGroups,
    /// setgroups(2).
    SetGroups,
    /// chown(2), and lchown(2), which does not follow a link.
    Chown { follow: bool },
    /// fchown(2).
    ChownOpen,
    /// fchownat(2).
    ChownAt,
    /// mknod(2) and mknodat(2), and which argument is the path; mode and device follow.
    MakeNode(u8),
    /// A raw or packet socket.
    RawSocket,
    /// What only a capability allows.
    Privileged(Need),
    /// capget(2).
    GetCapabilities,
    /// capset(2).
    SetCapabilities,
    /// prctl(2) with `PR_SET_KEEPCAPS`.
    KeepCapabilities,
    /// unshare(2), which is for everybody with a user namespace and for nobody else without.
    Unshare,
    /// prlimit64(2) and setrlimit(2): the filter answers.
    SetLimit(u8),
}

/// Which capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Chroot,
    Admin,
}

/// How wide ids are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Full,
    /// 16 bits: what 32-bit programs had before Linux 2.4.
    Short,
}

/// In the order of their names. `Short` is where the name means the old call in 32-bit ABIs.
pub(crate) const CALLS: [(&str, Call, Width); 59] = {
    use Call::{
        Chown, ChownAt, ChownOpen, Effective, GetCapabilities, GetGroups, GetThree,
        KeepCapabilities, MakeNode, Privileged, RawSocket, Real, Set, SetCapabilities, SetFile,
        SetGroups, SetLimit, SetThree, SetTwo, Unshare,
    };
    use Kind::{Group, User};
    use Need::{Admin, Chroot};
    use Width::{Full, Short};
    [
        ("capget", GetCapabilities, Full),
        ("capset", SetCapabilities, Full),
        ("chown", Chown { follow: true }, Short),
        ("chown32", Chown { follow: true }, Full),
        ("chroot", Privileged(Chroot), Full),
        ("fchown", ChownOpen, Short),
        ("fchown32", ChownOpen, Full),
        ("fchownat", ChownAt, Full),
        ("fsopen", Privileged(Admin), Full),
        ("getegid", Effective(Group), Short),
        ("getegid32", Effective(Group), Full),
        ("geteuid", Effective(User), Short),
        ("geteuid32", Effective(User), Full),
        ("getgid", Real(Group), Short),
        ("getgid32", Real(Group), Full),
        ("getgroups", GetGroups, Short),
        ("getgroups32", GetGroups, Full),
        ("getresgid", GetThree(Group), Short),
        ("getresgid32", GetThree(Group), Full),
        ("getresuid", GetThree(User), Short),
        ("getresuid32", GetThree(User), Full),
        ("getuid", Real(User), Short),
        ("getuid32", Real(User), Full),
        ("lchown", Chown { follow: false }, Short),
        ("lchown32", Chown { follow: false }, Full),
        ("mknod", MakeNode(0), Full),
        ("mknodat", MakeNode(1), Full),
        ("mount", Privileged(Admin), Full),
        ("mount_setattr", Privileged(Admin), Full),
        ("move_mount", Privileged(Admin), Full),
        ("pivot_root", Privileged(Admin), Full),
        ("prctl", KeepCapabilities, Full),
        ("prlimit64", SetLimit(1), Full),
        ("setdomainname", Privileged(Admin), Full),
        ("setfsgid", SetFile(Group), Short),
        ("setfsgid32", SetFile(Group), Full),
        ("setfsuid", SetFile(User), Short),
        ("setfsuid32", SetFile(User), Full),
        ("setgid", Set(Group), Short),
        ("setgid32", Set(Group), Full),
        ("setgroups", SetGroups, Short),
        ("setgroups32", SetGroups, Full),
        ("sethostname", Privileged(Admin), Full),
        ("setns", Privileged(Admin), Full),
        ("setregid", SetTwo(Group), Short),
        ("setregid32", SetTwo(Group), Full),
        ("setresgid", SetThree(Group), Short),
        ("setresgid32", SetThree(Group), Full),
        ("setresuid", SetThree(User), Short),
        ("setresuid32", SetThree(User), Full),
        ("setreuid", SetTwo(User), Short),
        ("setreuid32", SetTwo(User), Full),
        ("setrlimit", SetLimit(0), Full),
        ("setuid", Set(User), Short),
        ("setuid32", Set(User), Full),
        ("socket", RawSocket, Full),
        ("umount", Privileged(Admin), Full),
        ("umount2", Privileged(Admin), Full),
        ("unshare", Unshare, Full),
    ]
};
