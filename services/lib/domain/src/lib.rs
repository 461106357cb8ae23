//! Ids, resources, application specs, the instance lifecycle and the pure planner.
