//! What only tasks can show: who waits for an answer, and who asks anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Nowhere, bump, caught_up, fresh, key};
use crate::cache::{Answer, Cache, CacheOptions};
use crate::error::{Error, Reason};
use crate::event::Subject;
use crate::listener::{Listener, ListenerOptions, ListenerState};
use crate::moment::PASSED;

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
                .ended(verify, None, |_| vec![Subject::User("42".into())], |_| None)
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

#[tokio::test]
async fn what_waits_for_an_end_ends_when_it_is_now_another_users() {
    let listener = fresh();
    let cache = cache(&listener, Duration::ZERO);
    let owner = Arc::new(AtomicU32::new(42));
    let ended = async |first: Option<u32>| {
        let verify = || async { Ok(Arc::new(owner.load(Ordering::SeqCst))) };
        let ties = |user: &u32| vec![Subject::Issuer("i".into()), Subject::User(user.to_string())];
        let ended = cache.ended(verify, first.map(Arc::new), ties, |_| None);
        let why = timeout(Duration::from_millis(500), ended).await;
        why.ok().map(|why| why.refusal().unwrap().reason.clone())
    };
    // As at first, or as was verified before.
    assert_eq!(ended(None).await, None);
    assert_eq!(ended(Some(42)).await, None);
    assert_eq!(ended(Some(43)).await, Some(Reason::Unlinked));
    let relink = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        owner.store(43, Ordering::SeqCst);
        listener.hub().hear(&bump("42"));
    };
    let (why, ()) = tokio::join!(ended(None), relink);
    assert_eq!(why, Some(Reason::Unlinked));
}
