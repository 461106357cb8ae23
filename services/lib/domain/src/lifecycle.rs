//! The lifecycle of an instance as one table: phases, the events that move them, and how long a phase may wait.

use std::time::Duration;

/// Where an instance stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Phase {
    /// It has no place yet.
    #[default]
    Pending,
    /// It has a place that has not answered yet.
    Scheduled,
    /// Its image is pulled, it is created, or it waits for its next start.
    Preparing,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It is being stopped.
    Stopping,
    /// It was stopped on request.
    Stopped,
    /// It ended by itself with success and is not started again.
    Completed,
    /// It ended or never began, and is not started again.
    Failed,
}

/// What happens to an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A place was found.
    Placed,
    /// The child began to prepare it.
    Begun,
    /// It was seen running.
    SeenRunning,
    /// It was seen frozen.
    SeenPaused,
    /// It ended or could not be started, and will be started again.
    WillRestart,
    /// It ended with success, for good.
    EndedWell,
    /// It ended otherwise or could not be started, for good.
    EndedBadly,
    /// It shall stop.
    StopAsked,
    /// It is gone, as asked.
    Gone,
    /// A user asked for it to be started again.
    RestartAsked,
    /// Its child refused it, or is forgotten.
    PlaceLost,
}

/// An event that the table does not know in that phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an instance that is {phase:?} cannot have {event:?}")]
pub struct IllegalTransition {
    /// The phase.
    pub phase: Phase,
    /// The event.
    pub event: Event,
}

impl Phase {
    /// All phases.
    pub const ALL: [Phase; 9] = [
        Phase::Pending,
        Phase::Scheduled,
        Phase::Preparing,
        Phase::Running,
        Phase::Paused,
        Phase::Stopping,
        Phase::Stopped,
        Phase::Completed,
        Phase::Failed,
    ];

    /// The phase after `event`.
    ///
    /// # Errors
    /// The table has no such transition.
    pub fn step(self, event: Event) -> Result<Phase, IllegalTransition> {
        use Event as E;
        use Phase as P;
        let illegal = Err(IllegalTransition { phase: self, event });
        match event {
            E::Placed => match self {
                P::Pending => Ok(P::Scheduled),
                P::Scheduled
                | P::Preparing
                | P::Running
                | P::Paused
                | P::Stopping
                | P::Stopped
                | P::Completed
                | P::Failed => illegal,
            },
            E::Begun => match self {
                P::Pending | P::Scheduled | P::Preparing => Ok(P::Preparing),
                P::Running | P::Paused | P::Stopping | P::Stopped | P::Completed | P::Failed => {
                    illegal
                }
            },
            E::SeenRunning => match self {
                P::Pending | P::Scheduled | P::Preparing | P::Running | P::Paused => Ok(P::Running),
                P::Stopping => Ok(P::Stopping),
                P::Stopped | P::Completed | P::Failed => illegal,
            },
            E::SeenPaused => match self {
                P::Pending | P::Scheduled | P::Preparing | P::Running | P::Paused => Ok(P::Paused),
                P::Stopping => Ok(P::Stopping),
                P::Stopped | P::Completed | P::Failed => illegal,
            },
            E::WillRestart => match self {
                P::Pending | P::Scheduled | P::Preparing | P::Running | P::Paused => {
                    Ok(P::Preparing)
                }
                P::Stopping | P::Stopped | P::Completed | P::Failed => illegal,
            },
            E::EndedWell | E::EndedBadly => match self {
                P::Pending | P::Scheduled | P::Preparing | P::Running | P::Paused => {
                    Ok(if event == E::EndedWell {
                        P::Completed
                    } else {
                        P::Failed
                    })
                }
                P::Stopping => Ok(P::Stopping),
                P::Stopped | P::Completed | P::Failed => illegal,
            },
            E::StopAsked => match self {
                P::Stopped => Ok(P::Stopped),
                P::Pending
                | P::Scheduled
                | P::Preparing
                | P::Running
                | P::Paused
                | P::Stopping
                | P::Completed
                | P::Failed => Ok(P::Stopping),
            },
            E::Gone => match self {
                P::Stopping | P::Stopped => Ok(P::Stopped),
                P::Pending
                | P::Scheduled
                | P::Preparing
                | P::Running
                | P::Paused
                | P::Completed
                | P::Failed => illegal,
            },
            E::RestartAsked => match self {
                P::Preparing | P::Running | P::Paused | P::Completed | P::Failed => {
                    Ok(P::Preparing)
                }
                P::Pending | P::Scheduled | P::Stopping | P::Stopped => illegal,
            },
            E::PlaceLost => match self {
                P::Scheduled | P::Preparing | P::Running | P::Paused | P::Completed | P::Failed => {
                    Ok(P::Pending)
                }
                P::Pending | P::Stopping | P::Stopped => illegal,
            },
        }
    }

    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Stopped | Phase::Completed | Phase::Failed)
    }

    /// How long the phase may last before whoever waits looks again; `None` where nobody waits.
    #[must_use]
    pub fn deadline(self) -> Option<Duration> {
        match self {
            // A place is looked for again at every change, and after this at the latest.
            Phase::Pending => Some(Duration::from_secs(30)),
            // An assignment that nobody answers is sent again by the link well before this.
            Phase::Scheduled => Some(Duration::from_secs(30)),
            // A pull over a slow line may take long; after this its progress is doubted.
            Phase::Preparing => Some(Duration::from_secs(900)),
            // The grace of the spec, an hour at most, and a minute to kill.
            Phase::Stopping => Some(Duration::from_secs(3660)),
            Phase::Running | Phase::Paused | Phase::Stopped | Phase::Completed | Phase::Failed => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 11] = [
        Event::Placed,
        Event::Begun,
        Event::SeenRunning,
        Event::SeenPaused,
        Event::WillRestart,
        Event::EndedWell,
        Event::EndedBadly,
        Event::StopAsked,
        Event::Gone,
        Event::RestartAsked,
        Event::PlaceLost,
    ];

    #[test]
    fn stopped_is_final() {
        for event in EVENTS {
            match Phase::Stopped.step(event) {
                Ok(next) => assert_eq!(next, Phase::Stopped, "{event:?}"),
                Err(error) => assert_eq!(error.phase, Phase::Stopped),
            }
        }
    }

    #[test]
    fn a_stop_that_was_asked_is_not_forgotten() {
        for event in EVENTS {
            if let Ok(next) = Phase::Stopping.step(event) {
                assert!(
                    matches!(next, Phase::Stopping | Phase::Stopped),
                    "{event:?}"
                );
            }
        }
    }

    #[test]
    fn every_phase_can_be_stopped_and_the_waiting_ones_have_deadlines() {
        for phase in Phase::ALL {
            let asked = phase.step(Event::StopAsked).unwrap();
            assert_eq!(asked.step(Event::Gone), Ok(Phase::Stopped));
            let waits = matches!(
                phase,
                Phase::Pending | Phase::Scheduled | Phase::Preparing | Phase::Stopping
            );
            assert_eq!(phase.deadline().is_some(), waits, "{phase:?}");
        }
    }

    #[test]
    fn every_phase_but_pending_is_reached_from_pending() {
        let mut seen = vec![Phase::Pending];
        let mut index = 0;
        while let Some(phase) = seen.get(index).copied() {
            for next in EVENTS.iter().filter_map(|event| phase.step(*event).ok()) {
                if !seen.contains(&next) {
                    seen.push(next);
                }
            }
            index += 1;
        }
        assert_eq!(seen.len(), Phase::ALL.len());
    }
}
