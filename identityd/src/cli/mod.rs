//! The administrators' tool `identityctl`.
