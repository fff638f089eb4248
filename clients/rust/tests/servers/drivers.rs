//! A driver's own transaction, without a cache.

use sqlx::PgPool;
use sqlx::postgres::PgDatabaseError;

use crate::app::{make, pool};
use crate::harness::{Server, connect};

/// As docs/poolers-and-drivers.md shows it.
async fn graphs_of(pool: &PgPool, token: &str) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT auth.authenticate($1)")
        .bind(token)
        .execute(&mut *tx)
        .await?;
    let graphs = sqlx::query_as("SELECT id, title FROM graphs")
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(graphs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drivers_own_transaction_is_the_tokens_users_and_a_refusal_has_its_reason() {
    let server = Server::start("drivers").await;
    let client = connect(&server.url("app")).await;
    client
        .batch_execute(
            "CREATE VIEW graphs AS
             SELECT id, 'of ' || id AS title FROM users WHERE id = auth.user_id_bigint()",
        )
        .await
        .unwrap();
    let item = make(&client, 106, 0).await.unwrap();
    let pool = pool(&server.url("app"));
    let graphs = graphs_of(&pool, &item.secret).await.unwrap();
    assert_eq!(graphs, [(106, "of 106".to_owned())]);
    let refused = graphs_of(&pool, "a.b.c").await.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert_eq!(refused.code().as_deref(), Some("28000"));
    let detail = refused.downcast_ref::<PgDatabaseError>().detail();
    assert_eq!(detail, Some("malformed"));
}
