//! NATS to gRPC and back; owns subject names and the NATS client.
