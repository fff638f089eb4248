//! What others have prepared in a database before the extension is installed in it.

use super::role;
use auth_ext_tests::{Ask, refused, shared};

#[test]
fn the_databases_default_privileges_open_none_of_our_tables_and_functions() {
    let db = shared().empty_database("defaults");
    let mut admin = shared().connect(&db);
    let app = role(&mut admin, &db, "app");
    admin.run(&format!(
        "CREATE SCHEMA auth;
         ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {app};
         ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO {app} WITH GRANT OPTION;
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
         CREATE EXTENSION auth_ext"
    ));
    let ours = "SELECT coalesce(string_agg(o::text, ' ' ORDER BY o::text), '') FROM (
            SELECT objid::regclass::text AS o FROM pg_depend JOIN pg_class AS c ON c.oid = objid
            WHERE classid = 'pg_class'::regclass AND deptype = 'e' AND c.relkind IN ('r', 'v')
              AND refclassid = 'pg_extension'::regclass
              AND has_table_privilege($1, objid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        ) AS t";
    assert_eq!(admin.one::<String>(ours, &[&app]), "");
    assert_ne!(admin.one::<String>(ours, &[&"postgres"]), "");
    let ours = "SELECT string_agg(p.proname, ' ' ORDER BY p.proname) FROM pg_depend JOIN pg_proc AS p ON p.oid = objid
        WHERE classid = 'pg_proc'::regclass AND deptype = 'e' AND p.pronamespace = 'auth'::regnamespace
          AND refclassid = 'pg_extension'::regclass AND has_function_privilege($1, objid, 'EXECUTE')";
    assert_eq!(
        admin.one::<String>(ours, &[&app]),
        "api_key_fingerprint authenticate authenticate_api_key check_jwt claim decode_jwt end_my_other_sessions end_my_session \
         jwks jwt logout my_sessions pre_request require_recent require_user role roles try_authenticate uid user_id \
         user_id_bigint verify_jwt verify_jwt_claims"
    );
    // It is as the catalog says.
    let mut client = shared().connect_as(&db, &app);
    for sql in [
        "TABLE auth.signing_key_store",
        "TABLE auth.user_floor",
        "SELECT auth.create_signing_key()",
        "GRANT EXECUTE ON FUNCTION auth.issue_jwt(text, bigint, interval, jsonb, jsonb, text) TO PUBLIC",
    ] {
        refused(client.batch_execute(sql), "42501", None);
    }
    // The application's own objects in the schema are none of our business.
}

#[test]
fn a_schema_auth_in_which_others_create_objects_is_not_one_to_install_into() {
    let lax = [
        "CREATE SCHEMA auth; GRANT CREATE ON SCHEMA auth TO {role}",
        "CREATE SCHEMA auth; GRANT CREATE ON SCHEMA auth TO PUBLIC",
        "CREATE SCHEMA auth AUTHORIZATION {role}",
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {role}",
    ];
    for (n, sql) in lax.iter().enumerate() {
        let db = shared().empty_database("lax");
        let mut admin = shared().connect(&db);
        let other = role(&mut admin, &db, "other");
        admin.run(&sql.replace("{role}", &other));
        println!("--- {n} {sql}");
        refused(
            admin.batch_execute("CREATE EXTENSION auth_ext"),
            "42501",
            None,
        );
    }
    // Where others may only look, and superusers create, it is safe.
    let db = shared().empty_database("strict");
    let mut admin = shared().connect(&db);
    let other = role(&mut admin, &db, "other");
    admin.run(&format!(
        "CREATE ROLE su_{db} SUPERUSER; CREATE SCHEMA auth;
         GRANT USAGE ON SCHEMA auth TO {other}; GRANT CREATE ON SCHEMA auth TO su_{db}; CREATE EXTENSION auth_ext"
    ));
}

#[test]
fn a_schema_that_holds_anything_is_not_one_to_install_into_and_operators_of_a_search_path_are_not_ours()
 {
    for thing in [
        "CREATE TABLE auth.profiles (id text)",
        "CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
        "CREATE DOMAIN auth.text AS text",
        "CREATE TYPE auth.mood AS ENUM ('good')",
        "CREATE FUNCTION public.ge(numeric, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR auth.>= (LEFTARG = numeric, RIGHTARG = int, FUNCTION = public.ge)",
        "CREATE COLLATION auth.c FROM \"C\"",
        "CREATE TEXT SEARCH CONFIGURATION auth.t (COPY = simple)",
        "CREATE OPERATOR FAMILY auth.f USING btree",
        "CREATE CONVERSION auth.v FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    ] {
        let db = shared().empty_database("held");
        let mut admin = shared().connect(&db);
        admin.run(&format!("CREATE SCHEMA auth; {thing}"));
        let error = refused(
            admin.batch_execute("CREATE EXTENSION auth_ext"),
            "42710",
            None,
        );
        assert!(error.message().contains("not empty"), "{error:?}");
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("another product"))
        );
    }
    // What stands in the installer's path is not asked.
    let db = shared().empty_database("path");
    let mut admin = shared().connect(&db);
    admin.run(
        "CREATE SCHEMA evil;
         CREATE TABLE evil.ran (what text);
         CREATE FUNCTION evil.ge(numeric, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.ran VALUES ('ge'); RETURN true; END $$;
         CREATE OPERATOR evil.>= (LEFTARG = numeric, RIGHTARG = int, FUNCTION = evil.ge);
         CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.ran VALUES ('eq'); RETURN true; END $$;
         CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
         CREATE FUNCTION evil.greatest(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0';
         CREATE DOMAIN evil.text AS pg_catalog.text;
         SET search_path = evil, pg_catalog, public;
         CREATE EXTENSION auth_ext;
         INSERT INTO auth.issuers (issuer, audience, token_ttl) VALUES ('https://api.example.com', '{app}', '1 hour');
         SELECT auth.create_signing_key();
         CREATE TABLE public.users (id bigint PRIMARY KEY);
         INSERT INTO public.users VALUES (1);
         SELECT auth.attach_users('public.users');
         SELECT auth.bump_session_version('1');
         DELETE FROM public.users;
         INSERT INTO public.users VALUES (1)",
    );
    assert_eq!(admin.one::<i64>("SELECT count(*) FROM evil.ran", &[]), 0);
    let foreign: Option<String> = admin.one(
        "SELECT string_agg(DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0), ', ')
         FROM pg_depend AS m JOIN pg_depend AS d ON d.classid = m.classid AND d.objid = m.objid
         JOIN pg_namespace AS n ON n.nspname = 'evil'
         LEFT JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
         LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
         LEFT JOIN pg_type AS t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
         WHERE m.deptype = 'e' AND n.oid IN (p.pronamespace, o.oprnamespace, t.typnamespace)",
        &[],
    );
    assert_eq!(foreign, None, "what the extension's objects depend on");
}
