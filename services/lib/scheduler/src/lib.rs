//! Pure placement for both tiers: filter, score, place, explain.
