//! Which version of the protocol and which optional features two sides use. The child names what it can, the parent picks.
//!
//! A version is for what an older side would misunderstand; a new field, which it merely does not see, needs none. A feature is
//! for what one side must know the other does before it relies on it. Both are settled once a session, at Hello. Deliberately
//! absent: guesses from the version of the software, which says nothing about what a build can do.

use std::{collections::BTreeSet, ops::RangeInclusive};

use edgeio_proto::link::v1;

/// The versions of the protocol that this build speaks, the newest of which it prefers. The oldest one stays in for as long as
/// the release before may be on the other side.
pub const SPOKEN: RangeInclusive<u32> = 1..=PROTOCOL;
/// The newest version of the protocol that this build speaks.
pub const PROTOCOL: u32 = 1;

/// Names of optional features.
pub mod feature {
    /// A cluster tells its root of the applications that users deployed at the cluster, and the root records them.
    pub const OWNED_APPLICATIONS: &str = "owned-applications";
    pub use edgeio_domain::child::EXCLUSIVE_LEASE;
    /// A cluster hands a slot back also while an instance of it may run on a worker that is silent, and the root keeps the
    /// order of that one until it is heard again. An older root would stop it.
    pub const RETURNS_SILENT: &str = "returns-silent";
}

/// The features that this build has on either side of a link: a name is added by the commit that makes it true.
pub const FEATURES: &[&str] = &[
    feature::OWNED_APPLICATIONS,
    feature::EXCLUSIVE_LEASE,
    feature::RETURNS_SILENT,
];

/// What two sides have agreed on for one session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// The version of the protocol.
    pub protocol: u32,
    /// The features that both have.
    pub features: BTreeSet<String>,
}

impl Default for Agreed {
    /// What can be relied on when nothing is known: a parent that was restarted takes up sessions whose Hello it has not heard.
    fn default() -> Self {
        Self {
            protocol: *SPOKEN.start(),
            features: BTreeSet::new(),
        }
    }
}

impl Agreed {
    /// What was agreed on in a session of which these features are recorded. Of the versions the oldest is relied on.
    #[must_use]
    pub fn of_before(features: BTreeSet<String>) -> Self {
        Self {
            features,
            ..Self::default()
        }
    }

    /// Whether both sides have a feature.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }
}

/// Two sides have no version of the protocol in common.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the parent speaks versions {} to {} of the protocol, the child {} to {}: upgrade the older one",
    parent.start(), parent.end(), child.start(), child.end()
)]
pub struct NothingInCommon {
    /// What the parent speaks.
    pub parent: RangeInclusive<u32>,
    /// What the child speaks, as it says.
    pub child: RangeInclusive<u32>,
}

/// What a side can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The versions that it speaks.
    pub spoken: RangeInclusive<u32>,
    /// The features that it has.
    pub features: &'static [&'static str],
}

impl Offer {
    /// What this build can do.
    pub const OWN: Offer = Offer {
        spoken: SPOKEN,
        features: FEATURES,
    };

    /// Picks, as the parent, the newest version and all the features that a child's Hello has in common with this.
    ///
    /// # Errors
    /// There is no common version.
    pub fn pick(&self, hello: &v1::Hello) -> Result<Agreed, NothingInCommon> {
        let oldest = hello.protocol_min.max(*self.spoken.start());
        let newest = hello.protocol_max.min(*self.spoken.end());
        if oldest > newest {
            return Err(NothingInCommon {
                parent: self.spoken.clone(),
                child: hello.protocol_min..=hello.protocol_max,
            });
        }
        Ok(Agreed {
            protocol: newest,
            features: self.shared(&hello.features),
        })
    }

    /// Takes, as the child, what the parent picked. A feature that this side never named is not taken.
    ///
    /// # Errors
    /// The version is none that this side speaks. The parent's range is not known; what it picked stands for it.
    pub fn take(&self, welcome: &v1::Welcome) -> Result<Agreed, NothingInCommon> {
        if !self.spoken.contains(&welcome.protocol) {
            return Err(NothingInCommon {
                parent: welcome.protocol..=welcome.protocol,
                child: self.spoken.clone(),
            });
        }
        Ok(Agreed {
            protocol: welcome.protocol,
            features: self.shared(&welcome.features),
        })
    }

    fn shared(&self, theirs: &[String]) -> BTreeSet<String> {
        let ours = |name: &&String| self.features.contains(&name.as_str());
        theirs.iter().filter(ours).cloned().collect()
    }

    /// The features' names, as they are written to the wire.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.features.iter().map(|&name| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(min: u32, max: u32, features: &[&str]) -> v1::Hello {
        v1::Hello {
            protocol_min: min,
            protocol_max: max,
            features: features.iter().map(|&name| name.to_owned()).collect(),
            ..Default::default()
        }
    }

    fn parent(spoken: RangeInclusive<u32>) -> Offer {
        Offer {
            spoken,
            features: &[feature::OWNED_APPLICATIONS, "old"],
        }
    }

    #[test]
    fn the_newest_common_version_is_picked() {
        for (spoken, min, max, picked) in [
            (1..=1, 1, 1, 1),
            (1..=3, 1, 1, 1),
            (1..=1, 1, 3, 1),
            (2..=5, 1, 3, 3),
            (2..=5, 4, 9, 5),
            (2..=2, 0, u32::MAX, 2),
        ] {
            let agreed = parent(spoken.clone()).pick(&hello(min, max, &[]));
            assert_eq!(agreed.unwrap().protocol, picked, "{spoken:?} {min}..{max}");
        }
    }

    #[test]
    fn without_a_common_version_both_ranges_are_named() {
        for (spoken, min, max) in [(2..=3, 1, 1), (2..=3, 4, 6), (1..=3, 3, 1), (1..=3, 0, 0)] {
            let refused = parent(spoken.clone()).pick(&hello(min, max, &[]));
            let text = refused.unwrap_err().to_string();
            let named = [
                format!(
                    "parent speaks versions {} to {} ",
                    spoken.start(),
                    spoken.end()
                ),
                format!("child {min} to {max}:"),
            ];
            assert!(named.iter().all(|n| text.contains(n)), "{text}");
        }
    }

    #[test]
    fn only_features_that_both_have_are_agreed_on() {
        let theirs = ["new", feature::OWNED_APPLICATIONS, "newer"];
        let agreed = parent(1..=1).pick(&hello(1, 1, &theirs)).unwrap();
        assert!(agreed.has(feature::OWNED_APPLICATIONS));
        assert_eq!(agreed.features.len(), 1, "{agreed:?}");
        let welcome = v1::Welcome {
            protocol: 1,
            features: ["old", "never named"].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        let agreed = parent(1..=2).take(&welcome).unwrap();
        assert_eq!(agreed.features, BTreeSet::from(["old".to_owned()]));
    }

    #[test]
    fn a_child_takes_no_version_that_it_does_not_speak() {
        let welcome = |protocol| v1::Welcome {
            protocol,
            ..Default::default()
        };
        assert_eq!(parent(2..=3).take(&welcome(2)).unwrap().protocol, 2);
        for protocol in [0, 1, 4] {
            let text = parent(2..=3).take(&welcome(protocol)).unwrap_err();
            assert!(text.to_string().contains("child 2 to 3:"), "{text}");
        }
    }
}
