//! What is tried again, and when: capped exponential back-off with jitter.

use std::time::Duration;

/// How persistent to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub attempts: u32,
    /// Attempts to connect. Fewer: a wrong name or a server that is down is told soon.
    pub connects: u32,
    /// Delay after the first failure; doubled after each further one.
    pub base: Duration,
    /// Longest delay.
    pub cap: Duration,
    /// Longest delay that a server may ask for with `Retry-After`; one that asks for more has refused.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            connects: 3,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(20),
            patience: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The delay after failure number `failures` (from 1); `None` to give up. `asked` is the least that the server wants.
    pub fn delay(
        &self,
        failures: u32,
        asked: Option<Duration>,
        connecting: bool,
    ) -> Option<Duration> {
        let attempts = if connecting {
            self.connects
        } else {
            self.attempts
        };
        if failures >= attempts {
            return None;
        }
        let asked = asked.unwrap_or_default();
        if asked > self.patience {
            return None;
        }
        let full = self
            .base
            .saturating_mul(1 << (failures - 1).min(16))
            .min(self.cap);
        Some(full.mul_f64(0.5 + 0.5 * random()).max(asked))
    }
}

/// 0 to 1, from the clock: many clients that failed together shall not come back together.
fn random() -> f64 {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.subsec_nanos());
    f64::from(nanos % 1_000_003) / 1_000_003.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backs_off_up_to_the_cap_and_gives_up() {
        let policy = RetryPolicy {
            attempts: 4,
            connects: 2,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(2),
            patience: Duration::from_secs(9),
        };
        let within = |failures: u32, low: f64, high: f64| {
            let delay = policy.delay(failures, None, false).unwrap().as_secs_f64();
            assert!((low..=high).contains(&delay), "{delay}");
        };
        within(1, 0.5, 1.0);
        within(2, 1.0, 2.0);
        within(3, 1.0, 2.0);
        assert_eq!(policy.delay(4, None, false), None);
        assert_eq!(policy.delay(2, None, true), None);
        assert_eq!(
            policy.delay(1, Some(Duration::from_secs(9)), false),
            Some(Duration::from_secs(9))
        );
        assert_eq!(policy.delay(1, Some(Duration::from_secs(10)), false), None);
        assert!(policy.delay(1, Some(Duration::ZERO), false) >= Some(Duration::from_millis(500)));
    }
}
