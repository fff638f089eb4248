//! What an operator looks at, and what a scheduled job runs.

mod functions;
mod health;
mod prune;
