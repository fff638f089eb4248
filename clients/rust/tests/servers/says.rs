//! What caches answer, and what transactions are whose.

use std::sync::Arc;
use std::time::Duration;

use auth_ext_client::{Credential, Database, Ended, Error, Reason, Subject};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::app::{App, LONG, bump, make, pool, postgres};
use crate::harness::{Server, connect, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_says_what_the_database_said_and_hears_when_it_ends() {
    let server = Server::start("says").await;
    let url = server.url("app");
    let client = connect(&url).await;
    for sqlx in [false, true] {
        match sqlx {
            false => {
                says(
                    &client,
                    App::start(postgres(&url), postgres(&url), LONG).await,
                )
                .await
            }
            true => says(&client, App::start(pool(&url), pool(&url), LONG).await).await,
        }
    }

    // The same without a server: no refusal.
    let app = App::start(postgres(&url), postgres(&url), LONG).await;
    let item = make(&client, 100, 0).await.unwrap();
    app.verify(&item).await.unwrap();
    drop(server);
    wait("staleness", async || !app.listener.is_fresh()).await;
    assert!(matches!(
        app.verify(&item).await,
        Err(Error::Unavailable(_))
    ));
    assert!(matches!(
        pool(&url).check_token("x", None).await,
        Err(Error::Unavailable(_))
    ));
}

async fn says<D: Database + Clone>(client: &Client, app: App<D>) {
    let token = make(client, 104, 1).await.unwrap();
    let known = app.tokens.verify(&token.secret).await.unwrap();
    assert_eq!(known.user_id.as_deref(), Some("104"));
    assert_eq!(known.session_id.as_deref(), Some(&*token.id));
    assert_eq!(known.issuer, "https://api.example.com");
    let claims: serde_json::Value = known.claims().unwrap();
    let direct = client
        .query_one("SELECT auth.verify_jwt($1)::text", &[&token.secret])
        .await
        .unwrap();
    assert_eq!(
        claims,
        serde_json::from_str::<serde_json::Value>(direct.get(0)).unwrap()
    );
    assert!(Arc::ptr_eq(
        &known,
        &app.tokens.verify(&token.secret).await.unwrap()
    ));
    let debug = format!(
        "{known:?} {:?} {app:?}",
        Credential::Token(token.secret.clone()),
        app = app.tokens
    );
    for part in token
        .secret
        .split('.')
        .chain([&*token.id, claims["jti"].as_str().unwrap()])
    {
        assert!(!debug.contains(part), "{debug}");
    }

    let refusals = [
        ("", Reason::Malformed),
        ("a.b.c", Reason::Malformed),
        ("\0", Reason::Malformed),
    ];
    for (token, reason) in refusals {
        assert_eq!(
            app.tokens
                .verify(token)
                .await
                .unwrap_err()
                .refusal()
                .unwrap()
                .reason,
            reason
        );
    }
    let key = make(client, 104, 2).await.unwrap();
    let known = app.keys.verify(&key.secret).await.unwrap();
    assert_eq!((&*known.id, &*known.user_id), (&*key.id, "104"));
    let used = "SELECT last_used_at IS NOT NULL FROM api_keys WHERE id = $1";
    assert!(
        client
            .query_one(used, &[&key.id])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
    assert!(app.knows(&key));
    let unknown = app.keys.verify("rfs_unknown").await.unwrap_err();
    assert_eq!(unknown.refusal().unwrap().reason, Reason::UnknownApiKey);

    // A device.
    let bound: String = client
        .query_one("SELECT auth.issue_jwt('105', device => '{\"id\": 1}')", &[])
        .await
        .unwrap()
        .get(0);
    let from = async |id: i32| {
        app.tokens
            .verify_from(&bound, &serde_json::json!({"id": id}))
            .await
    };
    from(1).await.unwrap();
    assert_eq!(
        from(2).await.unwrap_err().refusal().unwrap().reason,
        Reason::DeviceMismatch
    );
    from(1).await.unwrap();
    let known = |id: i32| {
        let device = serde_json::json!({"id": id});
        app.tokens.peek_from(&bound, &device).is_some()
    };
    assert!(known(1) && !known(2));

    // What ends is heard at once.
    let watch = app.listener.on_ended([Subject::User("104".into())]);
    let (tokens, secret) = (app.tokens.clone(), token.secret.clone());
    let ended = tokio::spawn(async move { tokens.ended(&secret).await });
    sleep(Duration::from_millis(100)).await;
    bump(client, "105").await;
    sleep(Duration::from_millis(100)).await;
    assert!(!ended.is_finished() && watch.ended_already().is_none());
    bump(client, "104").await;
    // Long before a heartbeat.
    let soon = Duration::from_secs(10);
    let device = serde_json::json!({"id": 1});
    let why = timeout(soon, app.tokens.ended_from(&bound, &device)).await;
    let why = why.expect("the end").refusal().unwrap().reason.clone();
    assert_eq!(why, Reason::SessionVersionMismatch);
    let why = timeout(soon, ended).await.expect("the end").unwrap();
    assert_eq!(
        why.refusal().unwrap().reason,
        Reason::SessionVersionMismatch
    );
    let reason = timeout(soon, watch.ended()).await.unwrap();
    assert_eq!(reason, Ended::Event(Some("logout_everywhere".into())));
    assert!(!app.knows(&token));
    // Ending the sessions does not end the keys.
    app.keys.verify(&key.secret).await.unwrap();
    client
        .execute("UPDATE users SET is_active = false WHERE id = 104", &[])
        .await
        .unwrap();
    wait("the owner", async || {
        app.keys.verify(&key.secret).await.is_err()
    })
    .await;
    client
        .execute("UPDATE users SET is_active = true WHERE id = 104", &[])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_of_the_one_whose_credential_it_was_begun_with() {
    let server = Server::start("transaction").await;
    let mut client = connect(&server.url("app")).await;
    let pool = pool(&server.url("app"));
    let who = "SELECT auth.user_id()";
    for (kind, credential) in [
        (0, Credential::Token as fn(String) -> Credential),
        (2, Credential::ApiKey),
    ] {
        let item = make(&client, 106, kind).await.unwrap();
        let credential = credential(item.secret.clone());
        let transaction = credential.begin(&mut client).await.unwrap();
        assert_eq!(
            transaction
                .query_one(who, &[])
                .await
                .unwrap()
                .get::<_, Option<&str>>(0),
            Some("106")
        );
        transaction.commit().await.unwrap();
        assert_eq!(
            client
                .query_one(who, &[])
                .await
                .unwrap()
                .get::<_, Option<&str>>(0),
            None
        );
        let mut transaction = credential.begin_sqlx(&pool).await.unwrap();
        let user: Option<String> = sqlx::query_scalar(who)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(user.as_deref(), Some("106"));
        drop(transaction);
        let user: Option<String> = sqlx::query_scalar(who).fetch_one(&pool).await.unwrap();
        assert_eq!(user, None);
        client
            .execute("UPDATE users SET is_active = false WHERE id = 106", &[])
            .await
            .unwrap();
        let refused = [
            credential.begin(&mut client).await.map(drop).unwrap_err(),
            credential.begin_sqlx(&pool).await.map(drop).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.refusal().unwrap().reason, Reason::InactiveUser);
        }
        client
            .execute("UPDATE users SET is_active = true WHERE id = 106", &[])
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_example_of_the_readme_runs_as_printed() {
    let readme = include_str!("../../README.md");
    let printed = readme
        .split("```rust,no_run\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(printed, include_str!("../../examples/first.rs"));
    let server = Server::start("readme").await;
    let client = connect(&server.url("app")).await;
    client
        .batch_execute(
            "CREATE ROLE web LOGIN; SELECT auth.grant_access('web', 'application');
             SELECT auth.grant_access('web', 'listener')",
        )
        .await
        .unwrap();
    let good = make(&client, 100, 0).await.unwrap();
    let ended = make(&client, 101, 0).await.unwrap();
    bump(&client, "101").await;
    let tests = std::env::current_exe().unwrap();
    let first = tests
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/first");
    let said = tokio::task::spawn_blocking(move || {
        let mut first = std::process::Command::new(first);
        first.env(
            "DATABASE_URL",
            server.url("app").replace("postgres@", "web@"),
        );
        first
            .args([&*good.secret, &*ended.secret, "x"])
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "user 100\nrefused: session_version_mismatch\nrefused: malformed\n",
        "{said:?}"
    );
}
