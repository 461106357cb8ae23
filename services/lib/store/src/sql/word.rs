//! The words that stand for enumerations in columns. They are written into databases: one is never changed or reused.

use edgeio_domain::{
    child::{ChildState, Replace},
    lifecycle::Phase,
    records::Desired,
};

use crate::api::ChangeKind;

/// An enumeration with a word for each value.
pub(super) trait Word: Sized + Copy + 'static {
    /// All values.
    const ALL: &'static [Self];

    /// The word.
    fn word(self) -> &'static str;

    /// The value of a word.
    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == word)
    }
}

macro_rules! words {
    ($name:ty { $($value:path => $word:literal),+ $(,)? }) => {
        impl Word for $name {
            const ALL: &'static [Self] = &[$($value),+];

            fn word(self) -> &'static str {
                match self {
                    $($value => $word),+
                }
            }
        }
    };
}

words!(Desired {
    Desired::Run => "run",
    Desired::Pause => "pause",
    Desired::Stop => "stop",
    Desired::Hold => "hold",
});

words!(Phase {
    Phase::Pending => "pending",
    Phase::Scheduled => "scheduled",
    Phase::Preparing => "preparing",
    Phase::Running => "running",
    Phase::Paused => "paused",
    Phase::Stopping => "stopping",
    Phase::Stopped => "stopped",
    Phase::Completed => "completed",
    Phase::Failed => "failed",
});

words!(ChildState {
    ChildState::Registered => "registered",
    ChildState::Ready => "ready",
    ChildState::Suspect => "suspect",
    ChildState::Disconnected => "disconnected",
    ChildState::Returning => "returning",
    ChildState::Left => "left",
    ChildState::Lost => "lost",
});

words!(Replace {
    Replace::No => "no",
    Replace::Unproven => "unproven",
    Replace::Limited => "limited",
    Replace::Proven => "proven",
    Replace::Released => "released",
    Replace::Fenced => "fenced",
});

words!(ChangeKind {
    ChangeKind::Application => "application",
    ChangeKind::Slot => "slot",
    ChangeKind::Child => "child",
});

#[cfg(test)]
mod tests {
    use super::*;

    fn comes_back<T: Word + PartialEq + std::fmt::Debug>() {
        for value in T::ALL {
            assert_eq!(T::parse(value.word()), Some(*value));
        }
        assert_eq!(T::parse("a word from the future"), None);
    }

    #[test]
    fn every_word_means_its_value_and_no_other() {
        comes_back::<Desired>();
        comes_back::<Phase>();
        comes_back::<ChildState>();
        comes_back::<Replace>();
        comes_back::<ChangeKind>();
        assert_eq!(<Phase as Word>::ALL.len(), Phase::ALL.len());
    }
}
