//! Which namespaces a container has for itself. The user namespace always is one of them: without it nothing could be set up.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType};

use super::{Ipc, Network, Wishes};

pub(super) fn namespaces(wishes: &Wishes) -> Result<Vec<LinuxNamespace>, oci_spec::OciSpecError> {
    use LinuxNamespaceType as T;
    let wanted = &wishes.namespaces;
    let kinds = [
        (T::User, true),
        (T::Pid, !wanted.host_pid),
        (T::Mount, true),
        (T::Uts, !wanted.host_uts),
        (T::Ipc, wanted.ipc != Ipc::Host),
        (T::Cgroup, !wanted.host_cgroup),
        (T::Network, wishes.network == Network::None),
    ];
    kinds
        .into_iter()
        .filter(|(_, own)| *own)
        .map(|(kind, _)| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect()
}
