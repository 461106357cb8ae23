//! Contracts of edgeIO: the .proto files, their generated code and descriptor set.
