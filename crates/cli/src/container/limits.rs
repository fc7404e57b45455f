//! Flags that limit all of a container's processes together, checked as Docker checks them.

use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::FileTypeExt as _;

use clap::Args;
use minidock_engine::spec::{DeviceNumber, DeviceRate, Limits};

use super::wishes::{bytes, number};
use super::wrong::{Wrong, parse_each, parse_one, wrong, wrong_with};
use crate::failure::Failure;

/// The flags.
#[derive(Debug, Args)]
pub struct LimitFlags {
    /// Limit the memory of all processes together
    #[arg(short, long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Limit memory and swap together; -1 for swap without limit
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Memory that is taken away last
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Limit the processors' time, as a number of processors
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub cpus: Option<String>,
    /// Limit the processors' time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_quota: Option<String>,
    /// The period, in microseconds: 1000 to 1000000
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_period: Option<String>,
    /// Share of the processors where others want them too: 2 to 262144, 1024 is usual
    #[arg(short = 'c', long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub cpu_shares: Option<String>,
    /// Processors to run on: 0-3, 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use: 0-3, 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Limit the number of processes; -1 is unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<String>,
    /// Share of block devices: 10 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub blkio_weight: Option<String>,
    /// Share of one block device
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub blkio_weight_device: Vec<String>,
    /// Limit what is read from a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_read_bps: Vec<String>,
    /// Limit what is written to a device
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_write_bps: Vec<String>,
    /// Limit how often a device is read
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_read_iops: Vec<String>,
    /// Limit how often a device is written to
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_write_iops: Vec<String>,
    /// The control group to make the container's in
    #[arg(long, value_name = "GROUP")]
    pub cgroup_parent: Option<String>,
    /// Where no control group can be had: strict (fail) or best-effort (limit each process)
    #[arg(long, value_name = "HOW", default_value = "strict")]
    pub limits: String,
}

/// Docker's least amount of memory: below it nothing starts.
const LEAST_MEMORY: i64 = 6 << 20;

/// Understands them.
pub fn limits(flags: &LimitFlags) -> Result<Limits, Failure> {
    let memory = size("--memory", flags.memory.as_ref())?;
    if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        return Err(
            Failure::usage("Minimum memory limit allowed is 6MB").hint("give --memory more")
        );
    }
    let memory_swap = swap(flags, memory)?;
    let memory_reservation = size("--memory-reservation", flags.memory_reservation.as_ref())?;
    if let (Some(memory), Some(reservation)) = (memory, memory_reservation)
        && reservation > memory
    {
        return Err(Failure::usage(
            "Minimum memory limit can not be less than memory reservation limit",
        )
        .hint("give --memory more, or --memory-reservation less"));
    }
    let (cpu_quota, cpu_period) = processor_time(flags)?;
    Ok(Limits {
        memory,
        memory_swap,
        memory_reservation,
        cpu_quota,
        cpu_period,
        cpu_shares: number("--cpu-shares", flags.cpu_shares.as_ref(), 0..=i64::MAX)?
            .map(i64::cast_unsigned),
        cpuset_cpus: list("--cpuset-cpus", flags.cpuset_cpus.as_ref())?,
        cpuset_mems: list("--cpuset-mems", flags.cpuset_mems.as_ref())?,
        pids: number("--pids-limit", flags.pids_limit.as_ref(), -1..=i64::MAX)?
            .filter(|limit| *limit > 0),
        blkio_weight: parse_one("--blkio-weight", flags.blkio_weight.as_ref(), weight)?
            .filter(|weight| *weight != 0),
        weight_devices: parse_each(
            "--blkio-weight-device",
            &flags.blkio_weight_device,
            |text| {
                let (device, rest) = device(text)?;
                Ok((device, weight(rest)?))
            },
        )?,
        read_bps: parse_each("--device-read-bps", &flags.device_read_bps, byte_rate)?,
        write_bps: parse_each("--device-write-bps", &flags.device_write_bps, byte_rate)?,
        read_iops: parse_each("--device-read-iops", &flags.device_read_iops, rate)?,
        write_iops: parse_each("--device-write-iops", &flags.device_write_iops, rate)?,
        group: flags
            .cgroup_parent
            .clone()
            .filter(|group| !group.is_empty()),
        best_effort: match flags.limits.as_str() {
            "strict" => false,
            "best-effort" => true,
            other => {
                return Err(Failure::usage(format!(
                    "invalid argument {other:?} for --limits: it is strict or best-effort"
                )));
            }
        },
    })
}

/// A size in bytes; 0 is none.
fn size(flag: &str, value: Option<&String>) -> Result<Option<i64>, Failure> {
    let size = parse_one(flag, value, |text| {
        let size = bytes(text).and_then(|size| i64::try_from(size).ok());
        size.map_or_else(|| wrong(format!("invalid size: '{text}'")), Ok)
    })?;
    Ok(size.filter(|size| *size != 0))
}

