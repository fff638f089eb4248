//! The rules of `clients/README.md`, without a database: the cases that all languages share, and what only tasks can
//! show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache::{Answer, Cache, CacheOptions, Question, digest};
use crate::error::{Error, Reason};
use crate::event::{Event, Subject};
use crate::hub::Watch;
use crate::listener::{Listener, ListenerOptions, ListenerState, Session, Source};
use crate::moment::{Moment, PASSED};

/// Never connects: the test says what is heard.
struct Nowhere;
struct Nothing;

impl Source for Nowhere {
    type Session = Nothing;

    async fn connect(&self) -> Result<Nothing, Error> {
        pending().await
    }
}

impl Session for Nothing {
    async fn listen(&mut self) -> Result<bool, Error> {
        pending().await
    }

    async fn cursor(&mut self) -> Result<String, Error> {
        pending().await
    }

    async fn since(&mut self, _: &str) -> Result<(Vec<String>, Option<String>), Error> {
        pending().await
    }

    async fn hear(&mut self) -> Result<String, Error> {
        pending().await
    }
}

fn caught_up(listener: &Listener) {
    listener.hub().renew(Moment::now());
}

fn fresh() -> Listener {
    let listener = Listener::start(Nowhere, ListenerOptions::default());
    caught_up(&listener);
    listener
}

fn bump(user: &str) -> String {
    format!(r#"{{"v":1,"kind":"user","id":"{user}","session_version":1,"reason":"x"}}"#)
}

// --- the cases -----------------------------------------------------------------------------------------

struct Case<'c> {
    tokens: &'c Value,
    listener: Listener,
    cache: Cache<String>,
    asked: BTreeMap<String, Question>,
    watches: BTreeMap<String, Watch>,
}

fn key(name: &str) -> [u8; 32] {
    digest(&[name.as_bytes()])
}

impl Case<'_> {
    fn answer(&mut self, name: &str, said: &Value) {
        let token = &self.tokens[name];
        let tie = |field: &str, subject: fn(String) -> Subject| {
            token[field].as_str().map(|id| subject(id.to_owned()))
        };
        let is_key = !token["fingerprint"].is_null();
        let version = said.get("version").unwrap_or(&token["version"]).as_i64();
        let left = match said.get("left") {
            None => Some(1800.0),
            Some(left) => left.as_f64(),
        };
        let answer = Answer {
            value: name.to_owned(),
            ties: [
                tie("user", Subject::User),
                tie("jti", Subject::Token),
                tie("sid", Subject::Session),
                tie("issuer", Subject::Issuer),
                tie("fingerprint", Subject::ApiKey),
            ]
            .into_iter()
            .flatten()
            .collect(),
            version: (!is_key).then_some(version),
            remaining: left.map(Duration::from_secs_f64),
        };
        let question = self.asked.remove(name).expect("it was asked");
        self.cache.answered(question, answer);
    }

    fn names(&self, has: impl Fn(&str) -> bool) -> Vec<&str> {
        let names = self.tokens.as_object().expect("an object").keys();
        names.map(String::as_str).filter(|name| has(name)).collect()
    }

    fn step(&mut self, verb: &str, value: &Value, step: &Value) {
        let hub = self.listener.hub().clone();
        let name = value.as_str().unwrap_or_default();
        match verb {
            "fill" if self.cache.peek(&key(name)).is_some() => {}
            "fill" => {
                self.step("ask", value, step);
                self.answer(name, &Value::Null);
            }
            "ask" => {
                let question = self.cache.begin(key(name));
                self.asked.insert(name.to_owned(), question);
            }
            "answer" => self.answer(name, step),
            "heard" => hub.hear(name),
            "log" => {
                for event in value.as_array().expect("rows") {
                    hub.apply(Event::parse(&event.to_string()), true);
                }
                hub.renew(Moment::now());
            }
            "lose" => hub.doubt(),
            "pass" => PASSED.set(PASSED.get() + Duration::from_secs_f64(value.as_f64().unwrap())),
            "watch" => {
                let subject = |field: &str, subject: fn(String) -> Subject| {
                    step[field].as_str().map(|id| subject(id.to_owned()))
                };
                let subjects = [
                    subject("user", Subject::User),
                    subject("sid", Subject::Session),
                    subject("fingerprint", Subject::ApiKey),
                ];
                let watch = self.listener.on_ended(subjects.into_iter().flatten());
                self.watches.insert(name.to_owned(), watch);
            }
            "cached" => assert_eq!(
                self.names(|n| self.cache.peek(&key(n)).is_some()),
                names(value)
            ),
            "kept" => assert_eq!(self.names(|n| self.cache.holds(&key(n))), names(value)),
            "ended" => {
                let mut ended = BTreeMap::new();
                self.watches
                    .retain(|name, watch| match watch.ended_already() {
                        Some(reason) => ended.insert(name.clone(), reason.to_string()).is_some(),
                        None => true,
                    });
                let expected: BTreeMap<String, String> =
                    serde_json::from_value(value.clone()).expect("reasons");
                assert_eq!(ended, expected);
            }
            _ => panic!("what is {verb}?"),
        }
    }
}

fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_cases_of_all_languages_hold() {
    const VERBS: [&str; 11] = [
        "fill", "ask", "answer", "heard", "log", "lose", "pass", "watch", "cached", "kept", "ended",
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../cases.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).expect(path)).unwrap();
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        println!("--- {}", case["name"]);
        PASSED.set(Duration::ZERO);
        let listener = fresh();
        let options = CacheOptions {
            size: case["size"].as_u64().map_or(100, |size| size as usize),
            max_age: Duration::from_secs(case["max_age"].as_u64().unwrap_or(60)),
            ..CacheOptions::default()
        };
        let mut run = Case {
            tokens: &all["tokens"],
            cache: Cache::new(&listener, options),
            listener,
            asked: BTreeMap::new(),
            watches: BTreeMap::new(),
        };
        for step in case["steps"].as_array().unwrap() {
            println!("{step}");
            let mut verbs = step.as_object().unwrap().iter();
            let (verb, value) = verbs
                .find(|(verb, _)| VERBS.contains(&verb.as_str()))
                .expect("a verb");
            run.step(verb, value, step);
        }
    }
    PASSED.set(Duration::ZERO);
}

// --- what waits ----------------------------------------------------------------------------------------

/// A database that answers when it is allowed to, with the number of the question.
struct Slow {
    asked: AtomicU32,
    allowed: Semaphore,
    refuses: bool,
}

impl Slow {
    fn new(refuses: bool) -> Arc<Self> {
        Arc::new(Self {
            asked: AtomicU32::new(0),
            allowed: Semaphore::new(0),
            refuses,
        })
    }

    async fn answer(&self) -> Result<Answer<u32>, Error> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        self.allowed.acquire().await.unwrap().forget();
        if self.refuses {
            return Err(Error::refused(Reason::Expired));
        }
        Ok(Answer {
            value: number,
            ties: vec![Subject::User("42".into())],
            version: Some(Some(1)),
            remaining: None,
        })
    }
}

type Looked = tokio::task::JoinHandle<Result<Arc<u32>, Error>>;

async fn look_up(cache: &Arc<Cache<u32>>, slow: &Arc<Slow>) -> Looked {
    let (cache, slow) = (cache.clone(), slow.clone());
    let task = tokio::spawn(async move { cache.get("t", || key("t"), || slow.answer()).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    task
}

fn cache(listener: &Listener, negative_ttl: Duration) -> Arc<Cache<u32>> {
    let options = CacheOptions {
        negative_ttl,
        ..CacheOptions::default()
    };
    Arc::new(Cache::new(listener, options))
}

#[tokio::test]
async fn many_who_ask_for_the_same_are_one_question() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(false));
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(look_up(&cache, &slow).await);
    }
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
    slow.allowed.add_permits(1);
    for one in all {
        assert_eq!(*one.await.unwrap().unwrap(), 0);
    }
    assert_eq!(cache.stats().entries, 1);
}

#[tokio::test]
async fn who_asks_after_an_event_gets_no_answer_from_before_it() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(false));
    let before = look_up(&cache, &slow).await;
    listener.hub().hear(&bump("42"));
    let after = look_up(&cache, &slow).await;
    slow.allowed.add_permits(2);
    assert_eq!(*before.await.unwrap().unwrap(), 0);
    assert_eq!(*after.await.unwrap().unwrap(), 1);
    // The second one had no event while it was asked.
    assert_eq!(cache.peek(&key("t")).map(|n| *n), Some(1));
}

