"""clients/cases.json, by the real classes, without a database."""

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from auth_ext import ApiKeyCache, TokenCache, Unavailable, _hearing
from auth_ext._errors import translated
from auth_ext._hearing import Hearing
from auth_ext._identity import token_answer
from auth_ext._listener import _Listening
from auth_ext._store import Answer, Store

TABLE = json.loads((Path(__file__).parents[2] / "cases.json").read_text())


class Case:
    def __init__(self, case):
        self.now = 1000.0
        self.hearing = Hearing(case.get("max_staleness", 10), now=lambda: self.now)
        self.tokens = Store(self.hearing, case.get("size", 100), case.get("max_age", 60))
        self.keys = Store(self.hearing, case.get("size", 100), case.get("max_age", 60))
        self.asked, self.called = {}, {}
        self.hearing.renew(self.now)

    def store(self, name):
        return self.keys if "fingerprint" in TABLE["tokens"][name] else self.tokens

    def ask(self, name, step):
        self.asked[name] = self.hearing.clock, self.now

    def answer(self, name, step):
        row = TABLE["tokens"][name] | step
        named = {"user": "user", "jti": "token", "sid": "session", "issuer": "issuer", "fingerprint": "api_key"}
        ties = tuple((kind, row[name]) for name, kind in named.items() if row.get(name) is not None)
        version = -1 if "fingerprint" in row else row["version"]
        self.store(name).keep(name, Answer(name, None, ties, version, row.get("left", 1800)), *self.asked[name])

    def fill(self, name, step):
        self.ask(name, step)
        self.answer(name, step)

    def heard(self, payload, step):
        self.hearing.hear(payload)

    def log(self, events, step):
        for event in events:
            self.hearing.read(json.dumps(event))
        self.hearing.renew(self.now)

    def lose(self, _, step):
        self.hearing.lose()

    def watch(self, name, step):
        named = {"user": "user", "sid": "session", "fingerprint": "api_key"}
        ties = [(named[key], id) for key, id in step.items() if key in named]
        self.hearing.watch(ties, lambda reason: self.called.update({name: reason}))

    def cached(self, names, step):
        # In the order of the names: a look counts as a use.
        assert [name for name in names if self.store(name).get(name) is not None] == names
        for name in TABLE["tokens"].keys() - set(names):
            assert self.store(name).get(name) is None, name

    def kept(self, names, step):
        assert {*self.tokens, *self.keys} == set(names)

    def ended(self, called, step):
        self.hearing.tell_stale()
        assert self.called == called
        self.called = {}

    def do(self, step):
        operation = next(iter(step))
        if operation == "pass":
            self.now += step["pass"]
            self.hearing.tell_stale()
        else:
            getattr(self, operation)(step[operation], step)


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["name"])
def test_the_rules(case):
    run = Case(case)
    for number, step in enumerate(case["steps"]):
        try:
            run.do(step)
        except AssertionError as error:
            raise AssertionError(f"step {number}, {step}: {error}") from error


def test_what_is_remembered_is_bounded_and_what_is_on_its_way_is_not_kept_when_it_is_forgotten(monkeypatch):
    monkeypatch.setattr(_hearing, "MAX_REMEMBERED", 3)
    run = Case({})
    run.ask("A", {})
    for id in range(5):
        run.heard(json.dumps({"v": 1, "kind": "user", "id": f"x{id}", "session_version": 1}), {})
    assert len(run.hearing._remembered) <= 3
    run.answer("A", {})
    run.kept([], {})
    run.fill("A", {})
    run.cached(["A"], {})


def test_after_evictions_of_all_sorts_no_index_is_left_behind():
    run = Case({"size": 3})
    for name in "ABCNTKLABC":
        run.fill(name, {})
    for id in ("42", "43", "44"):
        run.heard(json.dumps({"v": 1, "kind": "user", "id": id, "session_version": 1}), {})
    run.heard('{"v":1,"kind":"issuer","issuer":"https://n.example"}', {})
    run.kept([], {})
    assert not run.tokens._by_tie and not run.keys._by_tie


