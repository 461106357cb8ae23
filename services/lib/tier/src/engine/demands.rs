//! What specs ask for, and what they say about silence, decoded once.

use std::collections::BTreeMap;

use edgeio_domain::{ids::SpecHash, spec::Terms};
use edgeio_link::spec;
use edgeio_scheduler::Demand;
use edgeio_store::{ReadTx, StoreError};

/// Most decoded demands that are kept. A demand is some 200 bytes; a tier rarely has more specs than this.
const MOST: usize = 4096;

/// Decoded demands by spec.
#[derive(Default)]
pub(crate) struct Demands {
    known: BTreeMap<SpecHash, Result<Demand, String>>,
    terms: BTreeMap<SpecHash, Terms>,
    /// For a planted bug: what children offered, and when that was read, by CLOCK_BOOTTIME.
    #[cfg(feature = "plant")]
    pub(crate) offers: BTreeMap<
        edgeio_domain::ids::ChildId,
        (edgeio_domain::child::Capacity, edgeio_domain::time::Time),
    >,
}

impl Demands {
    /// Reads those that are not known yet.
    pub(crate) async fn load(
        &mut self,
        tx: &dyn ReadTx,
        hashes: &[SpecHash],
    ) -> Result<(), StoreError> {
        if self.known.len() > MOST {
            self.known.clear();
            self.terms.clear();
        }
        let missing: Vec<SpecHash> = hashes
            .iter()
            .filter(|hash| !self.known.contains_key(hash))
            .copied()
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        for (hash, body) in tx.specs(&missing).await? {
            let spec = spec::decode(&body);
            if let Ok(spec) = &spec {
                let terms = Terms {
                    disconnect: spec.disconnect,
                    stop_grace: spec.stop_grace,
                };
                self.terms.insert(hash, terms);
            }
            let demand = spec
                .map(|spec| Demand::from(&spec))
                .map_err(|error| error.to_string());
            self.known.insert(hash, demand);
        }
        Ok(())
    }

    /// What specs say about silence, of those that are known.
    pub(crate) fn terms(&self) -> &BTreeMap<SpecHash, Terms> {
        &self.terms
    }

    /// What a spec asks for, or why that is not known.
    pub(crate) fn get(&self, hash: SpecHash) -> Result<&Demand, String> {
        match self.known.get(&hash) {
            Some(Ok(demand)) => Ok(demand),
            Some(Err(error)) => Err(error.clone()),
            None => Err("its spec has not arrived yet".to_owned()),
        }
    }
}
