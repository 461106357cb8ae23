//! Where slots would go now, without placing them.

use std::collections::BTreeMap;

use edgeio_domain::{
    ids::ChildId,
    records::{CandidateReasons, Slot},
};
use edgeio_link::spec;
use edgeio_scheduler::Demand;
use edgeio_store::{ReadTx, StoreError};

use super::{Engine, demands::Demands, gather::Gathered};

impl Engine {
    /// The display names of the children where these slots would go, in order, or why they fit nowhere. `specs` are
    /// encoded specs by the index of their slot.
    ///
    /// # Errors
    /// The store failed.
    pub async fn preview(
        &self,
        tx: &dyn ReadTx,
        slots: &[(Slot, Vec<u8>)],
    ) -> Result<Vec<Result<String, Vec<CandidateReasons>>>, StoreError> {
        let gathered = Gathered::read(tx, self.context.own).await?;
        let mut demands = Demands::default();
        demands.load(tx, &gathered.hashes()).await?;
        let mut pool = gathered.pool(self.context.noun, &demands);
        let mut siblings: BTreeMap<String, BTreeMap<ChildId, u32>> = BTreeMap::new();
        let mut out = Vec::with_capacity(slots.len());
        for (slot, body) in slots {
            let demand = spec::decode(body).map(|spec| Demand::from(&spec));
            let Ok(demand) = demand else {
                let reasons = vec!["its spec cannot be read".to_owned()];
                out.push(Err(vec![CandidateReasons {
                    candidate: "any place".to_owned(),
                    reasons,
                }]));
                continue;
            };
            let beside = siblings
                .entry(slot.service.as_str().to_owned())
                .or_insert_with_key(|service| gathered.siblings(slot.app_uid, service));
            let count = |child: ChildId| beside.get(&child).copied().unwrap_or(0);
            let found = pool.place(&demand, &count, &|_| None);
            if let Ok(child) = &found {
                *beside.entry(*child).or_default() += 1;
            }
            let name = |child: ChildId| {
                gathered
                    .children
                    .get(&child)
                    .map_or_else(|| child.to_string(), |c| c.display())
            };
            out.push(found.map(name));
        }
        Ok(out)
    }
}
