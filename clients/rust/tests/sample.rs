//! The sample application, as two processes, and a real HTTP client.
#![cfg(all(feature = "sqlx", feature = "tower"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use harness::{Server, connect, wait};

/// One process of the application: one machine.
struct Machine {
    process: Child,
    url: String,
}

impl Machine {
    fn start(server: &Server) -> Self {
        let tests = std::env::current_exe().unwrap();
        let notes = tests
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join("examples/notes");
        let url = server.url("notes").replace("postgres@", "web@");
        let mut process = Command::new(notes)
            .env("DATABASE_URL", url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            process,
            url: format!("http://{}", line.trim()),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

struct Browser<'m> {
    http: Client,
    machine: &'m Machine,
    header: Option<(&'static str, String)>,
}

impl<'m> Browser<'m> {
    fn anonymous(machine: &'m Machine) -> Self {
        Self {
            http: Client::new(),
            machine,
            header: None,
        }
    }

    fn with(machine: &'m Machine, token: &Value) -> Self {
        let bearer = format!("Bearer {}", token.as_str().unwrap());
        Self {
            header: Some(("Authorization", bearer)),
            ..Self::anonymous(machine)
        }
    }

    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let url = format!("{}{path}", self.machine.url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some((name, value)) = &self.header {
            request = request.header(*name, value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send("GET", path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.send("POST", path, Some(body)).await
    }

    async fn login(&self, email: &str, device: &str) -> Value {
        let login = json!({"email": email, "password": "right", "device": device});
        self.post("/login", login)
            .await
            .error_for_status()
            .unwrap()
            .json()
            .await
            .unwrap()
    }
}

fn challenge(response: &Response) -> &str {
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    response.headers()["www-authenticate"].to_str().unwrap()
}

const INVALID: &str = "Bearer error=\"invalid_token\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_application_does_what_it_says() {
    let server = Server::start("sample").await;
    let admin = connect(&server.url("app")).await;
    admin.batch_execute("CREATE DATABASE notes").await.unwrap();
    let admin = connect(&server.url("notes")).await;
    admin
        .batch_execute(include_str!("../examples/notes/schema.sql"))
        .await
        .unwrap();
    let (here, there) = (Machine::start(&server), Machine::start(&server));

    // Nobody, and what is no credential.
    let anybody = Browser::anonymous(&here);
    assert_eq!(challenge(&anybody.get("/notes").await), "Bearer");
    let nonsense = Browser::with(&here, &json!("a.b.c")).get("/notes").await;
    assert_eq!(challenge(&nonsense), INVALID);
    assert_eq!(
        nonsense.json::<Value>().await.unwrap(),
        json!({"error": "invalid_token"})
    );
    let two = Browser::with(&here, &json!("a b")).get("/notes").await;
    assert_eq!(two.status(), StatusCode::BAD_REQUEST);

    // Login, and notes that only their owner sees.
    for email in ["ada@example.com", "bob@example.com"] {
        let made = anybody
            .post("/users", json!({"email": email, "password": "right"}))
            .await;
        assert_eq!(made.status(), StatusCode::CREATED);
    }
    for (email, password) in [("ada@example.com", "wrong"), ("eve@example.com", "right")] {
        let refused = anybody
            .post("/login", json!({"email": email, "password": password}))
            .await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    }
    let phone = anybody.login("ada@example.com", "Phone").await;
    let desk = Browser::anonymous(&there)
        .login("ada@example.com", "Desk")
        .await;
    let bob = anybody.login("bob@example.com", "Bob's").await;
    let ada = Browser::with(&here, &phone["access_token"]);
    let ada_there = Browser::with(&there, &desk["access_token"]);
    let bob = Browser::with(&here, &bob["access_token"]);
    for (browser, title) in [(&ada, "of Ada"), (&bob, "of Bob")] {
        assert_eq!(
            browser
                .post("/notes", json!({"title": title}))
                .await
                .status(),
            StatusCode::CREATED
        );
        assert_eq!(
            browser.get("/notes").await.json::<Value>().await.unwrap(),
            json!([title])
        );
    }
    assert_eq!(
        ada_there.get("/notes").await.json::<Value>().await.unwrap(),
        json!(["of Ada"])
    );

    // Devices: one is ended.
    let devices: Value = ada.get("/devices").await.json().await.unwrap();
    let mut labels: Vec<_> = devices
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["label"].as_str().unwrap(), d["is_current"] == true))
        .collect();
    labels.sort_unstable();
    assert_eq!(labels, [("Desk", false), ("Phone", true)]);
    let third = anybody.login("ada@example.com", "Third").await;
    let lost = Browser::with(&there, &third["access_token"]);
    assert_eq!(lost.get("/notes").await.status(), StatusCode::OK);
    let path = format!("/devices/{}", third["session_id"].as_str().unwrap());
    assert_eq!(
        bob.send("DELETE", &path, None).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        ada.send("DELETE", &path, None).await.status(),
        StatusCode::NO_CONTENT
    );
    wait("the end of the lost device", async || {
        lost.get("/devices").await.status() == StatusCode::UNAUTHORIZED
    })
    .await;
    let refused = anybody
        .post("/refresh", json!({"refresh_token": third["refresh_token"]}))
        .await;
    assert_eq!(challenge(&refused), INVALID);

    // Refresh: the next two tokens.
    let next = anybody
        .post("/refresh", json!({"refresh_token": phone["refresh_token"]}))
        .await;
    let next: Value = next.error_for_status().unwrap().json().await.unwrap();
    assert_ne!(next["refresh_token"], phone["refresh_token"]);
    let ada = Browser::with(&here, &next["access_token"]);

    // An API key sees the same notes, and has no stream.
    let key: Value = ada.post("/api-keys", json!({})).await.json().await.unwrap();
    let key = key["key"].as_str().unwrap().to_owned();
    let program = Browser {
        header: Some(("X-API-Key", key.clone())),
        ..Browser::anonymous(&there)
    };
    assert_eq!(
        program.get("/notes").await.json::<Value>().await.unwrap(),
        json!(["of Ada"])
    );
    assert_eq!(program.get("/events").await.status(), StatusCode::FORBIDDEN);
    let both = ada
        .http
        .get(format!("{}/notes", here.url))
        .header("X-API-Key", &key)
        .bearer_auth("x")
        .send();
    assert_eq!(both.await.unwrap().status(), StatusCode::BAD_REQUEST);

    // A stream on the other machine closes within a second of "log out everywhere" on this one.
    let mut events = ada_there
        .get("/events")
        .await
        .error_for_status()
        .unwrap()
        .bytes_stream();
    let mut of_bob = Browser::with(
        &there,
        &json!(bob.header.as_ref().unwrap().1.trim_start_matches("Bearer ")),
    )
    .get("/events")
    .await
    .bytes_stream();
    for stream in [&mut events, &mut of_bob] {
        assert!(
            stream
                .next()
                .await
                .unwrap()
                .unwrap()
                .starts_with(b"data: tick")
        );
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(
        ada.post("/logout-everywhere", json!({})).await.status(),
        StatusCode::NO_CONTENT
    );
    let since = Instant::now();
    while let Some(more) = events.next().await {
        more.unwrap();
        assert!(since.elapsed() < Duration::from_secs(1), "still open");
    }
    assert!(since.elapsed() < Duration::from_secs(1));
    println!("the stream closed after {:?}", since.elapsed());
    for browser in [&ada, &ada_there] {
        assert_eq!(challenge(&browser.get("/notes").await), INVALID);
    }
    // Nobody else's.
    assert_eq!(bob.get("/notes").await.status(), StatusCode::OK);
    assert!(of_bob.next().await.unwrap().is_ok());
    assert_eq!(program.get("/notes").await.status(), StatusCode::OK);

    // The database is away: no client is told to log in again.
    drop(server);
    wait("503", async || {
        bob.get("/notes").await.status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    assert_eq!(bob.get("/notes").await.headers()["retry-after"], "1");
}
