//! What was refused, told to whoever keeps an audit.

use super::{CallInfo, Principal};

/// A call that was refused for who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who called; nobody if the credential was not good.
    pub who: Principal,
    /// The path of the method.
    pub method: String,
    /// Why, without any part of a credential.
    pub why: String,
}

impl Denial {
    pub(crate) fn of_nobody(call: CallInfo, method: &str, why: impl std::fmt::Display) -> Self {
        Self {
            who: Principal {
                call,
                ..Principal::anonymous()
            },
            method: method.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Hears of refusals. It must not block: it is called for each of a flood of them.
pub trait Denials: Send + Sync + 'static {
    /// One more.
    fn denied(&self, denial: Denial);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unheard;

impl Denials for Unheard {
    fn denied(&self, _: Denial) {}
}
