//! `linux.resources` of the OCI runtime specification, whose terms are those of control groups of version 1, as settings of
//! version 2.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::limits_anything;
use crate::PlanError;

/// A file of a group and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The file's name; what is before the first dot is the controller.
    pub file: String,
    /// The value.
    pub value: String,
}

impl Setting {
    fn new(file: &str, value: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            value: value.into(),
        }
    }

    /// The controller that has to be enabled.
    pub fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }
}

/// The default period of the processor's time, in microseconds; the kernel's own.
const PERIOD: u64 = 100_000;

/// What is to be written for a container's limits.
///
/// # Errors
/// [`PlanError::Unsupported`] names the first one that control groups of version 2 do not have.
pub fn settings(resources: &LinuxResources) -> Result<Vec<Setting>, PlanError> {
    let mut all = Vec::new();
    if let Some(memory) = resources.memory() {
        push_memory(&mut all, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        push_cpu(&mut all, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        all.push(Setting::new("pids.max", or_max(pids.limit())));
    }
    if let Some(block) = resources.block_io() {
        push_block(&mut all, block)?;
    }
    for (file, value) in resources.unified().iter().flatten() {
        // A file elsewhere is no limit of this group.
        if file.contains('/') || file.starts_with("cgroup.") {
            return unsupported("linux.resources.unified", Some(file.clone()));
        }
        all.push(Setting::new(file, value.clone()));
    }
    let mut rest = resources.clone();
    rest.set_memory(None)
        .set_cpu(None)
        .set_pids(None)
        .set_block_io(None)
        .set_unified(None);
    if limits_anything(&rest) {
        return unsupported(
            "linux.resources",
            Some("only memory, cpu, pids, blockIO and unified are".to_owned()),
        );
    }
    Ok(all)
}

fn unsupported<T>(field: &'static str, detail: Option<String>) -> Result<T, PlanError> {
    Err(PlanError::Unsupported { field, detail })
}

/// Negative numbers, and 0 where that would be no limit at all, are no limit.
fn or_max(limit: i64) -> String {
    if limit > 0 {
        limit.to_string()
    } else {
        "max".to_owned()
    }
}

fn push_memory(all: &mut Vec<Setting>, memory: &LinuxMemory) -> Result<(), PlanError> {
    let limit = memory.limit().filter(|limit| *limit != 0);
    if let Some(limit) = limit {
        all.push(Setting::new("memory.max", or_max(limit)));
    }
    if let Some(reservation) = memory.reservation().filter(|r| *r != 0) {
        all.push(Setting::new("memory.low", or_max(reservation)));
    }
    if let Some(swap) = memory.swap().filter(|swap| *swap != 0) {
        // Version 1 counts memory and swap together, version 2 swap alone.
        let value = match (swap, limit) {
            (..0, _) => "max".to_owned(),
            (swap, Some(limit)) if limit > 0 && swap >= limit => (swap - limit).to_string(),
            _ => {
                return unsupported(
                    "linux.resources.memory.swap",
                    Some(format!(
                        "{swap} is no limit for memory and swap together, which takes one for memory that is not larger"
                    )),
                );
            }
        };
        all.push(Setting::new("memory.swap.max", value));
    }
    let others = [
        (memory.kernel().is_some(), "linux.resources.memory.kernel"),
        (
            memory.kernel_tcp().is_some(),
            "linux.resources.memory.kernelTCP",
        ),
        (
            memory.swappiness().is_some(),
            "linux.resources.memory.swappiness",
        ),
        (
            memory.disable_oom_killer() == Some(true),
            "linux.resources.memory.disableOOMKiller",
        ),
    ];
    match others.iter().find(|(given, _)| *given) {
        Some((_, field)) => unsupported(field, Some("cgroup v2 has no such limit".to_owned())),
        None => Ok(()),
    }
}

fn push_cpu(all: &mut Vec<Setting>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        all.push(Setting::new(
            "cpu.weight",
            weight_of_shares(shares).to_string(),
        ));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let value = format!(
            "{} {}",
            or_max(quota.unwrap_or(-1)),
            period.unwrap_or(PERIOD)
        );
        all.push(Setting::new("cpu.max", value));
    }
    if let Some(burst) = cpu.burst() {
        all.push(Setting::new("cpu.max.burst", burst.to_string()));
    }
    if let Some(idle) = cpu.idle() {
        all.push(Setting::new("cpu.idle", idle.to_string()));
    }
    for (file, list) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            all.push(Setting::new(file, list.clone()));
        }
    }
    if cpu.realtime_period().is_some_and(|p| p != 0)
        || cpu.realtime_runtime().is_some_and(|r| r != 0)
    {
        return unsupported(
            "linux.resources.cpu.realtimeRuntime",
            Some("cgroup v2 has no such limit".to_owned()),
        );
    }
    Ok(())
}