def test_a_refusal_is_kept_only_when_asked_for_and_ends_with_any_event():
    run = Case({})
    run.ask("A", {})
    assert not run.tokens.keep("A", Answer(None, "expired"), *run.asked["A"])
    negative = Store(run.hearing, 10, 60, negative_ttl=2)
    run.ask("A", {})
    assert negative.keep("A", Answer(None, "unknown_user"), *run.asked["A"])
    assert negative.get("A").reason == "unknown_user"
    run.heard('{"v":1,"kind":"user","id":"other","session_version":1}', {})
    assert negative.get("A") is None
    run.ask("A", {})
    negative.keep("A", Answer(None, "unknown_user"), *run.asked["A"])
    run.now += 2.1
    assert negative.get("A") is None


def test_an_identity_has_the_version_of_its_token_and_a_floor_is_compared_with_the_users():
    answer = token_answer((True, None, "42", 3, 7, "j", "i", "k", "{}", None, None, None, 60.0))
    assert (answer.value.session_version, answer.version) == (3, 7)


def test_an_event_since_the_answer_is_told_to_a_watch_that_comes_later():
    run = Case({})
    began = run.hearing.clock
    run.heard('{"v":1,"kind":"session","sid":"sa","user_id":"42","reason":"logout"}', {})
    told = []
    run.hearing.watch([("session", "sa")], told.append, since=began)
    run.hearing.watch([("session", "sb")], told.append, since=began)
    assert told == ["session"]


def token_of(user):
    return True, None, user, 7, 7, "j", "i", "k", "{}", None, None, None, 60.0


def key_of(user):
    return "k", user, 1, "f", None, None


def passing_on(kind, row, *users):
    """A cache in front of a database where a credential is one user's after the other's, with events each time."""
    listener, users = _Listening(""), list(users)
    listener.hearing.renew(listener.hearing.now())

    def answer(sql, arguments):
        user = users[0]
        if len(users) > 1:
            users.pop(0)
            listener.hearing.hear('{"v":1,"kind":"user","id":"42","session_version":7,"reason":"unlinked"}')
            listener.hearing.hear('{"v":1,"kind":"issuer","issuer":"i"}')
        return SimpleNamespace(fetchone=lambda: row(user))

    @contextmanager
    def connections():
        yield SimpleNamespace(exec_driver_sql=answer)

    return kind(listener, connections)


@pytest.mark.parametrize(("kind", "row"), [(TokenCache, token_of), (ApiKeyCache, key_of)])
def test_ended_says_so_when_it_is_now_another_users(kind, row):
    assert passing_on(kind, row, "42", "43").ended("x", timeout=0.5) == "unlinked"
    assert passing_on(kind, row, "42", "42").ended("x", timeout=0.5) is None


@pytest.mark.parametrize(("kind", "row"), [(TokenCache, token_of), (ApiKeyCache, key_of)])
def test_ended_compares_with_whom_it_was_verified_for(kind, row):
    cache = passing_on(kind, row, "42", "43")
    identity = cache.verify("x")
    assert cache.ended("x", identity=identity, timeout=0.5) == "unlinked"
    assert cache.ended("x", timeout=0.5) is None


def test_ended_says_so_when_a_token_of_nobody_is_now_somebodys():
    cache = passing_on(TokenCache, token_of, None, "43")
    assert cache.ended("x", identity=cache.verify("x"), timeout=0.5) == "unlinked"


def test_an_internal_error_of_the_driver_is_unavailable_and_one_of_the_server_its_own():
    # As psycopg has it where PgBouncer loses its server in the middle of an answer.
    assert isinstance(translated(psycopg.InternalError("received 2 results from command 'BEGIN'")), Unavailable)
    assert translated(psycopg.errors.InternalError_("XX000")) is None
