//! What the program is told on its command line.

use std::collections::BTreeSet;
use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

pub const HELP: &str = "\
Fetches the key sets of the issuers that auth_ext trusts, and keeps them fresh.

    auth-ext-jwks [OPTION]... [CONNECTION]

CONNECTION is a connection string or URI, or the name of a database; the rest comes from
PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSWORD, PGSSLMODE and PGSSLROOTCERT.

    --once             fetch each issuer's set once and end: 0 when all was taken, 1 when something
                       failed, 2 when the program was called in a wrong way
    --allow-http       http, too, of this machine's own addresses
    --replace ISSUER   with --once: take this issuer's set also when it has no key of the present one
                       (may be given several times)
    --help, --version
";

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Help,
    Version,
    Run(Arguments),
}

/// How to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub once: bool,
    pub allow_http: bool,
    /// The issuers of which any set is taken.
    pub replace: BTreeSet<String>,
    pub connection: Option<String>,
}

/// Reads the arguments, without the program's name; or says what is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
    read(&mut Parser::from_args(arguments)).map_err(|error| error.to_string())
}

fn read(parser: &mut Parser) -> Result<Asked, lexopt::Error> {
    let mut read = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("once") => read.once = true,
            Arg::Long("allow-http") => read.allow_http = true,
            Arg::Long("replace") => {
                read.replace.insert(parser.value()?.string()?);
            }
            Arg::Short('h') | Arg::Long("help") => return Ok(Asked::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Asked::Version),
            Arg::Value(value) if read.connection.is_none() => {
                read.connection = Some(value.string()?);
            }
            other => return Err(other.unexpected()),
        }
    }
    if !read.replace.is_empty() && !read.once {
        return Err("--replace is for --once: a service must not go on replacing sets".into());
    }
    Ok(Asked::Run(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Asked, String> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn without_arguments_it_is_a_service() {
        assert_eq!(parsed(&[]), Ok(Asked::Run(Arguments::default())));
    }

    #[test]
    fn every_option_is_read() {
        let read = parsed(&[
            "--once",
            "--replace",
            "https://a.example",
            "--allow-http",
            "--replace=b",
            "dbname=app",
        ]);
        let expected = Arguments {
            once: true,
            allow_http: true,
            replace: ["https://a.example".to_owned(), "b".to_owned()].into(),
            connection: Some("dbname=app".to_owned()),
        };
        assert_eq!(read, Ok(Asked::Run(expected)));
        assert_eq!(parsed(&["--once", "--help"]), Ok(Asked::Help));
        assert_eq!(parsed(&["-V"]), Ok(Asked::Version));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [
            &["--forever"][..],
            &["one", "two"],
            &["--replace"],
            &["--once=yes"],
            &["--replace", "https://a.example"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
