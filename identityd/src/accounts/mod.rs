//! What administrators do: rules and transactions for memberships, logins, groups and keys.
