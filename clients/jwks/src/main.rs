//! Fetches the key sets of the issuers that auth_ext trusts, and keeps them fresh. README.md says how it is run.

mod address;
mod arguments;
mod database;
mod discovery;
mod failure;
mod fetch;
mod freshness;
mod key_set;
mod log;
mod once;
mod place;
mod schedule;
mod service;
mod take;
mod tls;

use std::env;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Asked, HELP};
use failure::Failure;
use place::Place;
use service::Service;

/// The program was called in a wrong way.
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match arguments::parse(env::args_os().skip(1)) {
        Ok(Asked::Run(arguments)) => arguments,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            println!("auth-ext-jwks {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            log::say("auth-ext-jwks", &format!("{wrong} (see --help)"));
            return ExitCode::from(WRONG_USE);
        }
    };
    let place = match Place::new(arguments.connection.as_deref(), |name| env::var(name).ok()) {
        Ok(place) => place,
        Err(wrong) => {
            log::say("auth-ext-jwks", &wrong.to_string());
            return ExitCode::from(WRONG_USE);
        }
    };
    match run(&place, &arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            log::say("database", &failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(place: &Place, arguments: &Arguments) -> Result<bool, Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::cause(&error))?;
    let ended = runtime.block_on(async {
        if arguments.once {
            return once::once(place, arguments).await;
        }
        let stop = |kind| signal(kind).map_err(|error| Failure::cause(&error));
        let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
        select! {
            _ = terminate.recv() => Ok(true),
            _ = interrupt.recv() => Ok(true),
            never = async { Service::new(place, arguments.allow_http).serve().await } => match never {},
        }
    });
    // Not even a name that is being looked up is waited for.
    runtime.shutdown_background();
    ended
}
