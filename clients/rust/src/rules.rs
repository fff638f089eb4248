//! The rules of `clients/README.md`, without a database.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cases;
mod waiting;

use std::future::pending;

use crate::cache::digest;
use crate::error::Error;
use crate::listener::{Listener, ListenerOptions, Session, Source};
use crate::moment::Moment;

/// Never connects: the test says what is heard.
struct Nowhere;
struct Nothing;

impl Source for Nowhere {
    type Session = Nothing;

    async fn connect(&self) -> Result<Nothing, Error> {
        pending().await
    }
}

impl Session for Nothing {
    async fn listen(&mut self) -> Result<bool, Error> {
        pending().await
    }

    async fn cursor(&mut self) -> Result<String, Error> {
        pending().await
    }

    async fn since(&mut self, _: &str) -> Result<(Vec<String>, Option<String>), Error> {
        pending().await
    }

    async fn hear(&mut self) -> Result<String, Error> {
        pending().await
    }
}

fn caught_up(listener: &Listener) {
    listener.hub().renew(Moment::now());
}

pub(crate) fn fresh() -> Listener {
    let listener = Listener::start(Nowhere, ListenerOptions::default());
    caught_up(&listener);
    listener
}

pub(crate) fn bump(user: &str) -> String {
    format!(r#"{{"v":1,"kind":"user","id":"{user}","session_version":1,"reason":"x"}}"#)
}

fn key(name: &str) -> [u8; 32] {
    digest(&[name.as_bytes()])
}
