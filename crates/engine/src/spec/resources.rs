//! Limits on all of a container's processes together, as the OCI runtime specification's `linux.resources`.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder,
    LinuxWeightDeviceBuilder,
};

use super::{DeviceRate, Limits};

/// What was asked for; `None` where nothing was.
pub(super) fn resources(limits: &Limits) -> Result<Option<LinuxResources>, OciSpecError> {
    if *limits
        == (Limits {
            group: limits.group.clone(),
            best_effort: limits.best_effort,
            ..Limits::default()
        })
    {
        return Ok(None);
    }
    let mut resources = LinuxResourcesBuilder::default().build()?;
    if limits.memory.is_some()
        || limits.memory_reservation.is_some()
        || limits.memory_swap.is_some()
    {
        let mut memory = LinuxMemoryBuilder::default().build()?;
        memory
            .set_limit(limits.memory)
            .set_reservation(limits.memory_reservation)
            .set_swap(swap(limits));
        resources.set_memory(Some(memory));
    }
    if limits.cpu_quota.is_some()
        || limits.cpu_period.is_some()
        || limits.cpu_shares.is_some()
        || limits.cpuset_cpus.is_some()
        || limits.cpuset_mems.is_some()
    {
        let mut cpu = LinuxCpuBuilder::default().build()?;
        cpu.set_quota(limits.cpu_quota)
            .set_period(limits.cpu_period)
            .set_shares(limits.cpu_shares)
            .set_cpus(limits.cpuset_cpus.clone())
            .set_mems(limits.cpuset_mems.clone());
        resources.set_cpu(Some(cpu));
    }
    if let Some(pids) = limits.pids {
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(pids).build()?));
    }
    let throttles = [
        &limits.read_bps,
        &limits.write_bps,
        &limits.read_iops,
        &limits.write_iops,
    ];
    if limits.blkio_weight.is_some()
        || !limits.weight_devices.is_empty()
        || throttles.iter().any(|devices| !devices.is_empty())
    {
        let mut block = LinuxBlockIoBuilder::default().build()?;
        let weights = limits.weight_devices.iter().map(|(device, weight)| {
            LinuxWeightDeviceBuilder::default()
                .major(i64::from(device.0))
                .minor(i64::from(device.1))
                .weight(*weight)
                .build()
        });
        block
            .set_weight(limits.blkio_weight)
            .set_weight_device(some(weights.collect::<Result<_, _>>()?))
            .set_throttle_read_bps_device(throttled(throttles[0])?)
            .set_throttle_write_bps_device(throttled(throttles[1])?)
            .set_throttle_read_iops_device(throttled(throttles[2])?)
            .set_throttle_write_iops_device(throttled(throttles[3])?);
        resources.set_block_io(Some(block));
    }
    Ok(Some(resources))
}

/// Memory and swap together. Docker lets a container with a limit for memory swap as much again.
fn swap(limits: &Limits) -> Option<i64> {
    let twice = || limits.memory.map(|memory| memory.saturating_mul(2));
    limits.memory_swap.or_else(twice)
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn throttled(devices: &[DeviceRate]) -> Result<Option<Vec<LinuxThrottleDevice>>, OciSpecError> {
    let each = devices.iter().map(|(device, rate)| {
        LinuxThrottleDeviceBuilder::default()
            .major(i64::from(device.0))
            .minor(i64::from(device.1))
            .rate(*rate)
            .build()
    });
    Ok(some(each.collect::<Result<_, _>>()?))
}
