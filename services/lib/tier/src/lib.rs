//! The orchestration engine of a tier: desired state, loops and the API services that root and cluster share.
