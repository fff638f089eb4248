//! Roles with few rights: who verifies has none on the tables, and who owns the table has none on ours.

use super::{enter, linked, said, unlinked, user};
use auth_ext_tests::{Ask, Reader, attempt, no, shared};

#[test]
fn a_role_without_any_right_on_the_tables_verifies_and_row_security_hides_no_account() {
    let linked = linked(shared());
    let mut a = linked.app.connect();
    let role = format!("{}_nobody", linked.app.db);
    a.run(&format!("CREATE ROLE \"{role}\""));
    a.run(
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
           ALTER TABLE accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    );
    let token = linked.token("s-41");
    for plan in [false, true] {
        if plan {
            a.run(
                "ALTER TABLE accounts DROP CONSTRAINT accounts_provider_subject_key;
                   CREATE UNIQUE INDEX ON accounts (provider text_pattern_ops, subject)",
            );
        }
        let mut b = linked.app.connect();
        b.run(&format!("SET ROLE \"{role}\""));
        assert_eq!(said(&mut b, &token), "41");
        enter(&mut b, &token);
        assert_eq!(user(&mut b).as_deref(), Some("41"));
        for forbidden in [
            "TABLE accounts",
            "TABLE auth.unlinked_accounts",
            "SELECT auth.attach_identities('accounts')",
            "SELECT auth.detach_identities()",
        ] {
            assert_eq!(attempt(&mut b, forbidden, &[]), no("42501"), "{forbidden}");
        }
    }
    // Whoever may change the table, and nothing of ours, unlinks.
    a.run(&format!("CREATE POLICY p ON accounts TO \"{role}\" USING (true); GRANT SELECT, DELETE, UPDATE ON accounts TO \"{role}\""));
    let mut c = linked.app.connect();
    enter(&mut c, &token);
    let mut reader = Reader::now(&mut a);
    let mut b = linked.app.connect();
    b.run(&format!(
        "SET ROLE \"{role}\"; DELETE FROM accounts WHERE subject = 's-41'"
    ));
    assert_eq!(user(&mut c), None);
    assert_eq!(reader.catch_up(&mut a), [unlinked("41")]);
    a.run(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
}

#[test]
fn the_owner_of_the_table_attaches_it_and_adds_partitions_with_no_right_on_ours() {
    let linked = linked(shared());
    let mut a = linked.app.connect();
    let role = format!("{}_owner", linked.app.db);
    a.run(&format!(
        "SELECT auth.detach_identities(); DROP TABLE accounts; CREATE ROLE \"{role}\"; CREATE SCHEMA app AUTHORIZATION \"{role}\";
         GRANT EXECUTE ON FUNCTION auth.attach_identities(regclass, name, name, name), auth.detach_identities() TO \"{role}\""
    ));
    let token = linked.token("s-41");
    let mut o = linked.app.connect();
    o.run(&format!("SET ROLE \"{role}\""));
    o.run("CREATE TABLE app.accounts (user_id bigint, provider text, subject text, PRIMARY KEY (provider, subject)) PARTITION BY LIST (provider)");
    o.run("SELECT auth.attach_identities('app.accounts')");
    o.run("CREATE TABLE app.p PARTITION OF app.accounts FOR VALUES IN ('p')");
    o.run("INSERT INTO app.accounts VALUES (41, 'p', 's-41')");
    let mut b = linked.app.connect();
    enter(&mut b, &token);
    let mut reader = Reader::now(&mut a);
    o.run("DELETE FROM app.p");
    o.run("INSERT INTO app.p VALUES (41, 'p', 's-41')");
    assert_eq!((said(&mut b, &token), user(&mut b)), ("41".into(), None));
    assert_eq!(reader.catch_up(&mut a), [unlinked("41")]);
    enter(&mut b, &token);
    o.run("TRUNCATE app.p; INSERT INTO app.p VALUES (41, 'p', 's-41')");
    assert_eq!(user(&mut b), None);
    // Neither what is not theirs, nor our tables.
    o.run("SELECT auth.detach_identities()");
    a.run("CREATE TABLE others (user_id bigint, provider text, subject text UNIQUE)");
    assert_eq!(
        attempt(
            &mut o,
            "SELECT auth.attach_identities('public.others')::text",
            &[]
        ),
        no("42501")
    );
    assert_eq!(
        attempt(&mut o, "DELETE FROM auth.unlinked_accounts", &[]),
        no("42501")
    );
    drop(o);
    a.run(&format!(
        "DROP OWNED BY \"{role}\" CASCADE; DROP ROLE \"{role}\""
    ));
}