/// Shares are 2 to 262,144 and 1,024 by default, weights 1 to 10,000; the line that runc, crun and systemd agree on.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn push_block(all: &mut Vec<Setting>, block: &LinuxBlockIo) -> Result<(), PlanError> {
    if let Some(weight) = block.weight().filter(|weight| *weight != 0) {
        all.push(Setting::new(
            "io.weight",
            format!("default {}", weight_of_block(weight)),
        ));
    }
    for device in block.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let value = format!(
                "{}:{} {}",
                device.major(),
                device.minor(),
                weight_of_block(weight)
            );
            all.push(Setting::new("io.weight", value));
        }
    }
    let throttles: [(&str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("rbps", block.throttle_read_bps_device()),
        ("wbps", block.throttle_write_bps_device()),
        ("riops", block.throttle_read_iops_device()),
        ("wiops", block.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        for device in devices.iter().flatten() {
            let rate = match device.rate() {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            let value = format!("{}:{} {key}={rate}", device.major(), device.minor());
            all.push(Setting::new("io.max", value));
        }
    }
    if block.leaf_weight().is_some_and(|weight| weight != 0) {
        return unsupported(
            "linux.resources.blockIO.leafWeight",
            Some("cgroup v2 has no such limit".to_owned()),
        );
    }
    Ok(())
}

/// Weights of block devices are 10 to 1,000 in version 1, 1 to 10,000 in version 2.
fn weight_of_block(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1_000)) - 10) * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    fn written(json: &str) -> String {
        settings(&resources(json))
            .unwrap()
            .iter()
            .map(|s| format!("{}={};", s.file, s.value))
            .collect()
    }

    #[test]
    fn limits_become_files_of_version_2() {
        for (json, expected) in [
            ("{}", ""),
            (r#"{"devices":[]}"#, ""),
            (
                r#"{"memory":{"limit":1048576,"swap":3145728,"reservation":4096}}"#,
                "memory.max=1048576;memory.low=4096;memory.swap.max=2097152;",
            ),
            (
                r#"{"memory":{"limit":1048576,"swap":-1}}"#,
                "memory.max=1048576;memory.swap.max=max;",
            ),
            (
                r#"{"memory":{"limit":1048576,"swap":1048576}}"#,
                "memory.max=1048576;memory.swap.max=0;",
            ),
            (r#"{"memory":{"limit":-1}}"#, "memory.max=max;"),
            (r#"{"pids":{"limit":100}}"#, "pids.max=100;"),
            (r#"{"pids":{"limit":-1}}"#, "pids.max=max;"),
            (r#"{"cpu":{"shares":1024}}"#, "cpu.weight=39;"),
            (r#"{"cpu":{"shares":2}}"#, "cpu.weight=1;"),
            (r#"{"cpu":{"shares":262144}}"#, "cpu.weight=10000;"),
            (
                r#"{"cpu":{"quota":150000,"period":50000}}"#,
                "cpu.max=150000 50000;",
            ),
            (r#"{"cpu":{"quota":50000}}"#, "cpu.max=50000 100000;"),
            (r#"{"cpu":{"period":50000}}"#, "cpu.max=max 50000;"),
            (
                r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#,
                "cpuset.cpus=0-1;cpuset.mems=0;",
            ),
            (r#"{"blockIO":{"weight":10}}"#, "io.weight=default 1;"),
            (r#"{"blockIO":{"weight":1000}}"#, "io.weight=default 10000;"),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}]}}"#,
                "io.max=8:0 rbps=1000;",
            ),
            (r#"{"unified":{"memory.high":"5"}}"#, "memory.high=5;"),
        ] {
            assert_eq!(written(json), expected, "{json}");
        }
    }

    #[test]
    fn what_version_2_lacks_is_refused_by_name() {
        for (json, field) in [
            (r#"{"memory":{"swap":1048576}}"#, "memory.swap"),
            (r#"{"memory":{"limit":1048576,"swap":1000}}"#, "memory.swap"),
            (r#"{"memory":{"swappiness":10}}"#, "swappiness"),
            (
                r#"{"memory":{"disableOOMKiller":true}}"#,
                "disableOOMKiller",
            ),
            (r#"{"cpu":{"realtimeRuntime":1}}"#, "realtimeRuntime"),
            (r#"{"unified":{"../x":"5"}}"#, "unified"),
            (r#"{"unified":{"cgroup.procs":"5"}}"#, "unified"),
            (
                r#"{"devices":[{"allow":false,"access":"rwm"}]}"#,
                "linux.resources",
            ),
        ] {
            let error = settings(&resources(json)).unwrap_err().to_string();
            assert!(error.contains(field), "{json}: {error}");
        }
    }

    #[test]
    fn a_setting_names_its_controller() {
        assert_eq!(Setting::new("memory.swap.max", "1").controller(), "memory");
        assert_eq!(Setting::new("io.max", "1").controller(), "io");
    }
}
