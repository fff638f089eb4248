//! Where the database is: a connection string, and what it leaves to the environment.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::failure::Failure;

const DEBIANS_SOCKET: &str = "/var/run/postgresql";

/// How to connect.
pub struct Place {
    pub config: Config,
    /// Whose certificates are believed, in the place of the system's authorities.
    pub roots: Option<PathBuf>,
}

impl Place {
    /// Reads a connection string, and the variables of libpq for what is not in it.
    pub fn new(
        connection: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut config = Config::new();
        match connection {
            Some(text) if text.contains('=') || text.contains("://") => {
                config = text
                    .parse()
                    .map_err(|error: tokio_postgres::Error| Failure::cause(&error))?;
            }
            Some(database) if !database.is_empty() => {
                config.dbname(database);
            }
            _ => {}
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            let socket = match Path::new(DEBIANS_SOCKET).is_dir() {
                true => DEBIANS_SOCKET,
                false => "/tmp",
            };
            for host in variable("PGHOST").as_deref().unwrap_or(socket).split(',') {
                config.host(host);
            }
        }
        if let (true, Some(ports)) = (config.get_ports().is_empty(), variable("PGPORT")) {
            for port in ports.split(',') {
                let port = port
                    .parse()
                    .map_err(|_| Failure::new("PGPORT is no port"))?;
                config.port(port);
            }
        }
        if let (None, Some(user)) = (config.get_user(), variable("PGUSER")) {
            config.user(user);
        }
        if let (None, Some(database)) = (config.get_dbname(), variable("PGDATABASE")) {
            config.dbname(database);
        }
        if let (None, Some(password)) = (config.get_password(), variable("PGPASSWORD")) {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("auth-ext-jwks");
        }
        let asked = match variable("PGSSLMODE").as_deref() {
            _ if config.get_ssl_mode() != SslMode::Prefer => config.get_ssl_mode(),
            Some("disable") => SslMode::Disable,
            Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            None | Some("allow" | "prefer") => SslMode::Prefer,
            Some(_) => return Err(Failure::new("PGSSLMODE is none of PostgreSQL's")),
        };
        // Encryption is no matter of luck: what leaves this machine has it, and the server's certificate is verified.
        config.ssl_mode(match asked {
            SslMode::Prefer if is_here(&config) => SslMode::Disable,
            SslMode::Prefer => SslMode::Require,
            asked => asked,
        });
        // Of several servers, the primary: a standby takes no keys.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(Self {
            config,
            roots: variable("PGSSLROOTCERT")
                .filter(|file| file != "system")
                .map(PathBuf::from),
        })
    }
}

/// Is the server on this machine?
fn is_here(config: &Config) -> bool {
    let is_here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|address: IpAddr| address.is_loopback())
        }
    };
    let addresses = config.get_hostaddrs();
    match addresses.is_empty() {
        true => config.get_hosts().iter().all(is_here),
        false => addresses.iter().all(IpAddr::is_loopback),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn place(connection: &str, variables: &[(&str, &str)]) -> Result<Place, Failure> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Place::new(Some(connection), variable)
    }

    fn tls(connection: &str, variables: &[(&str, &str)]) -> SslMode {
        place(connection, variables).unwrap().config.get_ssl_mode()
    }

    #[test]
    fn the_environment_says_what_the_connection_string_does_not() {
        let all = [
            ("PGHOST", "db.example"),
            ("PGPORT", "5433"),
            ("PGUSER", "fetcher"),
            ("PGDATABASE", "app"),
            ("PGPASSWORD", "secret"),
            ("PGSSLROOTCERT", "/etc/ca.pem"),
        ];
        let read = place("", &all).unwrap();
        assert_eq!(
            read.config.get_hosts(),
            [Host::Tcp("db.example".to_owned())]
        );
        assert_eq!(read.config.get_ports(), [5433]);
        assert_eq!(read.config.get_user(), Some("fetcher"));
        assert_eq!(read.config.get_dbname(), Some("app"));
        assert_eq!(read.config.get_password(), Some(&b"secret"[..]));
        assert_eq!(read.roots, Some(PathBuf::from("/etc/ca.pem")));
        let given = place("host=/run/pg port=1 user=u dbname=d password=p", &all)
            .unwrap()
            .config;
        assert_eq!(given.get_hosts(), [Host::Unix("/run/pg".into())]);
        assert_eq!((given.get_ports(), given.get_user()), (&[1][..], Some("u")));
        assert_eq!(
            (given.get_dbname(), given.get_password()),
            (Some("d"), Some(&b"p"[..]))
        );
        let named = place("other", &all).unwrap().config;
        assert_eq!(
            (named.get_dbname(), named.get_user()),
            (Some("other"), Some("fetcher"))
        );
        let uri = place("postgres://u@h/d", &all).unwrap().config;
        assert_eq!((uri.get_dbname(), uri.get_user()), (Some("d"), Some("u")));
    }

    #[test]
    fn what_leaves_this_machine_is_encrypted_unless_that_is_switched_off() {
        for here in [
            "",
            "host=/run/pg",
            "host=localhost",
            "host=127.0.0.1",
            "host=::1",
            "hostaddr=127.0.0.1 host=db.example",
        ] {
            assert_eq!(tls(here, &[]), SslMode::Disable, "{here}");
            assert_eq!(
                tls(here, &[("PGSSLMODE", "verify-full")]),
                SslMode::Require,
                "{here}"
            );
        }
        for away in [
            "host=db.example",
            "host=10.0.0.1",
            "host=localhost,db.example",
            "hostaddr=10.0.0.1 host=localhost",
            "postgres://db.example/d?sslmode=prefer",
        ] {
            assert_eq!(tls(away, &[]), SslMode::Require, "{away}");
            assert_eq!(
                tls(away, &[("PGSSLMODE", "prefer")]),
                SslMode::Require,
                "{away}"
            );
            assert_eq!(
                tls(away, &[("PGSSLMODE", "disable")]),
                SslMode::Disable,
                "{away}"
            );
        }
        assert_eq!(
            tls(
                "host=db.example sslmode=disable",
                &[("PGSSLMODE", "require")]
            ),
            SslMode::Disable
        );
        assert_eq!(tls("host=localhost sslmode=require", &[]), SslMode::Require);
    }

    #[test]
    fn what_is_wrong_is_refused_and_no_password_told() {
        assert!(place("", &[("PGPORT", "x")]).is_err());
        assert!(place("", &[("PGSSLMODE", "perhaps")]).is_err());
        for wrong in [
            "password=hidden port=x",
            "postgres://u:hidden@h:x/d",
            "password=hidden what=ever",
        ] {
            let said = place(wrong, &[]).err().unwrap().to_string();
            assert!(!said.contains("hidden"), "{said}");
        }
    }
}
