//! Functions of one row: a value that stands in every expression.

use auth_ext_tests::{App, Ask, Client, attempt, no, shared};

/// Every such function: a call that answers without an error, and a column that is not NULL then.
const CALLS: [(&str, &str); 6] = [
    ("check_jwt($1::text)", "valid"),
    ("check_api_key($1::text)", "valid"),
    ("verify_api_key($2::text)", "id"),
    ("create_api_key('41', $1::text)", "fingerprint"),
    ("authenticate_request()", "explanation"),
    ("health()", "notify"),
];

const KEYS: &str =
    "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, is_active boolean NOT NULL DEFAULT true);
     SELECT auth.attach_api_keys('keys')";

fn key(client: &mut Client) -> String {
    client.one("SELECT (auth.create_api_key('41', 'x')).key", &[])
}

#[test]
fn a_column_is_read_in_every_place_of_a_query() {
    let app = App::new(shared(), "places");
    let mut a = app.connect();
    a.run(KEYS);
    let (token, key) = (a.issue(app.ada), key(&mut a));
    // authenticate_request answers a refusal only when there is a wrong header.
    a.run(r#"SET request.headers = '{"authorization": "Bearer x"}'"#);
    for (call, column) in CALLS {
        let value = format!("(auth.{call}).{column} IS NOT NULL");
        for sql in [
            format!("SELECT {value}"),
            format!("SELECT true WHERE {value}"),
            format!("SELECT CASE WHEN {value} THEN true ELSE false END"),
            format!("SELECT true AND {value}"),
            format!("SELECT coalesce({value}, false) OR false"),
            format!("SELECT bool_and({value}) FROM generate_series(1, 3)"),
            format!("SELECT count(*) = 3 FROM generate_series(1, 3) WHERE {value}"),
            format!(
                "SELECT count(*) = 1 FROM (SELECT auth.{call} AS f) AS x WHERE (f).{column} IS NOT NULL"
            ),
            format!("SELECT f.{column} IS NOT NULL FROM auth.{call} AS f"),
            format!(
                "SELECT f.{column} IS NOT NULL FROM generate_series(1, 1), LATERAL auth.{call} AS f"
            ),
            format!("SELECT count(*) = 1 FROM auth.{call}"),
        ] {
            let sql = format!("{sql} -- {{$1, $2}}");
            let sql = format!("SELECT ({sql}\n) FROM (SELECT $1::text, $2::text) AS unused");
            assert!(a.one::<bool>(&sql, &[&token, &key]), "{sql}");
        }
    }
}

#[test]
fn a_row_answers_as_before_from_the_from_clause_and_each_call_is_its_own() {
    let app = App::new(shared(), "own");
    let mut a = app.connect();
    let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
    a.run("CREATE TABLE tokens (n int, token text)");
    a.execute(
        "INSERT INTO tokens VALUES (1, $1), (2, $2), (3, 'x'), (4, NULL)",
        &[&ada, &bob],
    )
    .unwrap();
    let who: Vec<Option<String>> = a.one(
        "SELECT array_agg((auth.check_jwt(token)).user_id ORDER BY n) FROM tokens",
        &[],
    );
    let ids = vec![
        Some(app.ada.to_owned()),
        Some(app.bob.to_owned()),
        None,
        None,
    ];
    assert_eq!(who, ids);
    let who: Vec<Option<String>> = a.one(
        "SELECT array_agg(c.user_id ORDER BY n) FROM tokens, auth.check_jwt(token) AS c",
        &[],
    );
    assert_eq!(who, ids);
    let good: i64 = a.one(
        "SELECT count(*) FROM tokens WHERE (auth.check_jwt(token)).valid",
        &[],
    );
    assert_eq!(good, 2);
    assert_eq!(
        attempt(
            &mut a,
            "SELECT (auth.complete_sso($1)).token",
            &[&"x".to_owned()]
        ),
        no("malformed")
    );
}

#[test]
fn no_function_that_answers_one_row_is_declared_to_answer_a_set() {
    let app = App::new(shared(), "declared");
    let mut a = app.connect();
    let sets: Vec<String> = a.one(
        "SELECT coalesce(array_agg(p.proname::text), ARRAY[]::text[]) FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid AND d.deptype = 'e'
         JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'auth_ext'
         WHERE d.classid = 'pg_proc'::regclass AND p.proretset AND p.prorows = 1",
        &[],
    );
    assert_eq!(sets, Vec::<String>::new());
}
