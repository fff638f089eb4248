//! What the tests ask a process that caches; see drive.py.

mod listener;

use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, Error, NoTls};

use listener::{Entry, Key, Listener};

#[derive(Clone)]
struct Row(Value);

impl Entry for Row {
    fn session_version(&self) -> Option<i64> {
        self.0["session_version"].as_i64()
    }
}

struct Loader {
    config: Config,
    client: Mutex<Option<Client>>,
}

async fn load(loader: &Loader, (kind, id): &Key) -> Result<Option<Row>, Error> {
    let mut kept = loader.client.lock().await;
    let client = match &mut *kept {
        Some(client) if !client.is_closed() => client,
        kept => {
            let (client, connection) = loader.config.connect(NoTls).await?;
            tokio::spawn(connection);
            kept.insert(client)
        }
    };
    let row = client.query_one("SELECT load($1, $2)", &[kind, id]).await?;
    Ok(row.get::<_, Option<Value>>(0).map(Row))
}

async fn answer(listener: &Listener<Row>, loader: &Loader, command: &str, key: Key) -> Value {
    let row = |entry: Option<Row>| entry.map_or(Value::Null, |row| row.0);
    match command {
        "get" => {
            let mut cached = true;
            let loading = async {
                cached = false;
                load(loader, &key).await
            };
            match listener.get(key.clone(), loading).await {
                Ok(entry) => json!({"row": row(entry), "cached": cached}),
                Err(error) => json!({"error": error.to_string()}),
            }
        }
        "peek" => row(listener.peek(&key)),
        "sync" => {
            listener.sync().await;
            true.into()
        }
        _ => listener.fresh().into(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let loader = Arc::new(Loader {
        config: arguments.next().unwrap_or_default().parse()?,
        client: Mutex::default(),
    });
    let max_staleness: f64 = arguments.next().unwrap_or_default().parse()?;
    let listener = Arc::new(Listener::new(Duration::from_secs_f64(max_staleness)));
    tokio::spawn({
        let (listener, loader) = (listener.clone(), loader.clone());
        async move { listener.run(&loader.config).await }
    });
    let (lines, mut asked) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        io::stdin()
            .lock()
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| lines.send(line).ok())
    });
    while let Some(line) = asked.recv().await {
        let (listener, loader) = (listener.clone(), loader.clone());
        tokio::spawn(async move {
            let mut words = line.splitn(4, ' ').map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            let (number, command) = (word(), word());
            let answer = answer(&listener, &loader, &command, (word(), word())).await;
            println!("{number} {answer}");
        });
    }
    Ok(())
}
