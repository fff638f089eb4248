//! Verifies the tokens that it is started with.

use auth_ext_client::{CacheOptions, Error, Listener, ListenerOptions, Postgres, TokenCache};
use tokio_postgres::NoTls;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = Postgres::new(std::env::var("DATABASE_URL")?.parse()?, NoTls);
    let listener = Listener::start(database.clone(), ListenerOptions::default());
    let tokens = TokenCache::new(&listener, database, CacheOptions::default());
    listener.fresh().await;
    for token in std::env::args().skip(1) {
        match tokens.verify(&token).await {
            Ok(identity) => println!("user {}", identity.user_id.as_deref().unwrap_or("nobody")),
            Err(Error::Refused(refusal)) => println!("{refusal}"), // 401
            Err(error) => println!("{error}"), // 503, or a mistake in the set-up
        }
    }
    Ok(())
}
