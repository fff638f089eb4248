//! The cases of `clients/cases.json`, which all languages share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{fresh, key};
use crate::cache::{Answer, Cache, CacheOptions, Question};
use crate::event::{Event, Subject};
use crate::hub::Watch;
use crate::listener::Listener;
use crate::moment::{Moment, PASSED};

struct Case<'c> {
    tokens: &'c Value,
    listener: Listener,
    cache: Cache<String>,
    asked: BTreeMap<String, Question>,
    watches: BTreeMap<String, Watch>,
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