#[tokio::test]
async fn an_event_about_another_does_not_part_those_who_wait() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(false));
    let first = look_up(&cache, &slow).await;
    listener.hub().hear(&bump("43"));
    let second = look_up(&cache, &slow).await;
    slow.allowed.add_permits(2);
    assert_eq!(*first.await.unwrap().unwrap(), 0);
    assert_eq!(*second.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn while_the_listener_is_stale_every_look_up_asks() {
    let listener = Listener::start(Nowhere, ListenerOptions::default());
    assert_eq!(listener.state(), ListenerState::Stale);
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(false));
    let all = [look_up(&cache, &slow).await, look_up(&cache, &slow).await];
    assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
    slow.allowed.add_permits(2);
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!(cache.stats().entries, 0);
    assert_eq!(cache.stats().not_kept, 2);
}

#[tokio::test]
async fn when_the_first_who_asks_gives_up_the_others_ask() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(false));
    let first = look_up(&cache, &slow).await;
    let second = look_up(&cache, &slow).await;
    first.abort();
    slow.allowed.add_permits(1);
    assert_eq!(*second.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_refusal_is_shared_by_those_who_wait_and_not_kept() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(true));
    let both = [look_up(&cache, &slow).await, look_up(&cache, &slow).await];
    slow.allowed.add_permits(1);
    for one in both {
        assert_eq!(
            one.await.unwrap().unwrap_err().to_string(),
            "refused: expired"
        );
    }
    slow.allowed.add_permits(1);
    look_up(&cache, &slow).await.await.unwrap().unwrap_err();
    assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_refusal_is_kept_for_so_long_as_was_wished_and_evicted_by_any_event() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::from_secs(5)), Slow::new(true));
    slow.allowed.add_permits(10);
    let asked = async || {
        look_up(&cache, &slow).await.await.unwrap().unwrap_err();
        slow.asked.load(Ordering::SeqCst)
    };
    assert_eq!((asked().await, asked().await), (1, 1));
    PASSED.set(Duration::from_secs(5));
    assert_eq!((asked().await, asked().await), (2, 2));
    listener.hub().hear(&bump("99"));
    assert_eq!((asked().await, asked().await), (3, 3));
    listener.hub().doubt();
    assert_eq!((asked().await, asked().await), (4, 5));
    PASSED.set(Duration::ZERO);
}

#[tokio::test]
async fn a_token_that_is_too_long_or_empty_is_asked_for_each_time() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(false));
    slow.allowed.add_permits(6);
    for (token, asked) in [
        ("", 2),
        (&*"x".repeat(16_385), 4),
        (&*"x".repeat(16_384), 5),
    ] {
        for _ in 0..2 {
            cache
                .get(token, || key(token), || slow.answer())
                .await
                .unwrap();
        }
        assert_eq!(slow.asked.load(Ordering::SeqCst), asked, "{}", token.len());
    }
}

#[tokio::test]
async fn a_listener_that_is_closed_stays_so_and_says_so() {
    let listener = fresh();
    let waiting = tokio::spawn({
        let listener = listener.clone();
        async move { listener.sync(Duration::from_secs(60)).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    listener.close();
    assert!(waiting.await.unwrap().is_err());
    caught_up(&listener);
    assert_eq!(listener.state(), ListenerState::Closed);
    assert!(listener.sync(Duration::from_secs(60)).await.is_err());
}

#[tokio::test]
async fn what_waits_for_an_end_asks_again_and_stays_when_it_still_holds() {
    let listener = fresh();
    let (cache, slow) = (cache(&listener, Duration::ZERO), Slow::new(false));
    slow.allowed.add_permits(100);
    let (over, ends) = (Arc::new(Semaphore::new(0)), slow.clone());
    let ended = tokio::spawn({
        let (cache, over) = (cache.clone(), over.clone());
        async move {
            let verify = || async {
                if over.available_permits() > 0 {
                    return Err(Error::refused(Reason::SessionEnded));
                }
                cache.get("t", || key("t"), || ends.answer()).await
            };
            cache
                .ended(verify, |_| vec![Subject::User("42".into())], |_| None)
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    listener.hub().hear(&bump("42"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!ended.is_finished());
    over.add_permits(1);
    listener.hub().hear(&bump("43"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!ended.is_finished());
    listener.hub().hear(&bump("42"));
    let why = timeout(Duration::from_secs(1), ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(why.refusal().unwrap().reason, Reason::SessionEnded);
}
