//! The tests over real connections, by topic. `tests/run --only cluster 15 -- sessions::` runs those of one topic.
//!
//! They run at the same time, most of them in databases of their own on one server. What needs a server to itself
//! (it restarts, kills or configures it, reads the whole log, or makes roles of fixed names) starts one.

mod adoption;
mod api_key_secrecy;
mod api_keys;
mod api_keys_use;
mod attach;
mod attach_life;
mod attacks_roles;
mod attacks_rows;
mod attacks_tables;
mod bad_input;
mod harness;
mod health;
mod hygiene;
mod identity;
mod identity_attacks;
mod listeners;
mod log;
mod log_prune;
mod log_race;
mod log_replicas;
mod notify;
mod notify_keys;
mod one_time;
mod pgbouncer;
mod postgrest;
mod probe;
mod readme;
mod refresh;
mod refresh_levels;
mod relay;
mod secrecy;
mod session_standby;
mod sessions;
mod sessions_paths;
mod sessions_reborn;
mod sso;
mod standby;
mod trust;
mod trust_jwks;
