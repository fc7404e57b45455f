//! When a container is started again.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `--restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When it ended with another exit status than 0.
    OnFailure {
        /// At most so often; 0 is without end.
        most: u32,
    },
    /// Whenever it ended, and when the machine has started again.
    Always,
    /// The same, unless somebody stopped it.
    UnlessStopped,
}

impl FromStr for Restart {
    type Err = String;

    /// Docker's notation: `no`, `always`, `unless-stopped`, `on-failure[:MOST]`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, most) = match text.split_once(':') {
            Some((name, most)) => (name, Some(most)),
            None => (text, None),
        };
        let policy = match name {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => {
                let most = most.map_or(Ok(0), |most| {
                    most.parse().map_err(|_| {
                        "maximum retry count must be a whole number, 0 or more".to_owned()
                    })
                });
                return most.map(|most| Self::OnFailure { most });
            }
            other => {
                return Err(format!(
                    "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                ));
            }
        };
        match most {
            Some(_) => Err("maximum retry count can only be used with 'on-failure'".to_owned()),
            None => Ok(policy),
        }
    }
}

impl Restart {
    /// Docker's name for it, and its maximum retry count.
    pub fn name(self) -> (&'static str, u32) {
        match self {
            Self::No => ("no", 0),
            Self::OnFailure { most } => ("on-failure", most),
            Self::Always => ("always", 0),
            Self::UnlessStopped => ("unless-stopped", 0),
        }
    }

    /// Whether a container that ended with this status, after having been started again so often, is to be started again.
    pub(crate) fn again(self, status: u8, restarts: u64) -> bool {
        match self {
            Self::No => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure { most } => status != 0 && (most == 0 || restarts < u64::from(most)),
        }
    }
}

/// How long to wait before the next start: 100 ms, and twice as long each time, up to a minute. One that ran for ten seconds
/// begins anew.
#[derive(Debug, Default)]
pub(crate) struct BackOff {
    last: Option<Duration>,
}

impl BackOff {
    pub fn next(&mut self, ran: Duration) -> Duration {
        const FIRST: Duration = Duration::from_millis(100);
        const MOST: Duration = Duration::from_secs(60);
        const LONG: Duration = Duration::from_secs(10);
        let next = match self.last {
            Some(last) if ran < LONG => (last * 2).min(MOST),
            _ => FIRST,
        };
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_is_dockers() {
        for (text, policy) in [
            ("no", Restart::No),
            ("", Restart::No),
            ("always", Restart::Always),
            ("unless-stopped", Restart::UnlessStopped),
            ("on-failure", Restart::OnFailure { most: 0 }),
            ("on-failure:5", Restart::OnFailure { most: 5 }),
        ] {
            assert_eq!(text.parse(), Ok(policy), "{text}");
        }
        for bad in [
            "sometimes",
            "always:3",
            "on-failure:x",
            "on-failure:-1",
            "no:1",
        ] {
            assert!(bad.parse::<Restart>().is_err(), "{bad}");
        }
    }

    #[test]
    fn who_is_started_again() {
        let some = Restart::OnFailure { most: 2 };
        assert!(!Restart::No.again(1, 0));
        assert!(Restart::Always.again(0, 1000));
        assert!(some.again(1, 1) && !some.again(1, 2) && !some.again(0, 0));
        assert!(Restart::OnFailure { most: 0 }.again(1, 1000));
    }

    #[test]
    fn pauses_grow_until_it_runs_for_a_while() {
        let mut back_off = BackOff::default();
        let mut next = |seconds| back_off.next(Duration::from_secs(seconds)).as_millis();
        assert_eq!([next(0), next(0), next(9)], [100, 200, 400]);
        assert_eq!([next(10), next(0)], [100, 200]);
        assert_eq!((0..20).map(|_| next(0)).max(), Some(60_000));
    }
}