fn swap(flags: &LimitFlags, memory: Option<i64>) -> Result<Option<i64>, Failure> {
    let swap = match flags.memory_swap.as_deref() {
        Some("-1") => Some(-1),
        _ => size("--memory-swap", flags.memory_swap.as_ref())?,
    };
    match (memory, swap) {
        (None, Some(1..)) => Err(Failure::usage(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        )
        .hint("give --memory as well")),
        (Some(memory), Some(swap @ 0..)) if swap < memory => Err(Failure::usage(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        )
        .hint("--memory-swap is memory and swap together")),
        // Swap is not limited anyway.
        (None, Some(_)) => Ok(None),
        (_, swap) => Ok(swap),
    }
}

/// The quota and the period of `--cpus`, or of the two flags that say it in detail.
fn processor_time(flags: &LimitFlags) -> Result<(Option<i64>, Option<u64>), Failure> {
    const PERIOD: f64 = 100_000.0;
    let positive = |number: &i64| *number > 0;
    let quota = number("--cpu-quota", flags.cpu_quota.as_ref(), -1..=i64::MAX)?.filter(positive);
    if quota.is_some_and(|quota| quota < 1_000) {
        return Err(Failure::usage(
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ));
    }
    let period = number("--cpu-period", flags.cpu_period.as_ref(), 0..=1_000_000)?.filter(positive);
    if period.is_some_and(|period| period < 1_000) {
        return Err(Failure::usage(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    let cpus = parse_one("--cpus", flags.cpus.as_ref(), |text| {
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => wrong("it is no number of processors"),
        }
    })?;
    let Some(cpus) = cpus.filter(|cpus| *cpus > 0.0) else {
        return Ok((quota, period.map(i64::cast_unsigned)));
    };
    let conflict = match (quota, period) {
        (Some(_), _) => "CPU Quota",
        (_, Some(_)) => "CPU Period",
        _ => "",
    };
    if !conflict.is_empty() {
        return Err(Failure::usage(format!(
            "Conflicting options: Nano CPUs and {conflict} cannot both be set"
        ))
        .hint("--cpus says both: give it alone"));
    }
    let have = std::thread::available_parallelism().map_or(1, usize::from);
    let most = u32::try_from(have).map_or(f64::MAX, f64::from);
    if !(0.01..=most).contains(&cpus) {
        return Err(Failure::usage(format!(
            "range of CPUs is from 0.01 to {most:.2}, as there are only {have} CPUs available"
        )));
    }
    Ok((Some((cpus * PERIOD).round() as i64), Some(PERIOD as u64)))
}

/// A list of numbers and ranges, as cpuset(7) has it.
fn list(flag: &str, value: Option<&String>) -> Result<Option<String>, Failure> {
    let list = parse_one(flag, value, |text| {
        let numeral = |text: &str| text.parse::<u32>().ok();
        let good = text.is_empty()
            || text.split(',').all(|part| match part.split_once('-') {
                Some((from, to)) => {
                    matches!((numeral(from), numeral(to)), (Some(from), Some(to)) if from <= to)
                }
                None => numeral(part).is_some(),
            });
        if good {
            Ok(text.to_owned())
        } else {
            wrong("it is no list such as 0-2,7")
        }
    })?;
    Ok(list.filter(|list| !list.is_empty()))
}

fn weight(text: &str) -> Result<u16, Wrong> {
    match text.parse() {
        Ok(weight @ (0 | 10..=1_000)) => Ok(weight),
        _ => wrong("Range of blkio weight is from 10 to 1000"),
    }
}

/// A device's number and what follows its path.
fn device(text: &str) -> Result<(DeviceNumber, &str), Wrong> {
    let Some((path, rest)) = text.rsplit_once(':') else {
        return wrong("it is not of the form DEVICE:NUMBER");
    };
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(e) => {
            return wrong_with(
                format!("cannot look at {path}: {e}"),
                "name a block device of /dev",
            );
        }
    };
    if !found.file_type().is_block_device() {
        return wrong_with(format!("{path} is no block device"), "lsblk lists them");
    }
    let number = found.st_rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Ok(((major, minor), rest))
}

fn rate(text: &str) -> Result<DeviceRate, Wrong> {
    let (device, rest) = device(text)?;
    match rest.parse() {
        Ok(rate) => Ok((device, rate)),
        Err(_) => wrong(format!("{rest:?} is no number")),
    }
}

fn byte_rate(text: &str) -> Result<DeviceRate, Wrong> {
    let (device, rest) = device(text)?;
    match bytes(rest) {
        Some(rate) => Ok((device, rate)),
        None => wrong(format!("invalid size: '{rest}'")),
    }
}
