//! Amounts that are placed and accounted: thousandths of a core and bytes.

use std::ops::{Add, AddAssign, Sub, SubAssign};

/// CPU and memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: i64,
    /// Bytes.
    pub memory_bytes: i64,
}

impl Resources {
    /// Whether `demand` fits into these amounts.
    #[must_use]
    pub fn holds(&self, demand: &Resources) -> bool {
        demand.cpu_millis <= self.cpu_millis && demand.memory_bytes <= self.memory_bytes
    }

    /// The larger of both in each dimension.
    #[must_use]
    pub fn max(self, other: Resources) -> Resources {
        Resources {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }
}

impl Add for Resources {
    type Output = Resources;

    fn add(self, rhs: Resources) -> Resources {
        Resources {
            cpu_millis: self.cpu_millis.saturating_add(rhs.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(rhs.memory_bytes),
        }
    }
}

impl Sub for Resources {
    type Output = Resources;

    fn sub(self, rhs: Resources) -> Resources {
        Resources {
            cpu_millis: self.cpu_millis.saturating_sub(rhs.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(rhs.memory_bytes),
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, rhs: Resources) {
        *self = *self + rhs;
    }
}

impl SubAssign for Resources {
    fn sub_assign(&mut self, rhs: Resources) {
        *self = *self - rhs;
    }
}

impl std::iter::Sum for Resources {
    fn sum<I: Iterator<Item = Resources>>(iter: I) -> Resources {
        iter.fold(Resources::default(), Add::add)
    }
}
