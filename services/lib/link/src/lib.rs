//! Both halves of the link protocol as state machines without I/O.
