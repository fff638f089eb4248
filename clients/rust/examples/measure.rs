//! What the cache costs and saves. It makes (and drops) a database of its own on a server with the extension:
//!
//!     SERVER=postgres://postgres@localhost cargo run --release --example measure

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use auth_ext_client::{CacheOptions, Database, Listener, ListenerOptions, Postgres, TokenCache};
use tokio_postgres::{Client, NoTls};

const USERS: usize = 100_000;

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kb| kb * 1024)
}

/// Median and 99th percentile, in microseconds.
fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    (at(50).as_secs_f64() * 1e6, at(99).as_secs_f64() * 1e6)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::var("SERVER")?;
    let admin = connect(&format!("{server}/postgres")).await?;
    admin
        .batch_execute("DROP DATABASE IF EXISTS auth_ext_measure")
        .await?;
    admin
        .batch_execute("CREATE DATABASE auth_ext_measure")
        .await?;
    let url = format!("{server}/auth_ext_measure");
    let client = connect(&url).await?;
    client
        .batch_execute(&format!(
            "CREATE EXTENSION auth_ext;
             CREATE TABLE users (id bigint PRIMARY KEY);
             SELECT auth.attach_users('users');
             INSERT INTO users SELECT generate_series(1, {USERS});
             INSERT INTO auth.issuers (issuer, audience, token_ttl) VALUES ('https://api.example.com', '{{app}}', '1 day');
             SELECT auth.create_signing_key()"
        ))
        .await?;
    // In small pieces: what the driver frees must not hide what the cache takes.
    let issue = "SELECT auth.issue_jwt(id::text, session_version) FROM users
                 WHERE id > $1 AND id <= $1 + 500 ORDER BY id";
    let mut tokens: Vec<String> = Vec::with_capacity(USERS);
    while tokens.len() < USERS {
        let rows = client.query(issue, &[&(tokens.len() as i64)]).await?;
        tokens.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }

    let database = Postgres::new(url.parse()?, NoTls);
    let listener = Listener::start(database.clone(), ListenerOptions::default());
    let options = CacheOptions {
        max_age: Duration::from_secs(3600),
        ..CacheOptions::default()
    };
    let cache = TokenCache::new(&listener, database.clone(), options);
    listener.fresh().await;

    // A round trip each.
    let some = tokens.get(..500).unwrap_or_default();
    for token in some {
        database.check_token(token, None).await?; // the server's own cache of signatures
    }
    let begun = Instant::now();
    for _ in 0..10 {
        for token in some {
            database.check_token(token, None).await?;
        }
    }
    let asked = 10.0 * some.len() as f64 / begun.elapsed().as_secs_f64();

    // All of them into the cache.
    let before = resident().unwrap_or_default();
    let mut filling = VecDeque::new();
    for token in &tokens {
        let (cache, token) = (cache.clone(), token.clone());
        filling.push_back(tokio::spawn(
            async move { cache.verify(&token).await.map(drop) },
        ));
        if filling.len() > 64
            && let Some(first) = filling.pop_front()
        {
            first.await??;
        }
    }
    for one in filling {
        one.await??;
    }
    let bytes = resident().unwrap_or_default().saturating_sub(before) as f64 / USERS as f64;
    println!("entries: {}", cache.stats().entries);

    // Through the cache, one task.
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < Duration::from_secs(3) {
        for token in some {
            cache.verify(token).await?;
            count += 1;
        }
    }
    let cached = f64::from(count) / begun.elapsed().as_secs_f64();

    // Look-ups of users of whom some are bumped: 1,000 bumps a second.
    let over = Arc::new(AtomicBool::new(false));
    let bumped = Arc::new(AtomicU64::new(0));
    let bumping: Vec<_> = (0..4)
        .map(|n| {
            let (over, bumped, url) = (over.clone(), bumped.clone(), url.clone());
            tokio::spawn(async move {
                let client = connect(&url).await?;
                let mut tick = tokio::time::interval(Duration::from_millis(4));
                let mut random = fastrand::Rng::with_seed(n);
                while !over.load(Ordering::Relaxed) {
                    tick.tick().await;
                    // Of the half that nobody looks up, but for one in a hundred.
                    let half = USERS as i64 / 2;
                    let user = random.i64(1..=half) + if random.u8(..100) == 0 { 0 } else { half };
                    client
                        .query("SELECT auth.bump_session_version($1)", &[&user.to_string()])
                        .await?;
                    bumped.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, tokio_postgres::Error>(())
            })
        })
        .collect();
    let (begun, mut times, mut refused) = (Instant::now(), Vec::new(), 0);
    let mut random = fastrand::Rng::new();
    while begun.elapsed() < Duration::from_secs(5) {
        let Some(token) = tokens.get(random.usize(..USERS / 2)) else {
            break;
        };
        let sent = Instant::now();
        refused += u32::from(cache.verify(token).await.is_err());
        times.push(sent.elapsed());
        if times.len() % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let bumps = bumped.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    for one in bumping {
        one.await??;
    }
    let looks = times.len();
    let (median, p99) = percentiles(times);
    println!("verifications a second, a round trip each: {asked:.0}");
    println!("verifications a second, through the cache: {cached:.0}");
    println!(
        "with {bumps:.0} bumps a second: median {median:.1} µs, p99 {p99:.1} µs ({looks} look-ups, {refused} refused)"
    );
    println!("memory of an entry: {bytes:.0} bytes");
    drop((client, cache, listener, database));
    admin
        .batch_execute("DROP DATABASE auth_ext_measure WITH (FORCE)")
        .await?;
    Ok(())
}
