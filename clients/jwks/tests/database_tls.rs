//! The connection to the database: encrypted where it was asked for, and only to who is certified.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use auth_ext_tests::{Ask, Cluster};

use crate::certificates::{Authority, Certificate};
use crate::program::{Outcome, Program, believed};
use crate::relying::Relying;

/// A server that speaks TLS, at a port of its own.
fn server(name: &str, certificate: &Certificate) -> (Cluster, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let cluster = Cluster::setup(name).listen("127.0.0.1", port).start();
    let folder = cluster.scratch("tls");
    let owner = fs::metadata(&folder).unwrap();
    for (name, text) in [
        ("cert.pem", &certificate.chain),
        ("key.pem", &certificate.key),
    ] {
        use std::os::unix::fs::MetadataExt;
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    cluster.configure(&[
        ("ssl", "on"),
        ("ssl_cert_file", &file("cert.pem")),
        ("ssl_key_file", &file("key.pem")),
    ]);
    cluster.restart();
    (cluster, port)
}

fn run(cluster: &Cluster, port: u16, variables: &[(&str, &str)]) -> Outcome {
    let mut relying = Relying::new(cluster, "tls");
    relying.admin.run("LOAD 'auth_ext'");
    let mut program = Program::new(cluster, &["--once"]);
    program.argument(&format!(
        "host=127.0.0.1 port={port} user={} dbname={}",
        relying.role, relying.db
    ));
    for (name, value) in variables {
        program.variable(name, value);
    }
    program.run()
}

#[test]
fn the_database_is_believed_by_its_certificate() {
    let (cluster, port) = server("tls_good", &Certificate::good());
    // Only TLS is let in, so that a success shows that it was spoken.
    cluster.authenticate_by(
        "local all all trust\nhostssl all all 127.0.0.1/32 trust\n",
        "",
    );
    cluster.reload();
    let outcome = run(&cluster, port, &[("PGSSLMODE", "require")]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let outcome = run(&cluster, port, &[]);
    assert_eq!(outcome.code, Some(1), "this machine is asked without TLS");
    // An authority of its own, in the place of the system's.
    let other = cluster.scratch("other").join("ca.pem");
    fs::write(&other, Authority::believed().pem()).unwrap();
    let believed = believed(&cluster);
    let good = [
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", believed.to_str().unwrap()),
    ];
    let outcome = run(&cluster, port, &good);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn a_database_without_a_good_certificate_is_not_told_a_password() {
    for (name, certificate) in [
        ("tls_unknown", Certificate::of_an_unknown_authority()),
        ("tls_another", Certificate::of_another_host()),
    ] {
        let (cluster, port) = server(name, &certificate);
        let outcome = run(
            &cluster,
            port,
            &[("PGSSLMODE", "require"), ("PGPASSWORD", "hunter2")],
        );
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(
            outcome.of("database")[0].contains("certificate"),
            "{outcome:?}"
        );
    }
}
