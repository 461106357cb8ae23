//! The candidates of one tier, and placing on them.
//!
//! Today every candidate is looked at. The interface leaves room for an index: the caller hands over the candidates
//! once, changes them only by reserving and releasing, and asks with closures that are called for few of them.

use edgeio_domain::{ids::ChildId, records::CandidateReasons};

use crate::{
    candidate::{Account, Candidate},
    demand::Demand,
    filter,
    score::Score,
};

/// Candidates with what was reserved on them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    noun: String,
    /// Sorted by id.
    accounts: Vec<Account>,
}

impl Pool {
    /// Takes the candidates, in any order; their ids are unique. `noun` is what one is called: "cluster" or "worker".
    pub fn new(noun: impl Into<String>, candidates: impl IntoIterator<Item = Candidate>) -> Self {
        let mut accounts: Vec<Account> = candidates.into_iter().map(Account::new).collect();
        accounts.sort_by_key(|account| account.candidate.id);
        accounts.dedup_by_key(|account| account.candidate.id);
        Self {
            noun: noun.into(),
            accounts,
        }
    }

    /// Picks the best place for `demand` and reserves it there.
    ///
    /// `siblings` counts instances of the same service on a child; `refused` says why a child that fits is not asked
    /// now. Both are asked only about candidates that fit.
    ///
    /// # Errors
    /// Where it fits nowhere: every candidate with at least one reason, sorted by name. Nothing was reserved.
    pub fn place(
        &mut self,
        demand: &Demand,
        siblings: &dyn Fn(ChildId) -> u32,
        refused: &dyn Fn(ChildId) -> Option<String>,
    ) -> Result<ChildId, Vec<CandidateReasons>> {
        let best = self
            .accounts
            .iter()
            .map(|account| &account.candidate)
            .filter(|candidate| filter::admits(candidate, demand))
            .filter(|candidate| refused(candidate.id).is_none())
            .map(|candidate| Score::of(candidate, demand, siblings(candidate.id)))
            .min();
        match best {
            Some(score) => {
                self.reserve(score.id, demand);
                Ok(score.id)
            }
            None => Err(self.explain(demand, refused)),
        }
    }

    /// Why each candidate cannot take `demand`: those that can are left out. Without any candidate, one entry says so.
    #[must_use]
    pub fn explain(
        &self,
        demand: &Demand,
        refused: &dyn Fn(ChildId) -> Option<String>,
    ) -> Vec<CandidateReasons> {
        if self.accounts.is_empty() {
            return vec![CandidateReasons {
                candidate: format!("any {}", self.noun),
                reasons: vec![format!("no {} has joined", self.noun)],
            }];
        }
        let mut explained: Vec<CandidateReasons> = self
            .accounts
            .iter()
            .map(|account| &account.candidate)
            .map(|candidate| CandidateReasons {
                candidate: candidate.name.clone(),
                reasons: filter::why_not(candidate, demand, refused(candidate.id)),
            })
            .filter(|entry| !entry.reasons.is_empty())
            .collect();
        // Stable, so that of two with one name the older comes first.
        explained.sort_by(|a, b| a.candidate.cmp(&b.candidate));
        explained
    }

    /// Takes room for something that is on its way to `id`, whether it fits or not. An unknown id is no matter.
    pub fn reserve(&mut self, id: ChildId, demand: &Demand) {
        if let Some(account) = self.account(id) {
            account.reserve(demand);
        }
    }

    /// Gives back what was reserved, or what `id` counts as taken and is about to end.
    pub fn release(&mut self, id: ChildId, demand: &Demand) {
        if let Some(account) = self.account(id) {
            account.release(demand);
        }
    }

    /// The candidates with what is free now, by id.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.accounts.iter().map(|account| &account.candidate)
    }

    fn account(&mut self, id: ChildId) -> Option<&mut Account> {
        let at = self
            .accounts
            .binary_search_by_key(&id, |account| account.candidate.id)
            .ok()?;
        self.accounts.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_candidates_it_says_that_none_has_joined() {
        let mut pool = Pool::new("cluster", []);
        let answer = pool.place(&Demand::default(), &|_| 0, &|_| None);
        let reasons = answer.unwrap_err();
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].candidate, "any cluster");
        assert_eq!(reasons[0].reasons, ["no cluster has joined"]);
    }
}
