//! How processes end: quietly, whatever they were doing, however much is logged.

use std::fs;
use std::path::{Path, PathBuf};

use auth_ext_tests::{App, Ask, Cluster};

#[test]
fn a_process_that_logs_everything_ends_without_harm() {
    for preload in ["", "auth_ext"] {
        let cluster = Cluster::with_config(
            "exit",
            &[
                ("log_min_messages", "debug5"),
                ("shared_preload_libraries", preload),
            ],
        );
        let app = App::new(&cluster, "exit");
        let mut witness = app.connect();
        // After a call, an error, a change, inside a transaction that has not ended, and by force.
        for end in [
            "SELECT auth.check_jwt('x')",
            "DO $$ BEGIN PERFORM auth.verify_jwt('x'); EXCEPTION WHEN OTHERS THEN NULL; END $$",
            "SELECT auth.bump_session_version('41')",
            "BEGIN; SELECT auth.authenticate(auth.issue_jwt('41')); SAVEPOINT s; SELECT auth.bump_session_version('42')",
            "SELECT auth.create_api_key('41', 'x') FROM auth.issuers WHERE false; SELECT auth.prune(), auth.jwks()",
            "DISCARD ALL",
        ] {
            app.connect().run(end);
            let mut ended = app.connect();
            ended.run(end);
            let pid: i32 = ended.one("SELECT pg_backend_pid()", &[]);
            assert!(
                witness.one::<bool>("SELECT pg_terminate_backend($1, 10000)", &[&pid]),
                "{end}"
            );
        }
        // A process that has died of a signal would have taken the witness with it.
        assert_eq!(witness.one::<i32>("SELECT 1", &[]), 1);
        cluster.stop_fast();
        let log = cluster.log();
        assert!(log.contains("callbacks to make"), "the log is not at debug");
        for word in [
            "was terminated by signal",
            "PANIC",
            "panicked",
            "Thread Local",
        ] {
            assert!(
                !log.contains(word),
                "{word} in the log of preload = '{preload}'"
            );
        }
    }
}

#[test]
fn what_our_hooks_and_callbacks_use_lives_as_long_as_the_process() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut files = rust_files(&source);
    files.retain(|file| !file.ends_with("pg/local.rs"));
    assert!(files.len() > 20);
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        assert!(
            !text.contains("thread_local!"),
            "{} must use process_local!",
            file.display()
        );
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the source");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
